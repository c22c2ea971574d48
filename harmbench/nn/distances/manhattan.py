"""Manhattan distance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from harmbench.nn.distances._base import Distance, Facts
from harmbench.nn.distances._functions import differences
from harmbench.nn.kernels import Operator

if TYPE_CHECKING:
    from torch import Tensor


class Manhattan(Distance):
    """Manhattan (city-block) distance, sum_i |x_i - w_i|.

    arXiv 2603.10225, vision and language heads. The released `manhattan_fast` is a scaled inner product and not
    this distance.

    >>> import torch
    >>> Manhattan()(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, -4.0]]))
    tensor([[7.]])
    """

    name: ClassVar[str] = "manhattan"
    family: ClassVar[str] = "sums of absolute values"
    in_papers: ClassVar[bool] = True

    @property
    def facts(self) -> Facts:
        return Facts(is_metric=True, is_symmetric=True, is_scale_invariant=False)

    def pairwise(self, x: Tensor, centers: Tensor, parameters: Mapping[str, Tensor], training: bool) -> Tensor:
        return differences(x, centers).abs().sum(-1)

    @property
    def operator(self) -> Operator:
        return Operator("elementwise", "manhattan")
