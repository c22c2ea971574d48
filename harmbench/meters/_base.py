"""What a meter is: it hands out a watcher for each trial, which sees steps and, at the end, the outcome."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from harmbench.registry import Component as RegistryComponent
from harmbench.results.records import (
    Component,
    Curve,
    CurvePoint,
    EnergyOrigin,
    Measurement,
    PhaseTotal,
    Protocol,
    Structure,
)

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


class Step(NamedTuple):
    """One optimizer step, after it was taken.

    Attributes:
        index: from 1.
        loss: mean loss of the batch, a scalar on the device, detached.
        parameters: trainable parameters, with the gradients of this step (after clipping, if any).
        clip_norm: global gradient norm before clipping, where the protocol clips; else None.
        head: those of the parameters that belong to head and loss; the rest are the backbone.
    """

    index: int  # type: ignore[assignment]  # not the method of tuples
    loss: Tensor
    parameters: Sequence[nn.Parameter]
    clip_norm: Tensor | None
    head: Sequence[nn.Parameter] = ()


@dataclass(frozen=True)
class Validation:
    """The model at one validation, in the phase `evaluate`.

    Attributes:
        point: of the curve.
        parameters: trainable parameters.
        embedding: of tokens, (V, N); None where the backbone has none.
        train_accuracy: share of right predictions on the training part, in evaluation mode; predicts when called.
    """

    point: CurvePoint
    parameters: Sequence[Tensor]
    embedding: Tensor | None
    train_accuracy: Callable[[], float]


@dataclass(frozen=True)
class HeldOut:
    """The selected state, and what it makes of held-out samples; float64 on the CPU.

    Attributes:
        features: (M, N), as the head reads them, in evaluation mode.
        targets: (M,), classes 0..K-1.
        predicted: the most probable class of each, (M,).
        weights: (K, N): class centers of a distance head, rows of a linear one.
        has_centers: whether the weights are centers.
        image_shape: (C, H, W), where the features are the pixels of the inputs themselves.
        is_text: whether the samples are tokens of a text, most of whose classes are rare.
    """

    features: Tensor
    targets: Tensor
    predicted: Tensor
    weights: Tensor
    has_centers: bool
    image_shape: tuple[int, ...] | None = None
    is_text: bool = False


@dataclass(frozen=True)
class Flops:
    """Floating-point operations of one training step, forward and backward.

    Attributes:
        backbone: of the backbone, counted.
        head: of the head; None where there is no formula for it.
        how: where the numbers come from.
        is_counted: whether all of it was counted, and none by formula.
    """

    backbone: int
    head: int | None
    how: str
    is_counted: bool


@dataclass(frozen=True)
class WarmUp:
    """How many steps warm-up took, and whether the step time had settled by then."""

    steps: int
    settled: bool


def shared(group_size: int) -> str:
    """Why what several trials took together is no measure of one.

    Equal shares have no spread: statistics would take them for replicates that agree.
    """
    return f"{group_size} seeds were trained together, which share it; the record's phases have an equal share"


@dataclass(frozen=True)
class Outcome:
    """What a finished trial is measured from.

    Attributes:
        protocol: of the trial.
        batch_size: samples of each step.
        steps: number of steps taken.
        step_seconds: duration of each step in the measured window, its batch included, without the meters.
        batch_seconds: of each step, how long it waited for its batch.
        warm_up: what came before the window.
        curve: one point for each validation.
        phases: seconds and joules of the phases before `analyze`, which is still going on.
        energy_origins: where the joules come from.
        best: point of the curve whose state was selected.
        test_logits: (M, K) of the selected state, float32 on the CPU; None of text, where they would fill the memory.
        test_targets: (M,); of text, of the tokens that are asked for.
        test_nll: of each target, in nat, (M,).
        test_hits: whether each is the most probable class, (M,).
        token_bytes: of text, the length of each token, (V,).
        batch_tokens: of text, tokens that a step reads.
        device_name: as the maker calls it.
        held_out: looks at the selected state, once however often it is called.
        count_flops: likewise, for one training step.
        embedding: of tokens, (V, N), in the selected state; None where the backbone has none.
        structure: what the tokens of the data set are to each other.
        encoder: gives what turns a text into the numbers of its tokens, or None where nobody knows.
        together: trials recorded of the stack that this one was trained in. Seconds, joules and memory are those of all
            of them: no measure of one.
    """

    protocol: Protocol
    batch_size: int
    steps: int
    step_seconds: Sequence[float]
    batch_seconds: Sequence[float]
    warm_up: WarmUp
    curve: Sequence[CurvePoint]
    phases: Sequence[PhaseTotal]
    energy_origins: dict[Component, EnergyOrigin]
    best: CurvePoint
    test_logits: Tensor | None
    test_targets: Tensor
    test_nll: Tensor
    test_hits: Tensor
    token_bytes: Tensor | None
    batch_tokens: int | None
    device_name: str
    held_out: Callable[[], HeldOut]
    count_flops: Callable[[], Flops]
    embedding: Tensor | None = None
    structure: Structure | None = None
    encoder: Callable[[], Callable[[str], list[int]] | None] = lambda: None
    group_size: int = 1

    @property
    def shared(self) -> str:
        """Why a measure of time, energy or memory is missing; empty where the trial had the machine alone."""
        return "" if self.group_size == 1 else shared(self.group_size)


class Watcher:
    """Watches one trial. Subclasses override what they need.

    Attributes:
        due: index of the step that it wants to see next; those before are not shown to it. One that leaves it as it is
            sees every step.
    """

    due: float = 1

    def on_start(self, device: torch.device) -> None:
        """Called once, right before the first step, outside the training window."""

    def on_step(self, step: Step) -> None:
        """Called after each step that is due, outside the step's timing."""

    def on_losses(self, first: int, losses: Sequence[float]) -> None:
        """Called every few steps with the losses of all steps since the last call, from step `first` on.

        They may go on behind the first that is not finite. All up to it are known when `on_validation` or `state` is
        called, and when a trial ends.
        """

    def on_validation(self, seen: Validation) -> None:
        """Called after each validation, outside the training window."""

    def state(self) -> dict[str, Any] | None:
        """What it has seen so far, for a checkpoint: numbers, texts, lists, dicts with text keys, and tensors.

        None where it cannot tell, which is so for a watcher that sees steps or validations unless it says how; the
        record of a trial that went on after an interruption then names the meter.
        """
        hooks = ("on_start", "on_step", "on_losses", "on_validation")
        return {} if all(getattr(type(self), hook) is getattr(Watcher, hook) for hook in hooks) else None

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state; called after `on_start`, before the first step that it will see."""

    def measurements(self, outcome: Outcome) -> list[Measurement]:
        """The values, once the trial has ended well; called in the phase `analyze`, outside every other."""
        return []

    def partial(self) -> list[Measurement]:
        """The values that make sense of a trial that diverged.

        Training goes on for a few steps before a loss that is not finite is noticed. Those steps are not part of the
        trial: what came after the first such loss must not count.
        """
        return []

    def curves(self) -> list[Curve]:
        """Values over the steps, of a bounded number of points, however the trial ended."""
        return []


class Meter(RegistryComponent):
    """Base of all meters; not itself a meter."""

    @abstractmethod
    def watcher(self) -> Watcher:
        """A fresh watcher for one trial."""
