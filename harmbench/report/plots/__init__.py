"""Plots: a run -> figures, one file for each kind of plot."""

from __future__ import annotations

from collections.abc import Iterator

from harmbench.analysis.cells import cells_of
from harmbench.registry import Room
from harmbench.report.formats import Figure
from harmbench.report.plots._base import Plot, places_of
from harmbench.results.store import RunData

MOST_PLACES, FIRST_PLACES = 12, 4  # all that a report shows; of more, so many

PLOTS: Room[Plot] = Room("plots", Plot, "plot")

__all__ = ["PLOTS", "Plot", "for_report", "places_of"]


def for_report(run: RunData) -> Iterator[Figure]:
    """The figures that a report shows: of the kinds that are in reports and have something to show of this run.

    Of a run of very many places, the first ones: nobody looks at a hundred panels, and painting them takes long.
    """
    places = list(places_of(run))
    shown, note = run, ""
    if len(places) > MOST_PLACES:
        first = set(places[:FIRST_PLACES])
        trials = tuple(t for cell in cells_of(run.trials) if cell.place in first for t in cell.trials)
        shown = run.model_copy(update={"trials": trials})
        note = f" Only the first {FIRST_PLACES} of {len(places)} places; `harmbench plot` draws all."
    kinds = sorted((kind for kind in PLOTS.every_variant() if kind.place), key=lambda kind: kind.place)
    for kind in kinds:
        if kind.applies(shown) is None:
            for figure in kind.reported(shown):
                yield figure.model_copy(update={"caption": figure.caption + note}) if note else figure
