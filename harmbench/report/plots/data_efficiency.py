"""Accuracy over the size of the training part."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import ClassVar

from harmbench.analysis.cells import Cell
from harmbench.report.charts import Line, LinePanel, Lines, limits_of_shares
from harmbench.report.formats import Figure
from harmbench.report.plots._base import Plot, cells_by_condition, half_width
from harmbench.results.store import RunData

_FRACTION = re.compile(r",?train_fraction=([^,\]]+)")


class DataEfficiency(Plot):
    """Test accuracy over the share of the training part that a model is given: means over seeds with their intervals.

    For suites that name a data set with two or more values of `train_fraction`, as `data-efficiency` does.
    """

    name: ClassVar[str] = "data_efficiency"
    place: ClassVar[int] = 6

    def applies(self, run: RunData) -> str | None:
        if _places(run):
            return None
        return "no data set with two values of train_fraction; `harmbench run data-efficiency` has some"

    def figures(self, run: RunData) -> tuple[Figure, ...]:
        panels = tuple(
            LinePanel(title=condition, lines=tuple(_lines(cells))) for condition, cells in _places(run).items()
        )
        return (
            Lines(
                name=self.name,
                caption="Test accuracy over the share of the training part: means over seeds with 95 % t intervals, a "
                "little aside of each other. Further left at the same height is less data for the same accuracy.",
                x="share of the training part",
                y="test accuracy (%)",
                has_legend=True,
                limits=limits_of_shares(panels),
                panels=panels,
            ),
        )


def fraction(dataset: str) -> tuple[str, float]:
    """A data set's address without its train_fraction, and that.

    >>> fraction("lattice[train_fraction=0.02]"), fraction("lattice[side=7,train_fraction=0.5]"), fraction("digits")
    (('lattice', 0.02), ('lattice[side=7]', 0.5), ('digits', 1.0))
    """
    found = _FRACTION.search(dataset)
    rest = _FRACTION.sub("", dataset).replace("[,", "[").replace("[]", "")
    return rest, float(found[1]) if found else 1.0


def _places(run: RunData) -> dict[str, list[Cell]]:
    found: dict[str, list[Cell]] = defaultdict(list)
    for cell in (
        cell for cells in cells_by_condition(run).values() for cell in cells if cell.interval("test_accuracy")
    ):
        found[cell.condition.replace(cell.dataset, fraction(cell.dataset)[0])].append(cell)
    return {
        condition: cells for condition, cells in found.items() if len({fraction(cell.dataset)[1] for cell in cells}) > 1
    }


def _lines(cells: list[Cell]) -> Iterator[Line]:
    for head, loss in dict.fromkeys((cell.head, cell.loss) for cell in cells):
        of_head = sorted(
            (fraction(c.dataset)[1], c.interval("test_accuracy")) for c in cells if (c.head, c.loss) == (head, loss)
        )
        points = [(share, interval) for share, interval in of_head if interval]
        yield Line(
            head=head,
            loss=loss,
            what="mean over seeds",
            x=tuple(share for share, _ in points),
            y=tuple(100 * interval.mean for _, interval in points),
            half=tuple(half_width(interval, 100) for _, interval in points),
        )
