"""Cosine distance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from harmbench._torch import torch
from harmbench.nn.distances._base import Distance, Facts
from harmbench.nn.distances._functions import differences, unit, wide
from harmbench.nn.kernels import Operator

if TYPE_CHECKING:
    from torch import Tensor


class Cosine(Distance):
    """Cosine distance, 1 - x.w / (|x| |w|), computed as half the squared distance of the unit vectors.

    That form is the same number, and keeps the digits that 1 - cos would round away. It is computed in float64, because
    rounded unit vectors would lose the digits of vectors of almost one direction. The zero vector has no direction: its
    distance to anything is 1, the value for a right angle (scikit-learn's convention), and its gradient 0. Not a
    metric: the triangle inequality fails. arXiv 2603.10225.

    >>> import torch
    >>> Cosine()(torch.tensor([[2.0, 0.0]]), torch.tensor([[5.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]))
    tensor([[0., 1., 2.]])
    """

    name: ClassVar[str] = "cosine"
    family: ClassVar[str] = "angles"
    in_papers: ClassVar[bool] = True

    @property
    def facts(self) -> Facts:
        return Facts(is_metric=False, is_symmetric=True, is_scale_invariant=True, domain="nonzero")

    def pairwise(self, x: Tensor, centers: Tensor, parameters: Mapping[str, Tensor], training: bool) -> Tensor:
        distance = (differences(unit(wide(x)), unit(wide(centers))).square().sum(-1) / 2).to(x.dtype)
        no_direction = (x == 0).all(-1)[:, None] | (centers == 0).all(-1)[None, :]
        return torch.where(no_direction & ~distance.isnan(), 1.0, distance)

    @property
    def operator(self) -> Operator:
        return Operator("gemm", "cosine", degree=0)
