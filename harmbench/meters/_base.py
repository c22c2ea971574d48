"""Base classes of meters. A meter makes one watcher a trial, which sees its steps and, at the end, its outcome."""

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
    """One optimizer step that has been taken.

    Attributes:
        index: number of the step, counted from 1.
        loss: mean loss of the batch, a scalar on the device, detached.
        parameters: trainable parameters, with the gradients of this step (after clipping, if any).
        clip_norm: global gradient norm before clipping, or None if the protocol does not clip.
        head: the parameters of head and loss. The others belong to the backbone.
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
        point: losses and accuracies of this validation.
        parameters: trainable parameters.
        embedding: token embedding (V, N), or None if the backbone has none.
        train_accuracy: computes the accuracy on the training part, in evaluation mode, when called.
    """

    point: CurvePoint
    parameters: Sequence[Tensor]
    embedding: Tensor | None
    train_accuracy: Callable[[], float]


@dataclass(frozen=True)
class HeldOut:
    """Features, predictions and head weights of the selected state on held-out samples, float64 on the CPU.

    Attributes:
        features: (M, N), as the head reads them, in evaluation mode.
        targets: (M,), classes 0..K-1.
        predicted: most probable class of each sample, (M,).
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
    """Number of warm-up steps, and whether the step time had settled by their end."""

    steps: int
    settled: bool


def shared(group_size: int) -> str:
    """Reason why a quantity shared by several trials is missing for each of them.

    Equal shares have no spread, so statistics would take them for replicates that agree.

    Args:
        group_size: number of seeds that were trained together.
    """
    return f"{group_size} seeds were trained together, which share it; the record's phases have an equal share"


@dataclass(frozen=True)
class Outcome:
    """Inputs of the measurements of a finished trial.

    Attributes:
        protocol: protocol of the trial.
        batch_size: samples of each step.
        steps: number of steps taken.
        step_seconds: duration of each step in the measured window, its batch included, without the meters.
        batch_seconds: time that each step waited for its batch.
        warm_up: what came before the window.
        curve: one point for each validation.
        phases: seconds and joules of the phases before `analyze`, which has not ended yet.
        energy_origins: where the joules come from.
        best: the validation whose state was selected.
        test_logits: (M, K) of the selected state, float32 on the CPU. None for text, where they would fill the memory.
        test_targets: (M,). For text, the tokens to be predicted.
        test_nll: negative log-likelihood of each target in nat, (M,).
        test_hits: whether each target is the most probable class, (M,).
        token_bytes: length of each token in bytes, (V,). None for other data.
        batch_tokens: tokens that a step reads. None for other data.
        device_name: the maker's name of the device.
        held_out: analyzes the selected state when first called. Later calls return the same value.
        count_flops: counts the operations of one training step when first called.
        embedding: token embedding (V, N) of the selected state, or None if the backbone has none.
        structure: relations between the tokens of the data set, such as neighbors on a circle.
        encoder: returns a function from a text to its token numbers, or None if the tokenizer is unknown.
        group_size: number of seeds trained together with this one, itself included. Seconds, joules and memory are
            those of the whole group.
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
        """Reason why time, energy and memory are missing, or "" if the trial was trained alone."""
        return "" if self.group_size == 1 else shared(self.group_size)


class Watcher:
    """Observes one trial. Subclasses override the hooks that they need.

    Attributes:
        due: index of the next step to pass to `on_step`. Earlier steps are skipped. A watcher that never changes it
        sees every step.
    """

    due: float = 1

    def on_start(self, device: torch.device) -> None:
        """Called once, right before the first step, outside the training window."""

    def on_step(self, step: Step) -> None:
        """Called after each step that is due, outside the step's timing."""

    def on_losses(self, first: int, losses: Sequence[float]) -> None:
        """Called every few steps with the losses of all steps since the last call, from step `first` on.

        The list may continue after the first loss that is not finite. All losses up to that one have been passed when
        `on_validation` or `state` is called, and when a trial ends.
        """

    def on_validation(self, seen: Validation) -> None:
        """Called after each validation, outside the training window."""

    def state(self) -> dict[str, Any] | None:
        """Return the watcher's state for a checkpoint, of numbers, texts, lists, tensors and dicts with text keys.

        Returns:
            The state, or None if it cannot be saved. None is the default of a watcher that overrides a hook. The record
            of a resumed trial then names the meter.
        """
        hooks = ("on_start", "on_step", "on_losses", "on_validation")
        return {} if all(getattr(type(self), hook) is getattr(Watcher, hook) for hook in hooks) else None

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a saved state. Called after `on_start` and before the first step."""

    def measurements(self, outcome: Outcome) -> list[Measurement]:
        """Return the values of a trial that has ended well. Called in the phase `analyze`."""
        return []

    def partial(self) -> list[Measurement]:
        """Return the values that are valid for a trial that diverged.

        Training continues for a few steps before a loss that is not finite is noticed. Those steps do not belong to the
        trial, so they must not count.
        """
        return []

    def curves(self) -> list[Curve]:
        """Return values over the steps, with a bounded number of points. Called for diverged trials too."""
        return []


class Meter(RegistryComponent):
    """Base class of all meters.

    A subclass declares its options as pydantic fields and returns a watcher that holds the state of one trial.

    Attributes:
        name: name of the meter in a suite.
    """

    @abstractmethod
    def watcher(self) -> Watcher:
        """Return a new watcher for one trial."""
