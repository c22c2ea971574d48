"""What some distances do to each vector before any pair is looked at, in one pass over memory forward and one backward.

The formulas stay with the distances; these are for float32 on the CPU, and only where a fast form follows.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from harmbench.kernels import native


def can_take(v: Tensor) -> bool:
    """Whether the functions here can map these vectors."""
    return v.device.type == "cpu" and v.dtype == torch.float32 and native.is_available()


def codes(v: Tensor, thresholds: Tensor, temperature: float, is_hard: bool) -> Tensor:
    """Of u = (v - thresholds) / temperature (R, N): sigma(u) - 1/2, or 1[u > 0] with the gradient of sigma.

    >>> codes(torch.tensor([[0.0, 2.0]]), torch.zeros(2), 1.0, True)
    tensor([[0., 1.]])
    """
    result: Tensor = _Codes.apply(v.contiguous(), thresholds.contiguous(), temperature, is_hard)  # type: ignore[no-untyped-call]
    return result


def scaled(v: Tensor, factors: Tensor) -> Tensor:
    """v (R, N) times factors (N,).

    >>> scaled(torch.tensor([[1.0, 2.0]]), torch.tensor([3.0, 0.5]))
    tensor([[3., 1.]])
    """
    result: Tensor = _Scaled.apply(v.contiguous(), factors.contiguous())  # type: ignore[no-untyped-call]
    return result


def profiles(v: Tensor) -> Tensor:
    """|v| / sum |v| of each row (R, N); the zero vector stays zero.

    >>> profiles(torch.tensor([[1.0, -3.0], [0.0, 0.0]]))
    tensor([[0.2500, 0.7500],
            [0.0000, 0.0000]])
    """
    result: Tensor = _Profiles.apply(v.contiguous())  # type: ignore[no-untyped-call]
    return result


class _Codes(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, v: Tensor, thresholds: Tensor, temperature: float, is_hard: bool) -> Tensor:
        ctx.temperature = temperature
        ctx.save_for_backward(v, thresholds)
        return native.codes(v, thresholds, temperature, is_hard)

    @staticmethod
    @once_differentiable  # type: ignore[misc]
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None, None]:
        v, thresholds = ctx.saved_tensors
        return native.codes_backward(v, thresholds, ctx.temperature, g.contiguous()), None, None, None


class _Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, v: Tensor, factors: Tensor) -> Tensor:
        ctx.save_for_backward(v, factors)
        return native.scale(v, factors)

    @staticmethod
    @once_differentiable  # type: ignore[misc]
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor]:
        return native.scale_backward(*ctx.saved_tensors, g.contiguous())


class _Profiles(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, v: Tensor) -> Tensor:
        sums = native.size_sums(v)
        ctx.save_for_backward(v, sums)
        return native.profile(v, sums)

    @staticmethod
    @once_differentiable  # type: ignore[misc]
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return native.profile_backward(*ctx.saved_tensors, g.contiguous())
