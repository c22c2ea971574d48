"""Euclidean distance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from harmbench.nn.distances._base import Distance, Facts
from harmbench.nn.distances._functions import differences, lp_norm
from harmbench.nn.kernels import Operator

if TYPE_CHECKING:
    from torch import Tensor


class Euclidean(Distance):
    """Euclidean distance, sqrt(sum_i (x_i - w_i)^2).

    The distance of the first paper's harmonic loss (arXiv 2502.01628, section 2). The released code feeds its
    *square* to the exponent. Here the exponent acts on the distance itself.

    >>> import torch
    >>> Euclidean()(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]]))
    tensor([[5.]])
    """

    name: ClassVar[str] = "euclidean"
    family: ClassVar[str] = "Euclidean and powers"
    in_papers: ClassVar[bool] = True

    @property
    def facts(self) -> Facts:
        return Facts(is_metric=True, is_symmetric=True, is_scale_invariant=False)

    def pairwise(self, x: Tensor, centers: Tensor, parameters: Mapping[str, Tensor], training: bool) -> Tensor:
        # Direct differences: |x|^2 + |w|^2 - 2 x.w cancels where x is near w.
        return lp_norm(differences(x, centers), 2.0)

    @property
    def operator(self) -> Operator:
        return Operator("gemm", "euclidean", degree=1)
