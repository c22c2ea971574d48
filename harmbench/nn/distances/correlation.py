"""Correlation distance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from harmbench._torch import torch
from harmbench.nn.distances._base import Distance, Facts
from harmbench.nn.distances._functions import differences, unit, wide
from harmbench.nn.kernels import Map, Mapped, Operator

if TYPE_CHECKING:
    from torch import Tensor


class Correlation(Distance):
    """Correlation distance, 1 - r(x, w), with r Pearson's correlation over the coordinates.

    SciPy's `correlation`: the cosine distance of the centered vectors x - mean(x), and blind to shift and scale. A
    constant vector varies with nothing: its distance to anything is 1, the value for no correlation, and its gradient
    0, as for the zero vector in `cosine`. Not a metric: the triangle inequality fails.

    >>> import torch
    >>> centers = torch.tensor([[5.0, 7.0, 9.0], [1.0, 1.0, 1.0], [3.0, 2.0, 1.0]])
    >>> Correlation()(torch.tensor([[1.0, 2.0, 3.0]]), centers)
    tensor([[0., 1., 2.]])
    """

    name: ClassVar[str] = "correlation"
    family: ClassVar[str] = "angles"

    @property
    def facts(self) -> Facts:
        return Facts(is_metric=False, is_symmetric=True, is_scale_invariant=True, domain="nonzero")

    def pairwise(self, x: Tensor, centers: Tensor, parameters: Mapping[str, Tensor], training: bool) -> Tensor:
        return self.between(_centered(wide(x)), _centered(wide(centers))).to(x.dtype)

    @property
    def map_cost(self) -> float:
        return 40.0

    @property
    def operator(self) -> Operator:
        return Operator("gemm", "cosine", degree=0)

    def mapped(self, x: Tensor, centers: Tensor, parameters: Mapping[str, Tensor], training: bool) -> Mapped:
        of_x, of_w = _centered(wide(x)), _centered(wide(centers))

        def difference(b: Tensor, k: Tensor) -> Tensor:
            return (unit(of_x.detach()[b]) - unit(of_w.detach()[k])).to(x.dtype)

        return Mapped(of_x.to(x.dtype), of_w.to(x.dtype), difference)

    def map(self, centers: Tensor, parameters: Mapping[str, Tensor], training: bool) -> Map | None:
        return Map("centered")

    def between(self, x: Tensor, centers: Tensor, *option: Tensor) -> Tensor:
        distance = (differences(unit(wide(x)), unit(wide(centers))).square().sum(-1) / 2).to(x.dtype)
        no_direction = (x == 0).all(-1)[:, None] | (centers == 0).all(-1)[None, :]
        return torch.where(no_direction & ~distance.isnan(), 1.0, distance)


def _centered(vectors: Tensor) -> Tensor:
    """v - mean(v): (..., N), exactly 0 for a constant vector, though a mean is rounded."""
    shifted = vectors - vectors[..., :1].detach()
    return shifted - shifted.mean(-1, keepdim=True)
