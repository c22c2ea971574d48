"""What a meter is: it hands out a watcher for each trial, which sees steps and, at the end, the outcome."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harmbench.records import Component, CurvePoint, EnergyOrigin, Measurement, PhaseTotal, Protocol
from harmbench.registry import Component as RegistryComponent

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Step:
    """One optimiser step, after it was taken.

    Attributes:
        index: from 1.
        loss: mean loss of the batch, a scalar on the device, detached.
        parameters: trainable parameters, with the gradients of this step (after clipping, if any).
        clip_norm: global gradient norm before clipping, where the protocol clips; else None.
    """

    index: int
    loss: Tensor
    parameters: Sequence[nn.Parameter]
    clip_norm: Tensor | None


@dataclass(frozen=True)
class Outcome:
    """What a finished trial is measured from.

    Attributes:
        protocol: of the trial.
        batch_size: samples of each step.
        steps: number of steps taken.
        step_seconds: duration of each step in the measured window, without the meters.
        curve: one point for each validation.
        phases: seconds and joules.
        energy_origins: where the joules come from.
        best: point of the curve whose state was selected.
        test_logits: (M, K) of the selected state, float32 on the CPU.
        test_targets: (M,).
        peak_memory_bytes: of the trial.
    """

    protocol: Protocol
    batch_size: int
    steps: int
    step_seconds: Sequence[float]
    curve: Sequence[CurvePoint]
    phases: Sequence[PhaseTotal]
    energy_origins: dict[Component, EnergyOrigin]
    best: CurvePoint
    test_logits: Tensor
    test_targets: Tensor
    peak_memory_bytes: int


class Watcher:
    """Watches one trial. Subclasses override what they need."""

    def on_step(self, step: Step) -> None:
        """Called after each step, outside the step's timing."""

    def measurements(self, outcome: Outcome) -> list[Measurement]:
        """The values, once the trial has ended well."""
        return []

    def partial(self) -> list[Measurement]:
        """The values that make sense of a trial that diverged."""
        return []


class Meter(RegistryComponent):
    """Base of all meters; not itself a meter."""

    @abstractmethod
    def watcher(self) -> Watcher:
        """A fresh watcher for one trial."""
