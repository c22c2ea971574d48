"""The loss on the test part."""

from __future__ import annotations

from collections import defaultdict
from statistics import mean, stdev
from typing import ClassVar

from harmbench.report.charts import Dot, DotPanel, Dots
from harmbench.report.formats import Figure
from harmbench.report.plots import Plot
from harmbench.results.store import RunData

MEASURE = "test_nll"


class TestLoss(Plot):
    """Negative log-likelihood of every head on the test part: mean over seeds with its 95 % t interval.

    A panel for each backbone on each data set, a row for each head.
    """

    __test__ = False  # the class is no test, whatever pytest makes of its name

    name: ClassVar[str] = "test_loss"

    def applies(self, run: RunData) -> str | None:
        if _values(run):
            return None
        return f"no trial has {MEASURE}; put the meter quality into the suite"

    def figures(self, run: RunData) -> tuple[Figure, ...]:
        panels = tuple(
            DotPanel(title=condition, dots=tuple(_dot(head, loss, values) for (head, loss), values in cells.items()))
            for condition, cells in _values(run).items()
        )
        caption = "Negative log-likelihood on the test part: mean over seeds with its 95 % t interval; less is better."
        return (Dots(name=self.name, caption=caption, axis="nat", panels=panels),)


def _values(run: RunData) -> dict[str, dict[tuple[str, str], list[float]]]:
    """The losses of all seeds, by condition, then by head and loss."""
    conditions: dict[str, dict[tuple[str, str], list[float]]] = defaultdict(lambda: defaultdict(list))
    for trial in run.trials:
        spec, value = trial.spec, trial.value(MEASURE)
        if value is not None:
            condition = " ".join(filter(None, (spec.backbone, "on", spec.dataset, spec.setting)))
            conditions[condition][spec.head, spec.loss].append(value)
    return conditions


def _dot(head: str, loss: str, values: list[float]) -> Dot:
    from scipy.stats import t

    half_width = None
    if len(values) > 1:
        half_width = float(t.ppf(0.975, len(values) - 1)) * stdev(values) / len(values) ** 0.5
    return Dot(head=head, loss=loss, mean=mean(values), half_width=half_width, values=tuple(values))
