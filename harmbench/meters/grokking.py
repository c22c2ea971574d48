"""Grokking: steps until a trial fits its training part, and until it generalizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from harmbench._torch import torch
from harmbench.meters._base import Meter, Outcome, Validation, Watcher
from harmbench.meters.structure import explained
from harmbench.results.records import Curve, CurvePoint, Direction, Measurement

if TYPE_CHECKING:
    from torch import Tensor


MEASURES: tuple[tuple[str, str, Direction], ...] = (
    ("steps_to_lasting_train", "step", "lower"),
    ("steps_to_lasting_validation", "step", "lower"),
    ("grokking_gap", "step", "lower"),
    ("train_accuracy", "1", "higher"),
    ("weight_norm", "1", "neither"),
)


class Grokking(Meter):
    """First step of lasting accuracy on the training and on the validation part, the gap between, and the weight norm.

    The accuracy on the training part, in evaluation mode, is computed at every validation, in the phase `evaluate`.
    Each time costs a pass over that part. Lasting: at least `threshold` at a validation and at all later ones. A dip at
    the end cancels an earlier success. The part that is held out is validation: test is read once. A trial that does
    not reach it has no value, and counts as later than its last validation.
    - steps_to_lasting_train, steps_to_lasting_validation: the first such step.
    - grokking_gap: the second minus the first, negative if validation was first.
    - train_accuracy, weight_norm: values at the last validation. The norm is the Euclidean norm of all trainable
      parameters.

    Over the steps, in the record's curves: train_accuracy, weight_norm, and embedding_variance_2 (see `structure`).
    """

    name: ClassVar[str] = "grokking"

    threshold: float = Field(default=0.9, gt=0, le=1)

    def watcher(self) -> Watcher:
        return _GrokkingWatcher(self.threshold)


class _GrokkingWatcher(Watcher):
    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._points: list[CurvePoint] = []
        self._train: list[float] = []
        self._norms: list[float | None] = []
        self._variances: list[float | None] = []

    def on_validation(self, seen: Validation) -> None:
        self._points.append(seen.point)
        self._train.append(seen.train_accuracy())
        self._norms.append(_if_number(weight_norm(seen.parameters)))
        if seen.embedding is not None:
            self._variances.append(_if_number(explained(seen.embedding.detach().double().cpu(), 2)))

    def state(self) -> dict[str, Any]:
        points = [point.to_plain() for point in self._points]
        return {"points": points, "train": self._train, "norms": self._norms, "variances": self._variances}

    def restore(self, state: dict[str, Any]) -> None:
        self._points = [CurvePoint.from_plain(point) for point in state["points"]]
        self._train, self._norms, self._variances = state["train"], state["norms"], state["variances"]

    @property
    def _steps(self) -> tuple[int, ...]:
        return tuple(point.step for point in self._points)

    def measurements(self, outcome: Outcome) -> list[Measurement]:
        if not self._points:
            missing = "no validation was seen"
            return [Measurement.of(name, None, unit, better, missing) for name, unit, better in MEASURES]
        validated = [point.validation_accuracy for point in self._points]
        train, why_train = self._reached("training", self._train)
        validation, why_validation = self._reached("validation", validated)
        gap = validation - train if train is not None and validation is not None else None
        values = (
            (train, why_train),
            (validation, why_validation),
            (gap, why_train or why_validation),
            (self._train[-1], ""),
            (self._norms[-1], ""),
        )
        return [
            Measurement.of(name, value, unit, better, why)
            for (name, unit, better), (value, why) in zip(MEASURES, values, strict=True)
        ]

    def _reached(self, part: str, accuracies: Sequence[float]) -> tuple[int | None, str]:
        """The first step of lasting accuracy, or why there is none."""
        if (first := lasting(accuracies, self._threshold)) is not None:
            return self._steps[first], ""
        best, last = max(accuracies), accuracies[-1]
        return None, f"{part} accuracy ends at {last:.3f}, best {best:.3f}; threshold {self._threshold:g}"

    def curves(self) -> list[Curve]:
        followed = (
            ("train_accuracy", self._train),
            ("weight_norm", self._norms),
            ("embedding_variance_2", self._variances),
        )
        return [
            Curve(name=name, unit="1", steps=self._steps, values=tuple(values)) for name, values in followed if values
        ]


def _if_number(value: float | str) -> float | None:
    return value if isinstance(value, float) and math.isfinite(value) else None


def lasting(values: Sequence[float], threshold: float) -> int | None:
    """Index of the first value from which all are at least the threshold, or None if the last value is not.

    >>> lasting([0.2, 0.95, 0.5, 0.9, 0.92], 0.9), lasting([0.95, 0.5], 0.9)
    (3, None)
    """
    under = [index for index, value in enumerate(values) if not value >= threshold]
    first = under[-1] + 1 if under else 0
    return first if first < len(values) else None


def weight_norm(parameters: Sequence[Tensor]) -> float:
    """Euclidean norm of all parameters together.

    >>> weight_norm([torch.tensor([3.0]), torch.tensor([[0.0, 4.0]])])
    5.0
    """
    norms = torch._foreach_norm([parameter.detach() for parameter in parameters])
    return float(torch.linalg.vector_norm(torch.stack(norms).double()))
