"""Explained variance across seeds."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from harmbench.analysis.cells import Cell, cells_of
from harmbench.report.charts import Dot, DotPanel, Dots
from harmbench.report.formats import Figure
from harmbench.report.plots._base import Plot, cells_by_condition, half_width
from harmbench.results.store import RunData

OF_TOKENS, OF_FEATURES = "embedding_variance_2", "pca_variance_2"


class ExplainedVariance(Plot):
    """Share of the variance that the first two principal components explain, a tick for each seed.

    `measure` is embedding_variance_2 where a run has that, of the embeddings of all tokens, else pca_variance_2, of
    held-out features. Collapsed trials are left out: two components explain everything that a model without features
    has.
    """

    name: ClassVar[str] = "explained_variance"
    place: ClassVar[int] = 7

    measure: str = Field(default="", description="a share among the measures of a meter")

    def applies(self, run: RunData) -> str | None:
        measure, cells = self._measure(run), cells_of(run.trials)
        known = sum(len(cell.by_seed(measure)) for cell in cells)
        if not known:
            return f"no trial has {measure}; put the meter representation into the suite"
        is_sound = any(cell.without_collapsed.by_seed(measure) for cell in cells)
        return None if is_sound else f"all {known} trials that have {measure} collapsed"

    def figures(self, run: RunData) -> tuple[Figure, ...]:
        measure = self._measure(run)
        panels = []
        for condition, cells in cells_by_condition(run).items():
            dots = [dot for cell in cells if (dot := _dot(cell, measure))]
            if dots:
                panels.append(DotPanel(title=condition, dots=tuple(sorted(dots, key=lambda dot: -dot.mean))))
        return (
            Dots(
                name=self.name,
                caption=f"Explained variance ({measure}) in %: mean over the seeds that did not collapse, with its "
                "95 % t interval, a tick for each seed. High or low is neither good nor bad; read it beside the "
                "accuracy.",
                axis=f"{measure} (%)",
                panels=tuple(panels),
                limits=(-2, 102),
            ),
        )

    def _measure(self, run: RunData) -> str:
        of_tokens = any(cell.by_seed(OF_TOKENS) for cell in cells_of(run.trials))
        return self.measure or (OF_TOKENS if of_tokens else OF_FEATURES)


def _dot(cell: Cell, measure: str) -> Dot | None:
    interval = cell.without_collapsed.interval(measure)
    if interval is None:
        return None
    return Dot(
        head=cell.head,
        loss=cell.loss,
        mean=100 * interval.mean,
        half_width=half_width(interval, 100),
        values=tuple(100 * value for value in cell.without_collapsed.values(measure)),
    )
