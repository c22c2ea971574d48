"""What a plot is: it says whether a run has what it shows, and makes figures of it."""

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
    """Base of all plots; not itself a plot.

    Class attributes:
        place: among the plots of a report, from 1; 0 for one that only `harmbench plot` draws.
    """

    place: ClassVar[int] = 0

    @abstractmethod
    def applies(self, run: RunData) -> str | None:
        """Why there is nothing to draw, in one line that says what would change that; None if there is."""

    @abstractmethod
    def figures(self, run: RunData) -> tuple[Figure, ...]:
        """The figures of a run to which the plot applies; their names are distinct."""

    def reported(self, run: RunData) -> tuple[Figure, ...]:
        """Those of them that a report shows."""
        return self.figures(run)


def places_of(run: RunData) -> dict[str, list[Cell]]:
    """The cells of each backbone on each data set, as the suite orders them; cells in the order of their names.

    Only cells with a trial that ended well.
    """
    suite = run.header["suite"]
    found: dict[str, list[Cell]] = defaultdict(list)
    cells = [cell for cell in cells_of(run.trials) if cell.count("ok")]
    order = list(product(suite["datasets"], suite["backbones"]))
    for cell in sorted(cells, key=lambda cell: order.index((cell.dataset, cell.backbone))):
        found[cell.place].append(cell)
    return {place: sorted(members, key=_order) for place, members in found.items()}


def _order(cell: Cell) -> tuple[bool, str, str]:
    """The baseline first."""
    return not cell.is_baseline, cell.head, cell.loss


def ended_well(run: RunData) -> list[TrialRecord]:
    """The trials with results."""
    return [trial for trial in run.trials if trial.status == "ok"]


def methods_of(run: RunData) -> set[str]:
    """How the joules of processor and accelerator were come by; memory's are a guess."""
    cells = cells_of(run.trials)
    return {method for cell in cells for c, found in cell.methods.items() if c != "ram" for method in found}


def half_width(interval: Interval, factor: float = 1.0) -> float | None:
    """Of an interval; None for a single value."""
    return interval.half_width * factor if interval.size > 1 else None


def kept(run: RunData, kind: Artifact) -> dict[str, Arrays]:
    """The arrays of the trials that ended well and have that artifact, by trial id."""
    found = {trial.id: artifacts.load(Path(run.folder), trial.id) for trial in ended_well(run)}
    return {trial: arrays for trial, arrays in found.items() if kind in arrays}


def not_kept(run: RunData, kind: Artifact, what: str) -> str | None:
    """Why a run has none of an artifact; None where it may."""
    asked = run.header["suite"].get("artifacts", ())
    if kind not in asked:
        return f"the run kept no {what}; put `artifacts: [{kind}]` into its suite and run into a new folder"
    return None if kept(run, kind) else f"no trial has kept {what} in {run.folder}/{artifacts.FOLDER}"


def lacking(cells: Iterable[Cell], found: Collection[str], what: str) -> str:
    """A sentence that says which trials lack what a plot shows; empty where none does."""
    without = [trial.spec for cell in cells for trial in cell.trials if trial.status == "ok" and trial.id not in found]
    if not without:
        return ""
    named = ", ".join(f"{spec.head} at seed {spec.seed}" for spec in without[:3])
    more = f" and {len(without) - 3} more" if len(without) > 3 else ""
    return f" Without kept {what}: {named}{more}."


def file_name(kind: str, place: str, places: Collection[str]) -> str:
    """Of a figure: the kind alone where there is one place only.

    >>> file_name("confusion", "mlp on digits[train_fraction=0.1]", ["a", "b"])
    'confusion-mlp-on-digits-train_fraction-0.1'
    """
    return kind if len(places) == 1 else f"{kind}-" + re.sub(r"[^\w.]+", "-", place).strip("-")


def label_of(cell: Cell, cells: Iterable[Cell]) -> str:
    """The head alone, where the place has it with one loss only."""
    return cell.label if sum(other.head == cell.head for other in cells) > 1 else cell.head


def percent(interval: Interval | None) -> str:
    """A mean share as text."""
    return "n/a" if interval is None else f"{100 * interval.mean:.1f} %"
