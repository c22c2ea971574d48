"""What a picture is: it says whether a run has what it shows, and makes figures of it."""

from __future__ import annotations

from abc import abstractmethod
from collections import defaultdict
from itertools import product
from typing import ClassVar

from harmbench.cells import Cell, cells_of
from harmbench.formats import Figure
from harmbench.records import TrialRecord
from harmbench.registry import Component
from harmbench.stats import Interval
from harmbench.store import RunData


class Picture(Component):
    """Base of all pictures; not itself a picture.

    Class attributes:
        place: among the pictures of a report, from 1; 0 for one that only `harmbench plot` draws.
    """

    place: ClassVar[int] = 0

    @abstractmethod
    def applies(self, run: RunData) -> str | None:
        """Why there is nothing to draw, in one line that says what would change that; None if there is."""

    @abstractmethod
    def figures(self, run: RunData) -> tuple[Figure, ...]:
        """The figures of a run to which the picture applies; their names are distinct."""


def places_of(run: RunData) -> dict[str, list[Cell]]:
    """The cells of each backbone on each data set, as the suite orders them; cells in the order of their names.

    Only cells with a trial that ended well.
    """
    suite = run.header["suite"]
    found: dict[str, list[Cell]] = defaultdict(list)
    cells = [cell for cell in cells_of(run.trials) if cell.count("ok")]
    places = [f"{backbone} on {dataset}" for dataset, backbone in product(suite["datasets"], suite["backbones"])]
    for cell in sorted(cells, key=lambda cell: places.index(cell.place)):
        found[cell.place].append(cell)
    return {place: sorted(members, key=_order) for place, members in found.items()}


def _order(cell: Cell) -> tuple[bool, str, str]:
    """The baseline first."""
    return not cell.is_baseline, cell.head, cell.loss


def ended_well(run: RunData) -> list[TrialRecord]:
    """The trials with results."""
    return [trial for trial in run.trials if trial.status == "ok"]


def half_width(interval: Interval, factor: float = 1.0) -> float | None:
    """Of an interval; None for a single value."""
    return interval.half_width * factor if interval.size > 1 else None
