"""Gradient norms over time."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, field_validator

from harmbench.analysis.cells import Cell
from harmbench.report.charts import Line, LinePanel, Lines
from harmbench.report.charts.lines import Stroke
from harmbench.report.formats import Figure
from harmbench.report.plots._base import Plot, cells_by_condition, file_name, label_of
from harmbench.results.records import TrialRecord
from harmbench.results.store import RunData


class GradientNorm(Plot):
    """Global norm of the gradient, before clipping, over the steps: of everything, or of `part` head or backbone.

    The curves come from the meter gradient_stability. Each point is a mean over successive readings.
    """

    name: ClassVar[str] = "gradient_norm"

    part: Literal["all", "head", "backbone"] = Field(default="all", description="parameters whose gradient it is")

    @field_validator("part", mode="before")
    @classmethod
    def _old_name(cls, part: str) -> str:
        return "backbone" if part == "trunk" else part  # as harmbench 0.1 called it, for one release

    @property
    def _curve(self) -> str:
        return "gradient_norm" + ("" if self.part == "all" else f"_{self.part}")

    def applies(self, run: RunData) -> str | None:
        if self._conditions(run):
            return None
        return f"no trial has a curve {self._curve}; put the meter gradient_stability into the suite"

    def figures(self, run: RunData) -> tuple[Figure, ...]:
        conditions = self._conditions(run)
        return tuple(
            Lines(
                name=file_name(self._curve, condition, conditions),
                caption=f"Norm of the gradient over the steps, {condition}, "
                f"{'all parameters' if self.part == 'all' else f'the {self.part} alone'}; a line for each seed, the "
                "baseline in thin black. It falls with the loss itself, so a model that learns nothing may be the "
                "calmest.",
                x="step",
                y="gradient norm",
                log="y",
                panels=tuple(self._panel(cell, cells) for cell in cells),
            )
            for condition, cells in conditions.items()
        )

    def _conditions(self, run: RunData) -> dict[str, list[Cell]]:
        with_curve = {
            condition: [cell for cell in cells if any(self._has(trial) for trial in cell.trials)]
            for condition, cells in cells_by_condition(run).items()
        }
        return {condition: cells for condition, cells in with_curve.items() if cells}

    def _has(self, trial: TrialRecord) -> bool:
        return any(curve.name == self._curve for curve in trial.curves)

    def _panel(self, cell: Cell, cells: list[Cell]) -> LinePanel:
        baseline = (
            [] if cell.is_baseline else [line for c in cells if c.is_baseline for line in self._lines(c, "background")]
        )
        return LinePanel(title=label_of(cell, cells), lines=(*baseline, *self._lines(cell, "plain")))

    def _lines(self, cell: Cell, stroke: Stroke) -> list[Line]:
        return [
            Line(
                head=cell.head,
                loss=cell.loss,
                what=f"seed {trial.spec.seed}",
                x=tuple(map(float, curve.steps)),
                y=tuple(value if value and value > 0 else None for value in curve.values),
                stroke=stroke,
            )
            for trial in cell.trials
            for curve in trial.curves
            if curve.name == self._curve
        ]
