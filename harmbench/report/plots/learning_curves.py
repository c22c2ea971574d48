"""Accuracy over the steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from harmbench.analysis.cells import Cell
from harmbench.report.charts import Line, LinePanel, Lines, limits_of_shares
from harmbench.report.formats import Figure
from harmbench.report.plots._base import Plot, cells_by_condition, file_name, label_of
from harmbench.results.records import TrialRecord
from harmbench.results.store import RunData

TRAIN_CURVE = "train_accuracy"
MOST_IN_REPORT = 12  # panels of a figure


class LearningCurves(Plot):
    """Validation accuracy over the steps, and training accuracy where a meter keeps it: all seeds, a panel for a head.

    Diverged trials are drawn up to their last validation.
    """

    name: ClassVar[str] = "learning_curves"
    place: ClassVar[int] = 5

    def applies(self, run: RunData) -> str | None:
        return None if curves_in(run) else "no trial has two validations; raise `evaluations` in the protocol"

    def figures(self, run: RunData) -> tuple[Figure, ...]:
        return self._figures(run, curves_in(run))

    def _figures(self, run: RunData, conditions: dict[str, list[Cell]]) -> tuple[Figure, ...]:
        has_training = any(curve.name == TRAIN_CURVE for trial in run.trials for curve in trial.curves)
        dashed = "dotted: on the training part" if has_training else "the run keeps no training accuracy"
        return tuple(
            Lines(
                name=file_name(self.name, condition, conditions),
                caption=f"Accuracy over the steps, {condition}, a line for each seed; solid: on the validation part, "
                f"{dashed}. The test part is read once, at the end. Steps where training is perfect and validation is "
                "not are the grokking gap.",
                x="step",
                y="accuracy (%)",
                limits=limits_of_shares(panels),
                panels=panels,
            )
            for condition, cells in conditions.items()
            for panels in [tuple(LinePanel(title=label_of(c, cells), lines=tuple(_lines(c))) for c in cells)]
        )

    def reported(self, run: RunData) -> tuple[Figure, ...]:
        """Return the figures of conditions with few heads, without text, which has loss curves instead."""
        return self._figures(run, few_heads(curves_in(run), of_text=False))


def few_heads(conditions: dict[str, list[Cell]], of_text: bool) -> dict[str, list[Cell]]:
    """Return the conditions with few heads, either of text or of other data."""
    return {
        condition: cells
        for condition, cells in conditions.items()
        if len(cells) <= MOST_IN_REPORT and any(cell.is_of_text for cell in cells) == of_text
    }


def curves_in(run: RunData) -> dict[str, list[Cell]]:
    """Return the cells of each condition that have a trial with two validations."""
    drawn = {
        condition: [cell for cell in cells if any(len(trial.curve) > 1 for trial in cell.trials)]
        for condition, cells in cells_by_condition(run).items()
    }
    return {condition: cells for condition, cells in drawn.items() if cells}


def _lines(cell: Cell) -> Iterator[Line]:
    for trial in cell.trials:
        for what, stroke, steps, values in _curves(trial):
            yield Line.model_validate(
                {
                    "head": cell.head,
                    "loss": cell.loss,
                    "what": f"{what}, seed {trial.spec.seed}",
                    "x": steps,
                    "y": [None if value is None else 100 * value for value in values],
                    "stroke": stroke,
                }
            )


def _curves(trial: TrialRecord) -> Iterator[tuple[str, str, list[float], list[float | None]]]:
    if trial.curve:
        yield (
            "validation",
            "plain",
            [float(p.step) for p in trial.curve],
            [p.validation_accuracy for p in trial.curve],
        )
    for curve in trial.curves:
        if curve.name == TRAIN_CURVE:
            yield "training", "dashed", list(map(float, curve.steps)), list(curve.values)
