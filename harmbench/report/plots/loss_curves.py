"""Loss over the steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from harmbench.analysis.cells import Cell
from harmbench.report.charts import Line, LinePanel, Lines
from harmbench.report.charts.lines import Stroke
from harmbench.report.formats import Figure
from harmbench.report.plots._base import Plot, file_name, label_of
from harmbench.report.plots.learning_curves import curves_in, few_heads
from harmbench.results.records import CurvePoint
from harmbench.results.store import RunData


class LossCurves(Plot):
    """Validation and training loss over the steps: all seeds, a panel for a head. In reports of text.

    Both are the mean NLL in nat. The training loss is that of the batches since the previous validation. Diverged
    trials are drawn up to their last validation.
    """

    name: ClassVar[str] = "loss_curves"
    place: ClassVar[int] = 5

    def applies(self, run: RunData) -> str | None:
        return None if curves_in(run) else "no trial has two validations; raise `evaluations` in the protocol"

    def figures(self, run: RunData) -> tuple[Figure, ...]:
        return self._figures(curves_in(run))

    def reported(self, run: RunData) -> tuple[Figure, ...]:
        """Return the figures of text with few heads. Other data have learning curves."""
        return self._figures(few_heads(curves_in(run), of_text=True))

    def _figures(self, conditions: dict[str, list[Cell]]) -> tuple[Figure, ...]:
        return tuple(
            Lines(
                name=file_name(self.name, condition, conditions),
                caption=f"Loss over the steps, {condition}, a line for each seed, the baseline's validation loss in "
                "thin "
                "black; solid: mean NLL of the validation part, dotted: of the batches since the validation before.",
                x="step",
                y="loss (nat)",
                panels=tuple(
                    LinePanel(title=label_of(cell, cells), lines=tuple(_lines(cell, cells))) for cell in cells
                ),
            )
            for condition, cells in conditions.items()
        )


def _lines(cell: Cell, cells: list[Cell]) -> Iterator[Line]:
    baseline = () if cell.is_baseline else (other for other in cells if other.is_baseline)
    for other in baseline:
        yield from _curves(other, "validation", "background")
    yield from _curves(cell, "validation", "plain")
    yield from _curves(cell, "training", "dashed")


def _curves(cell: Cell, what: str, stroke: Stroke) -> Iterator[Line]:
    for trial in cell.trials:
        if trial.curve:
            yield Line(
                head=cell.head,
                loss=cell.loss,
                what=f"{what}, seed {trial.spec.seed}",
                x=tuple(float(point.step) for point in trial.curve),
                y=tuple(_loss(point, what) for point in trial.curve),
                stroke=stroke,
            )


def _loss(point: CurvePoint, what: str) -> float | None:
    return point.validation_nll if what == "validation" else point.train_loss
