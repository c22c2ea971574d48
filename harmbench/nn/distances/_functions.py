"""Functions of tensors that several distances share. All keep gradients finite where a plain formula gives 0/0."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harmbench._torch import torch

if TYPE_CHECKING:
    from torch import Tensor


def differences(x: Tensor, centers: Tensor) -> Tensor:
    """x_b - w_k for all pairs: (B, N), (K, N) -> (B, K, N)."""
    return x[:, None, :] - centers[None, :, :]


def ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """numerator / denominator, and 0 (with gradient 0) where the denominator is 0, as SciPy takes 0/0 in sums."""
    is_zero = denominator == 0
    return torch.where(is_zero, 0.0, numerator / torch.where(is_zero, 1.0, denominator))


def overlap(x: Tensor, centers: Tensor) -> Tensor:
    """|x| + |w| - |x - w| for all pairs and coordinates, without subtracting: (B, N), (K, N) -> (B, K, N).

    With each |v| as v sign(v), the factors of x and of w are 0, 1 or 2 and known exactly, and so are the gradients.
    """
    sign = differences(x.detach(), centers.detach()).sign()
    return x[:, None, :] * (x.detach().sign()[:, None, :] - sign) + centers * (centers.detach().sign() + sign)


def upper_half(quotient: Tensor, shared: Tensor, size: Tensor) -> Tensor:
    """gap / size where gap = size - shared, as 1 - shared / size where that is above 1/2.

    There the gradients of gap and size nearly cancel, and those of `shared` do not.
    """
    is_upper = shared.abs() < 0.5 * size
    return torch.where(is_upper, 1 - shared / torch.where(is_upper, size, 1.0), quotient)


def lp_norm(delta: Tensor, p: float | Tensor) -> Tensor:
    """(sum |delta|^p)^(1/p) over the last axis, p >= 1, with gradient 0 at 0. A tensor p gets a gradient.

    The largest entry is divided out first, so that neither 1e-30 nor 1e30 leaves float32 when raised to p.
    """
    size = delta.abs()
    largest = size.detach().amax(-1, keepdim=True)
    is_zero = largest == 0
    largest = torch.where(is_zero, 1.0, largest)
    scaled = size / largest
    if isinstance(p, float) and p == 1:
        total = scaled.sum(-1)
    elif isinstance(p, float) and p == 2:
        total = (scaled * scaled).sum(-1)
    else:
        # 0^(p-1) is 0, but autograd would take 0 * inf for p < 1 + something; keep exact zeros out of pow.
        at_zero = scaled == 0
        total = torch.where(at_zero, 0.0, torch.where(at_zero, 1.0, scaled).pow(p)).sum(-1)
    is_zero, largest = is_zero.squeeze(-1), largest.squeeze(-1)
    root = torch.where(is_zero, 1.0, total)
    root = root.sqrt() if isinstance(p, float) and p == 2 else root.pow(1.0 / p)
    return torch.where(is_zero, 0.0, largest * root)


def length(vectors: Tensor) -> Tensor:
    """Euclidean length over the last axis, with gradient 0 at 0."""
    return lp_norm(vectors, 2.0)


def root(number: Tensor) -> Tensor:
    """Square root, with gradient 0 at 0."""
    is_zero = number == 0
    return torch.where(is_zero, 0.0, torch.where(is_zero, 1.0, number).sqrt())


def unit(vectors: Tensor) -> Tensor:
    """Vectors (..., N) of length 1. A zero vector stays zero, with gradient 0."""
    return ratio(vectors, length(vectors)[..., None].expand_as(vectors))


def wide(vectors: Tensor) -> Tensor:
    """Vectors in float64, for formulas that subtract what they have rounded: float32 then keeps its digits."""
    return vectors.to(torch.float64)
