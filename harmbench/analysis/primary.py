"""The primary metric: the measure by which heads of a condition are ranked and compared with the baseline."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from harmbench.analysis.cells import Cell


class PrimaryMetric(NamedTuple):
    """The measure by which the heads of a condition are ranked and compared with the baseline.

    Attributes:
        measure: name of the measure.
        label, unit: name and unit for people. `step` is the unit of a difference.
        factor: factor from the measure to the unit.
        sign: 1 if more is better, -1 if less is better.
        relevant_difference: a difference that matters, in the measure's own unit.
    """

    measure: str
    label: str
    unit: str
    step: str
    factor: float
    sign: Literal[1, -1]
    relevant_difference: float


ACCURACY = PrimaryMetric("test_accuracy", "test accuracy", "%", "points", 100, 1, 0.01)
LOSS = PrimaryMetric("test_nll", "test loss", "nat", "nat", 1, -1, 0.01)  # 0.01 nat is 1 % of a perplexity


def primary_metric(cells: Iterable[Cell]) -> PrimaryMetric:
    """Return the loss for text, since perplexity and bits per byte follow from it, and otherwise the accuracy."""
    return LOSS if any(cell.is_of_text for cell in cells) else ACCURACY
