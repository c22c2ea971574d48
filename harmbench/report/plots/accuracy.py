"""Test accuracy of every head."""

from __future__ import annotations

from collections import defaultdict
from typing import ClassVar

from harmbench.analysis.cells import Cell
from harmbench.analysis.primary import ACCURACY, primary_metric
from harmbench.report.charts import Dot, DotPanel, Dots
from harmbench.report.formats import Figure
from harmbench.report.plots._base import Plot, cells_by_condition, half_width
from harmbench.results.store import RunData

MEASURE = "test_accuracy"


class Accuracy(Plot):
    """Test accuracy of every head: means with their intervals, each seed's value, the baseline as a line.

    There is a panel for each condition and a row for each head, in the order of their mean over the panels. Heads that
    are disqualified in any condition come last.
    """

    name: ClassVar[str] = "accuracy"
    place: ClassVar[int] = 1

    def applies(self, run: RunData) -> str | None:
        return (
            None if measured_in(run, MEASURE) else "no trial has a test accuracy; put the meter quality into the suite"
        )

    def figures(self, run: RunData) -> tuple[Figure, ...]:
        return self._figures(measured_in(run, MEASURE))

    def reported(self, run: RunData) -> tuple[Figure, ...]:
        """Return the figures without text, whose heads are ranked by the loss."""
        shown = measured_in(run, MEASURE)
        return self._figures(
            {condition: cells for condition, cells in shown.items() if primary_metric(cells) is ACCURACY}
        )

    def _figures(self, shown: dict[str, list[Cell]]) -> tuple[Figure, ...]:
        if not shown:
            return ()
        return (
            Dots(
                name=self.name,
                caption="Test accuracy of every head: mean over seeds with its 95 % t interval, ticks for the seeds. "
                "The dashed line is the baseline; numbers at the left edge are means too low for the axis. "
                "Heads of one color are of one family.",
                axis="test accuracy (%)",
                panels=panels_of(shown, MEASURE, factor=100, sign=1),
            ),
        )


def measured_in(run: RunData, measure: str) -> dict[str, list[Cell]]:
    """Return the cells of each condition that have a measure."""
    measured = {
        condition: [c for c in cells if c.by_seed(measure)] for condition, cells in cells_by_condition(run).items()
    }
    return {condition: cells for condition, cells in measured.items() if cells}


def panels_of(shown: dict[str, list[Cell]], measure: str, factor: float, sign: int) -> tuple[DotPanel, ...]:
    """Return a panel for each condition, with one order of heads: the best mean first, disqualified ones last.

    Args:
        shown: cells with the measure, by condition.
        measure: name of the measure.
        factor: factor from the measure to the drawn unit.
        sign: 1 if more is better, -1 if less is better.
    """
    means: dict[str, list[float]] = defaultdict(list)
    cells = [cell for members in shown.values() for cell in members]
    for cell in cells:
        means[cell.head] += cell.values(measure)
    disqualified = {cell.head for cell in cells if cell.disqualified}
    rows = sorted(means, key=lambda head: (head in disqualified, -sign * sum(means[head]) / len(means[head])))
    return tuple(_panel(condition, members, rows, measure, factor) for condition, members in shown.items())


def _panel(condition: str, cells: list[Cell], rows: list[str], measure: str, factor: float) -> DotPanel:
    baseline = next((interval for c in cells if c.is_baseline and (interval := c.interval(measure))), None)
    return DotPanel(
        title=condition,
        dots=tuple(_dot(cell, measure, factor) for cell in sorted(cells, key=lambda cell: rows.index(cell.head))),
        reference=factor * baseline.mean if baseline else None,
    )


def _dot(cell: Cell, measure: str, factor: float) -> Dot:
    interval = cell.interval(measure)
    assert interval is not None
    return Dot(
        head=cell.head,
        loss=cell.loss,
        mean=factor * interval.mean,
        half_width=half_width(interval, factor),
        values=tuple(factor * value for value in cell.values(measure)),
    )
