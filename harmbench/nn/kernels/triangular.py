"""Vectors times a triangular matrix of fixed size, the map of full Mahalanobis distance, and the gradients of it.

The matrix is L = s (T + D), T what is below the diagonal of a square matrix, D the diagonal, and s such that the
squares of its N^2 entries sum up to N. It is never written down: products go by panels, the columns of a block from
the diagonal down, so that the half above costs nothing, and the gradient by s is folded into that of the entries,

    with y = v L and G = s v^T dl/dy:    dl/d(T + D) = G - (sum of y dl/dy / |T + D|^2) (T + D)

where an autograd of the formula makes some thirty passes over N^2 numbers. With few classes the rest is what full
Mahalanobis costs: three half products of the features.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from harmbench.nn.kernels.derivatives import first_only
from harmbench.nn.kernels.precision import full_float32

_PANEL = 128  # columns


def product(lower: Tensor, diagonal: Tensor, *vectors: Tensor) -> tuple[Tensor, ...]:
    """v L for each of the `vectors` (R, N), differentiable by all.

    Args:
        lower: (N, N), of which what is below the diagonal counts.
        diagonal: (N,).
        vectors: (R, N) each.

    >>> lower, diagonal, v = (
    ...     torch.tensor([[9.0, 9.0], [1.0, 9.0]]),
    ...     torch.tensor([1.0, 0.0]),
    ...     torch.tensor([[1.0, 2.0]]),
    ... )
    >>> product(lower, diagonal, v)
    (tensor([[3., 0.]]),)
    """
    results: tuple[Tensor, ...] = _Product.apply(lower, diagonal, *vectors)  # type: ignore[no-untyped-call]
    return results


class _Matrix(NamedTuple):
    """T + D over `unit`, as panels with their first row and column, and its size, the root of its squares' sum.

    The unit is 1, or the largest entry if squares would leave the range of the numbers.
    """

    panels: list[tuple[int, Tensor]]
    size: float
    unit: float

    @classmethod
    def of(cls, lower: Tensor, diagonal: Tensor) -> _Matrix:
        panels = []
        for start in range(0, len(diagonal), _PANEL):
            panel = lower[start:, start : start + _PANEL].tril(-1)
            panel.diagonal().copy_(diagonal[start : start + _PANEL])
            panels.append((start, panel))
        size, unit = _size(panels), 1.0
        if not 1e-15 < size < 1e15:
            unit = max(float(panel.abs().amax()) for _, panel in panels)
            panels = [(start, panel / unit) for start, panel in panels]
            size = _size(panels)
        return cls(panels, size, unit)

    @property
    def scale(self) -> float:
        """s times the unit: the sum of N squares is N."""
        return math.sqrt(len(self.panels[0][1])) / self.size


def _size(panels: list[tuple[int, Tensor]]) -> float:
    return float(torch.stack([torch.linalg.vector_norm(panel) for _, panel in panels]).norm())


class _Product(torch.autograd.Function):
    @staticmethod
    @full_float32()
    def forward(ctx: Any, lower: Tensor, diagonal: Tensor, *vectors: Tensor) -> tuple[Tensor, ...]:
        ctx.matrix = matrix = _Matrix.of(lower, diagonal)
        results = tuple(torch.empty_like(v) for v in vectors)
        for start, panel in matrix.panels:
            for v, result in zip(vectors, results, strict=True):
                columns = result[:, start : start + _PANEL]
                columns.addmm_(v[:, start:], panel, beta=0, alpha=matrix.scale)
        ctx.save_for_backward(*vectors, *results)
        return results

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        return first_only(_gradients, ctx.matrix, *ctx.saved_tensors, *upstream)


@full_float32()
def _gradients(matrix: _Matrix, *tensors: Tensor) -> tuple[Tensor, ...]:
    """By `lower`, the diagonal and the vectors, from all vectors, then all their products, then all dl by these."""
    count = len(tensors) // 3
    parts = list(zip(tensors[:count], tensors[count : 2 * count], tensors[2 * count :], strict=True))
    size = len(matrix.panels[0][1])
    of_lower = matrix.panels[0][1].new_zeros(size, size)
    of_diagonal = of_lower.new_empty(size)
    of_vectors = [torch.zeros_like(v) for v, _, _ in parts]
    # In double: what features and centers add nearly cancels where they are near each other.
    shrinking = sum(float(torch.linalg.vecdot(y, g).double().sum()) for _, y, g in parts) / matrix.size**2
    for start, panel in matrix.panels:
        columns = slice(start, start + _PANEL)
        of_panel = of_lower[start:, columns].copy_(panel).mul_(-shrinking / matrix.unit)
        for (v, _, g), of_v in zip(parts, of_vectors, strict=True):
            of_panel.addmm_(v[:, start:].T, g[:, columns], alpha=matrix.scale / matrix.unit)
            of_v[:, start:].addmm_(g[:, columns], panel.T, alpha=matrix.scale)
        of_diagonal[columns] = of_panel.diagonal()
        of_panel.tril_(-1)
    return of_lower, of_diagonal, *of_vectors
