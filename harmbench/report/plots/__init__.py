"""Plots: a run -> figures, one file for each kind of plot."""

from __future__ import annotations

from collections.abc import Iterator

from harmbench.analysis.cells import cells_of
from harmbench.registry import Room
from harmbench.report.formats import Figure
from harmbench.report.plots._base import Plot, cells_by_condition
from harmbench.results.store import RunData

MOST_CONDITIONS, FIRST_CONDITIONS = 12, 4  # a report of more conditions shows the first ones

PLOTS: Room[Plot] = Room("plots", Plot, "plot")

__all__ = ["PLOTS", "Plot", "cells_by_condition", "for_report"]


def for_report(run: RunData) -> Iterator[Figure]:
    """Yield the figures of a report: of all kinds with a `place` in reports that apply to the run.

    A run with very many conditions shows the first ones only, since drawing a hundred panels takes long.
    """
    conditions = list(cells_by_condition(run))
    shown, note = run, ""
    if len(conditions) > MOST_CONDITIONS:
        first = set(conditions[:FIRST_CONDITIONS])
        trials = tuple(t for cell in cells_of(run.trials) if cell.condition in first for t in cell.trials)
        shown = run.model_copy(update={"trials": trials})
        note = f" Only the first {FIRST_CONDITIONS} of {len(conditions)} conditions; `harmbench plot` draws all."
    kinds = sorted((kind for kind in PLOTS.every_variant() if kind.place), key=lambda kind: kind.place)
    for kind in kinds:
        if kind.applies(shown) is None:
            for figure in kind.reported(shown):
                yield figure.model_copy(update={"caption": figure.caption + note}) if note else figure
