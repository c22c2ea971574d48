"""Base class of plots, which check whether a run has their data and make figures of it."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Collection, Iterable
from itertools import product
from pathlib import Path
from typing import ClassVar

from harmbench.analysis.cells import Cell, cells_of
from harmbench.analysis.stats import Interval
from harmbench.registry import Component
from harmbench.report.formats import Figure
from harmbench.results import artifacts
from harmbench.results.artifacts import Arrays
from harmbench.results.records import TrialRecord
from harmbench.results.store import RunData
from harmbench.results.vocabulary import Artifact


class Plot(Component):
    """Base class of all plots.

    Class attributes:
        place: position among the plots of a report, from 1. 0: only `harmbench plot` draws it.
    """

    place: ClassVar[int] = 0

    @abstractmethod
    def applies(self, run: RunData) -> str | None:
        """Return the reason why there is nothing to draw and the next step, in one line, or None if the plot "
        "applies."""

    @abstractmethod
    def figures(self, run: RunData) -> tuple[Figure, ...]:
        """Return the figures of a run to which the plot applies. Their names are distinct."""

    def reported(self, run: RunData) -> tuple[Figure, ...]:
        """Return the figures that a report shows."""
        return self.figures(run)


def cells_by_condition(run: RunData) -> dict[str, list[Cell]]:
    """Return cells by name of their condition, in the suite's order. Cells are sorted, with the baseline first.

    Cells without a trial that ended well are left out.
    """
    suite = run.header["suite"]
    found: dict[str, list[Cell]] = defaultdict(list)
    cells = [cell for cell in cells_of(run.trials) if cell.count("ok")]
    order = list(product(suite["datasets"], suite["backbones"]))
    for cell in sorted(cells, key=lambda cell: order.index((cell.dataset, cell.backbone))):
        found[cell.condition].append(cell)
    return {condition: sorted(members, key=_order) for condition, members in found.items()}


def _order(cell: Cell) -> tuple[bool, str, str]:
    """Return a sort key that puts the baseline first."""
    return not cell.is_baseline, cell.head, cell.loss


def ended_well(run: RunData) -> list[TrialRecord]:
    """Return the trials that ended well."""
    return [trial for trial in run.trials if trial.status == "ok"]


def methods_of(run: RunData) -> set[str]:
    """Return the methods by which the joules of processor and accelerator were obtained."""
    cells = cells_of(run.trials)
    return {method for cell in cells for c, found in cell.methods.items() if c != "ram" for method in found}


def half_width(interval: Interval, factor: float = 1.0) -> float | None:
    """Return the half-width of an interval, or None for a single value."""
    return interval.half_width * factor if interval.size > 1 else None


def kept(run: RunData, kind: Artifact) -> dict[str, Arrays]:
    """Return the arrays of trials that ended well and have this artifact, by trial id."""
    by_trial = {trial.id: artifacts.load(Path(run.folder), trial.id) for trial in ended_well(run)}
    return {trial: arrays for trial, arrays in by_trial.items() if kind in arrays}


def not_kept(run: RunData, kind: Artifact, what: str) -> str | None:
    """Return the reason why a run has none of an artifact, or None."""
    if kind not in run.header["suite"].get("artifacts", ()):
        return f"the run kept no {what}; put `artifacts: [{kind}]` into its suite and run into a new folder"
    return None if kept(run, kind) else f"no trial has kept {what} in {run.folder}/{artifacts.FOLDER}"


def lacking(cells: Iterable[Cell], found: Collection[str], what: str) -> str:
    """Return a sentence that names the trials without the plot's data, or an empty text."""
    without = [trial.spec for cell in cells for trial in cell.trials if trial.status == "ok" and trial.id not in found]
    if not without:
        return ""
    named = ", ".join(f"{spec.head} at seed {spec.seed}" for spec in without[:3])
    more = f" and {len(without) - 3} more" if len(without) > 3 else ""
    return f" Without kept {what}: {named}{more}."


def file_name(kind: str, condition: str, conditions: Collection[str]) -> str:
    """Return the file name of a figure: the kind alone if there is one condition only.

    >>> file_name("confusion", "mlp on digits[train_fraction=0.1]", ["a", "b"])
    'confusion-mlp-on-digits-train_fraction-0.1'
    """
    return kind if len(conditions) == 1 else f"{kind}-" + re.sub(r"[^\w.]+", "-", condition).strip("-")


def label_of(cell: Cell, cells: Iterable[Cell]) -> str:
    """Return the head alone if it has one loss in the condition, otherwise with its loss."""
    return cell.label if sum(other.head == cell.head for other in cells) > 1 else cell.head


def percent(interval: Interval | None) -> str:
    """Return a mean share as text."""
    return "n/a" if interval is None else f"{100 * interval.mean:.1f} %"
