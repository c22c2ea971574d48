"""Gradient stability of a trial.

on_step, at two successive steps of every few: copy the gradient, take its inner product with the one before
on_losses: collect the losses
on_validation: fetch the products in one transfer, then update the statistics up to the first non-finite loss
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from harmbench._torch import torch
from harmbench.meters._base import Meter, Outcome, Step, Validation, Watcher
from harmbench.meters._curve import CurveKeeper
from harmbench.results.records import Curve, Direction, Measurement

if TYPE_CHECKING:
    from torch import Tensor, nn

MOST_WAITING = 512  # steps that may wait for an update if no validation comes
SMOOTHING = 0.1  # weight of the newest loss in the smoothed curve
FEW = 10  # looks that a spike is compared with, at least

ParameterGroup = Literal["", "_head", "_backbone"]
GROUPS: tuple[ParameterGroup, ...] = ("", "_head", "_backbone")


class GradientStability(Meter):
    """Gradient stability over the training window. Our own definition: the papers name the quantity and give none.

    Looks at the gradient at two successive steps of every `every`, and at each step's loss. With g_t the gradient of
    all trainable parameters at step t, before clipping, and l_t the loss of the batch:
    - gradient_norm_cv: standard deviation of |g_t| over its mean.
    - gradient_spike_rate: share of looks with |g_t| above `spike` times the median of up to `window` looks before, of
      those looks that have at least 10 before them.
    - gradient_cosine: mean cosine of g_t and g_(t-1).
    - clipped_step_share: share of looks at a gradient that was clipped.
    - nonfinite_step_share: share of steps with a loss, or at a look a gradient, that is not finite.
    - loss_roughness: standard deviation of l_t - l_(t-1) over that of the exponentially smoothed l_t (weight 0.1).

    The first three also for head (with the loss's own parameters) and backbone alone, `_head` and `_backbone`. Their
    norms are kept as curves too. Steps that are not finite count in `nonfinite_step_share` and are left out of the
    other measures. A loss that is not finite ends the trial, and later steps do not count. Memory is constant: one
    gradient is kept, and `window` norms.
    """

    name: ClassVar[str] = "gradient_stability"

    spike: float = Field(default=5.0, gt=1, allow_inf_nan=False)
    window: int = Field(default=101, ge=11)
    every: int = Field(default=24, ge=1)

    @property
    def sampling(self) -> str:
        """Which steps are looked at."""
        return f"at 2 of every {self.every} steps" if self.every > 2 else "at every step"

    def watcher(self) -> Watcher:
        return _GradientWatcher(self)


class _Moments:
    """Mean and standard deviation of a stream (Welford)."""

    def __init__(self) -> None:
        self.count, self.mean, self._squares = 0, 0.0, 0.0

    def add(self, value: float) -> None:
        self.count += 1
        delta = value - self.mean
        self.mean += delta / self.count
        self._squares += delta * (value - self.mean)

    def state(self) -> list[float]:
        return [self.count, self.mean, self._squares]

    def restore(self, state: list[Any]) -> None:
        self.count, self.mean, self._squares = state

    @property
    def std(self) -> float:
        if self.count < 2:
            return math.nan
        return math.sqrt(self._squares / (self.count - 1))

    @property
    def variation(self) -> float | None:
        return self.std / self.mean if self.mean else None


class _GradientSample(NamedTuple):
    """Squares and products of the gradients of one sampled step, clipped if the optimizer saw them clipped.

    Attributes:
        backbone, head: squared norms.
        backbone_product, head_product: inner products with the step before, NaN if that was not sampled.
        clip_norm: norm before clipping, NaN if the protocol does not clip.
    """

    backbone: float
    head: float
    backbone_product: float
    head_product: float
    clip_norm: float

    def squared(self, group: ParameterGroup) -> float:
        return {"": self.backbone + self.head, "_head": self.head, "_backbone": self.backbone}[group]

    def product(self, group: ParameterGroup) -> float:
        both = self.backbone_product + self.head_product
        return {"": both, "_head": self.head_product, "_backbone": self.backbone_product}[group]


class _GroupStatistics:
    """Running statistics of one group of parameters."""

    def __init__(self, group: ParameterGroup, meter: GradientStability) -> None:
        self._spike = meter.spike
        self._recent: deque[float] = deque(maxlen=meter.window)
        self.norms, self.cosines = _Moments(), _Moments()
        self.spikes = self.chances = 0
        self.checkpoints = CurveKeeper(f"gradient_norm{group}", "1")

    def add(self, step: int, norm: float, cosine: float) -> None:
        self.norms.add(norm)
        self.checkpoints.add(step, norm)
        if len(self._recent) >= FEW:
            self.chances += 1
            self.spikes += norm > self._spike * median(self._recent)
        self._recent.append(norm)
        if math.isfinite(cosine):
            self.cosines.add(cosine)

    def state(self) -> dict[str, Any]:
        return {
            "recent": list(self._recent),
            "norms": self.norms.state(),
            "cosines": self.cosines.state(),
            "spikes": [self.spikes, self.chances],
            "checkpoints": self.checkpoints.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        self._recent.extend(state["recent"])
        self.norms.restore(state["norms"])
        self.cosines.restore(state["cosines"])
        self.spikes, self.chances = state["spikes"]
        self.checkpoints.restore(state["checkpoints"])


# Attributes of a watcher that a checkpoint holds, besides its statistics.
_CARRIED = (
    *("due", "_folded", "_smooth", "_last_loss", "_clips", "_has_head", "_is_over"),
    *("_steps", "_finite_looks", "_nonfinite", "_clipped"),
)


class _GradientWatcher(Watcher):
    def __init__(self, meter: GradientStability) -> None:
        self._meter = meter
        self._gradients: _Gradients | None = None
        self.due = self._next(0)
        self._losses: list[float] = []  # of the steps that wait
        self._folded = 0  # steps before those
        self._before: tuple[int, _GradientSample] | None = None
        self._groups = {group: _GroupStatistics(group, meter) for group in GROUPS}
        self._differences, self._smoothed = _Moments(), _Moments()
        self._smooth: float | None = None
        self._last_loss: float | None = None
        self._clips = self._has_head = self._is_over = False
        self._steps = self._finite_looks = self._nonfinite = self._clipped = 0
        self._carried: dict[
            str, Tensor
        ] = {}  # copies of gradients of before an interruption, until there are parameters

    def state(self) -> dict[str, Any]:
        self._fold()
        return {
            "own": {name: getattr(self, name) for name in _CARRIED},
            "before": self._before and [self._before[0], list(self._before[1])],
            "groups": {group: statistics.state() for group, statistics in self._groups.items()},
            "differences": self._differences.state(),
            "smoothed": self._smoothed.state(),
            "copies": self._gradients.copies() if self._gradients else self._carried,
        }

    def restore(self, state: dict[str, Any]) -> None:
        for name, value in state["own"].items():
            setattr(self, name, value)
        self._before = state["before"] and (state["before"][0], _GradientSample(*state["before"][1]))
        for group, statistics in self._groups.items():
            statistics.restore(state["groups"][group])
        self._differences.restore(state["differences"])
        self._smoothed.restore(state["smoothed"])
        self._carried = state["copies"]

    def on_step(self, step: Step) -> None:
        if self._gradients is None:
            self._gradients = _Gradients(step.parameters, step.head, self._carried)
            self._clips, self._has_head = step.clip_norm is not None, bool(step.head)
        self.due = self._next(step.index)
        self._gradients.look(step.index, step.clip_norm, keep=self.due == step.index + 1)

    def _next(self, step: int) -> int:
        """The next of the last two of every `every`: the first steps, whose memory is measured, have no copies yet."""
        every = self._meter.every
        return step + 1 if -(step + 1) % every < 2 else step + every - 1 - step % every

    def on_losses(self, first: int, losses: Sequence[float]) -> None:
        self._losses += losses
        if len(self._losses) >= MOST_WAITING:
            self._fold()

    def on_validation(self, seen: Validation) -> None:
        self._fold()  # off the clock of training

    def _fold(self) -> None:
        """Fetch the pending numbers from the device, and update the statistics step by step."""
        if not self._losses:
            return
        looks = self._gradients.fetch() if self._gradients else {}
        for step, loss in enumerate(self._losses, start=self._folded + 1):
            if not self._is_over:
                self._add(step, loss, looks.get(step))
        self._folded += len(self._losses)
        self._losses.clear()

    def _add(self, step: int, loss: float, sample: _GradientSample | None) -> None:
        self._steps += 1
        self._is_over = not math.isfinite(loss)
        if self._is_over or (sample is not None and not math.isfinite(sample.squared(""))):
            self._nonfinite += 1
            return
        if sample is not None:
            self._add_look(step, sample)
        if self._last_loss is not None:
            self._differences.add(loss - self._last_loss)
        self._last_loss = loss
        if self._smooth is None:
            self._smooth = loss
        else:
            self._smooth = (1 - SMOOTHING) * self._smooth + SMOOTHING * loss
        self._smoothed.add(self._smooth)

    def _add_look(self, step: int, sample: _GradientSample) -> None:
        norm = math.sqrt(sample.squared(""))
        scale = 1.0 if math.isnan(sample.clip_norm) or norm == 0 else sample.clip_norm / norm
        self._finite_looks += 1
        self._clipped += scale > 1 + 1e-4
        previous = None
        if self._before is not None and self._before[0] == step - 1:
            previous = self._before[1]
        for group, statistics in self._groups.items():
            # The cosine does not see clipping, which only scales.
            lengths = math.sqrt(sample.squared(group) * previous.squared(group)) if previous else 0.0
            cosine = sample.product(group) / lengths if lengths else math.nan
            statistics.add(step, scale * math.sqrt(sample.squared(group)), cosine)
        self._before = step, sample

    def measurements(self, outcome: Outcome) -> list[Measurement]:
        return self.partial()

    def partial(self) -> list[Measurement]:
        self._fold()
        sampling, looks = self._meter.sampling, self._groups[""].norms.count
        few = f"too few steps ({self._steps}, looked {sampling})" if looks <= FEW else ""
        by_group = [measurement for group in GROUPS for measurement in self._of_group(group, few)]
        clipped = _share(self._clipped, self._finite_looks) if self._clips else None
        unclipped = "" if self._clips else "the protocol does not clip"
        smooth = self._smoothed.std if self._differences.count > 1 else 0.0
        roughness = self._differences.std / smooth if smooth else None
        return [
            *by_group,
            Measurement.of("clipped_step_share", clipped, "1", "neither", unclipped or sampling),
            Measurement.of("nonfinite_step_share", _share(self._nonfinite, self._steps), "1", "lower"),
            Measurement.of("loss_roughness", roughness, "1", "lower", few if roughness is None else ""),
        ]

    def _of_group(self, group: ParameterGroup, few: str) -> list[Measurement]:
        statistics, sampling = self._groups[group], self._meter.sampling
        spike = f"above {self._meter.spike:g} times the median of up to {self._meter.window} looks before; {sampling}"
        values: dict[str, tuple[float | None, Direction, str]] = {
            "gradient_norm_cv": (statistics.norms.variation, "lower", sampling),
            "gradient_spike_rate": (_share(statistics.spikes, statistics.chances), "lower", spike),
            "gradient_cosine": (statistics.cosines.mean if statistics.cosines.count else None, "neither", sampling),
        }
        measurements = []
        for name, (value, better, note) in values.items():
            if group and not self._has_head:
                value, note = None, "the head is not told apart"
            elif value is None or not math.isfinite(value):
                value, note = None, few or "undefined"
            measurements.append(Measurement.of(f"{name}{group}", value, "1", better, note))
        return measurements

    def curves(self) -> list[Curve]:
        self._fold()
        shown = GROUPS if self._has_head else GROUPS[:1]
        return [self._groups[group].checkpoints.curve() for group in shown if self._steps]


class _Gradients:
    """Norms of gradients, and their products with those of the step before.

    All of it is expensive relative to a small step. Squares are inner products, which read memory faster than norms do,
    and sums are taken after the transfer. Gradients of the step before are copied, since keeping them alive would make
    the allocator request new memory.
    """

    def __init__(
        self, parameters: Sequence[nn.Parameter], head: Sequence[nn.Parameter], carried: Mapping[str, Tensor]
    ) -> None:
        in_head = {id(parameter) for parameter in head}
        backbone = [parameter for parameter in parameters if id(parameter) not in in_head]
        self._parameters, self._cut = [*backbone, *head], len(backbone)
        self._copies = [parameter.detach().new_empty(parameter.numel()) for parameter in self._parameters]
        self._copied: set[int] = set()  # places in the lists
        self._pending: list[_Pending] = []
        for place, copied in carried.items():
            self._copies[int(place)].copy_(copied)
            self._copied.add(int(place))

    def copies(self) -> dict[str, Tensor]:
        """Gradients of the last step that the next one is compared with, by place, as texts."""
        return {str(place): self._copies[place] for place in sorted(self._copied)}

    def look(self, step: int, clip_norm: Tensor | None, *, keep: bool) -> None:
        """Take the numbers of a `_GradientSample` on the device. A parameter without gradient counts as zeros.

        Args:
            step: that the gradients belong to.
            clip_norm: norm before clipping, if the protocol clips.
            keep: whether the next step is looked at too.
        """
        gradients = {index: p.grad.reshape(-1) for index, p in enumerate(self._parameters) if p.grad is not None}
        shared = [index for index in gradients if index in self._copied]
        squares = [torch.dot(gradient, gradient) for gradient in gradients.values()]
        products = [torch.dot(gradients[index], self._copies[index]) for index in shared]
        numbers = [*squares, *products, *([] if clip_norm is None else [clip_norm])]
        self._pending.append(_Pending(step, list(gradients), shared, bool(self._copied), numbers))
        self._copied = set(gradients) if keep else set()
        if self._copied:
            torch._foreach_copy_([self._copies[index] for index in gradients], list(gradients.values()))

    def fetch(self) -> dict[int, _GradientSample]:
        """The looks since the last transfer, by step."""
        numbers = [number for pending in self._pending for number in pending.numbers]
        values = iter(torch.stack(numbers).tolist() if numbers else [])
        looks = {pending.step: self._assembled(pending, values) for pending in self._pending}
        self._pending.clear()
        return looks

    def _assembled(self, pending: _Pending, values: Iterator[float]) -> _GradientSample:
        squares, products = [0.0, 0.0], [0.0, 0.0]
        for place in pending.places:
            squares[place >= self._cut] += next(values)
        for place in pending.shared:
            products[place >= self._cut] += next(values)
        has_clip = len(pending.numbers) > len(pending.places) + len(pending.shared)
        clip_norm = next(values) if has_clip else math.nan
        backbone_product, head_product = products if pending.follows else (math.nan, math.nan)
        return _GradientSample(squares[0], squares[1], backbone_product, head_product, clip_norm)


class _Pending(NamedTuple):
    """Numbers of a sampled step that wait on the device.

    Attributes:
        places: of the parameters that have a gradient, whose squares come first.
        shared: those that had one at the step before too, whose products follow.
        follows: whether the step before was sampled.
        numbers: squares, products, and the norm before clipping if the protocol clips.
    """

    step: int
    places: list[int]
    shared: list[int]
    follows: bool
    numbers: list[Tensor]


def _share(count: int, total: int) -> float | None:
    return count / total if total else None
