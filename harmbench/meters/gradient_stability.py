"""How smoothly a trial trains."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from harmbench._torch import torch
from harmbench.meters._base import Meter, Outcome, Step, Watcher
from harmbench.records import Measurement

if TYPE_CHECKING:
    from torch import Tensor, nn

FLUSH_STEPS = 32  # steps kept on the device before one transfer: a transfer each step would stall a GPU
SMOOTHING = 0.1  # weight of the newest loss in the smoothed curve


class GradientStability(Meter):
    """Gradient stability over the training window. Our own definition: the papers name the quantity and give none.

    With g_t the gradient of all trainable parameters at step t, before clipping, and l_t the loss of the batch:
    - gradient_norm_cv: standard deviation of |g_t| over its mean;
    - gradient_spike_rate: share of steps with |g_t| above `spike` times the median of up to `window` steps before, of
      those steps that have at least 10 before them;
    - clipped_step_share: share of steps whose gradient was clipped;
    - nonfinite_step_share: share of steps with a gradient or loss that is not finite;
    - loss_roughness: standard deviation of l_t - l_(t-1) over that of the exponentially smoothed l_t (weight 0.1);
    - gradient_cosine: mean cosine of g_t and g_(t-1).

    Steps that are not finite count in their own share and are left out of the rest. Memory is constant: one gradient
    is kept, and `window` norms.
    """

    name: ClassVar[str] = "gradient_stability"

    spike: float = Field(default=5.0, gt=1, allow_inf_nan=False)
    window: int = Field(default=101, ge=11)

    def watcher(self) -> Watcher:
        return _GradientWatcher(self.spike, self.window)


class _Moments:
    """Mean and standard deviation of a stream (Welford)."""

    def __init__(self) -> None:
        self.count, self.mean, self._squares = 0, 0.0, 0.0

    def add(self, value: float) -> None:
        self.count += 1
        delta = value - self.mean
        self.mean += delta / self.count
        self._squares += delta * (value - self.mean)

    @property
    def std(self) -> float:
        return math.sqrt(self._squares / (self.count - 1)) if self.count > 1 else math.nan


class _GradientWatcher(Watcher):
    def __init__(self, spike: float, window: int) -> None:
        self._spike = spike
        self._recent: deque[float] = deque(maxlen=window)
        self._pending: list[Tensor] = []
        self._gradient: Tensor | None = None
        self._spare: Tensor | None = None
        self._norm: Tensor | None = None
        self._norms, self._differences, self._smoothed, self._cosines = (_Moments() for _ in range(4))
        self._smooth: float | None = None
        self._last_loss: float | None = None
        self._clips = False
        self._steps = self._spikes = self._spike_chances = self._nonfinite = self._clipped = 0

    def on_step(self, step: Step) -> None:
        self._gradient, previous = flat_gradient(step.parameters, out=self._spare), self._gradient
        self._spare, last_norm = previous, self._norm  # two buffers take turns: no allocation per step
        self._norm = torch.linalg.vector_norm(self._gradient)
        # The cosine does not see clipping, which only scales.
        cosine = torch.full_like(self._norm, math.nan)
        if previous is not None and last_norm is not None:
            cosine = torch.dot(self._gradient, previous) / (self._norm * last_norm)
        self._clips = step.clip_norm is not None
        raw_norm = self._norm if step.clip_norm is None else step.clip_norm
        self._pending.append(torch.stack([raw_norm.float(), self._norm, cosine, step.loss.float()]))
        if len(self._pending) == FLUSH_STEPS:
            self._flush()

    def _flush(self) -> None:
        if self._pending:
            for raw_norm, norm, cosine, loss in torch.stack(self._pending).tolist():
                self._add(raw_norm, norm, cosine, loss)
            self._pending.clear()

    def _add(self, raw_norm: float, norm: float, cosine: float, loss: float) -> None:
        self._steps += 1
        if not (math.isfinite(raw_norm) and math.isfinite(loss)):
            self._nonfinite += 1
            return
        self._clipped += norm < raw_norm * (1 - 1e-4)
        self._norms.add(raw_norm)
        if len(self._recent) >= 10:
            self._spike_chances += 1
            self._spikes += raw_norm > self._spike * median(self._recent)
        self._recent.append(raw_norm)
        if self._steps > 1 and math.isfinite(cosine):
            self._cosines.add(cosine)
        if self._last_loss is not None:
            self._differences.add(loss - self._last_loss)
        self._last_loss = loss
        self._smooth = loss if self._smooth is None else (1 - SMOOTHING) * self._smooth + SMOOTHING * loss
        self._smoothed.add(self._smooth)

    def measurements(self, outcome: Outcome) -> list[Measurement]:
        return self.partial()

    def partial(self) -> list[Measurement]:
        self._flush()
        clipped = _share(self._clipped, self._steps) if self._clips else None
        return [
            Measurement.of("gradient_norm_cv", _ratio(self._norms.std, self._norms.mean), "1", "lower"),
            Measurement.of("gradient_spike_rate", _share(self._spikes, self._spike_chances), "1", "lower", _few(self)),
            Measurement.of(
                "clipped_step_share", clipped, "1", "neither", "" if self._clips else "the protocol does not clip"
            ),
            Measurement.of("nonfinite_step_share", _share(self._nonfinite, self._steps), "1", "lower"),
            Measurement.of("loss_roughness", _ratio(self._differences.std, self._smoothed.std), "1", "lower"),
            Measurement.of(
                "gradient_cosine", self._cosines.mean if self._cosines.count else None, "1", "neither", _few(self)
            ),
        ]


def flat_gradient(parameters: Sequence[nn.Parameter], out: Tensor | None = None) -> Tensor:
    """All gradients in one vector, a copy in float32; a parameter without one counts as zeros.

    Args:
        parameters: of the model.
        out: vector to write into, of the right length; a new one unless given.
    """
    parts = [(torch.zeros_like(p) if p.grad is None else p.grad).detach().flatten().float() for p in parameters]
    return torch.cat(parts, out=out) if out is not None else torch.cat(parts)


def _share(count: int, total: int) -> float | None:
    return count / total if total else None


def _ratio(above: float, below: float) -> float | None:
    return above / below if below else None


def _few(watcher: _GradientWatcher) -> str:
    return f"too few steps ({watcher._steps})" if watcher._steps < 11 else ""
