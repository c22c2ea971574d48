"""Squared Euclidean distance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from harmbench.nn.distances._base import Distance, Facts
from harmbench.nn.distances._functions import differences
from harmbench.nn.kernels import Finish, Operator

if TYPE_CHECKING:
    from torch import Tensor


class SquaredEuclidean(Distance):
    """Squared Euclidean distance, sum_i (x_i - w_i)^2.

    SciPy's `sqeuclidean`. Under the harmonic loss it is `euclidean` with the exponent doubled, and what the first
    paper's released code computes (arXiv 2502.01628). Not a metric: the triangle inequality fails. In float32 the
    square of a distance below 1e-19 is 0, and of one above 1e19 infinite.

    >>> import torch
    >>> SquaredEuclidean()(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]]))
    tensor([[25.]])
    """

    name: ClassVar[str] = "squared_euclidean"
    family: ClassVar[str] = "Euclidean and powers"

    @property
    def facts(self) -> Facts:
        return Facts(is_metric=False, is_symmetric=True, is_scale_invariant=False)

    def pairwise(self, x: Tensor, centers: Tensor, parameters: Mapping[str, Tensor], training: bool) -> Tensor:
        return differences(x, centers).square().sum(-1)

    @property
    def operator(self) -> Operator:
        finish = Finish(Operator("gemm", "euclidean", degree=1), _square, power=2.0)
        return Operator("gemm", "squared_euclidean", finish=finish)


def _square(distance: Tensor) -> Tensor:
    return distance.square()
