"""Canberra distance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from harmbench._torch import torch
from harmbench.nn.distances._base import Distance, Facts
from harmbench.nn.distances._functions import differences, overlap, ratio, upper_half
from harmbench.nn.kernels import Operator

if TYPE_CHECKING:
    from torch import Tensor


class Canberra(Distance):
    """Canberra distance, sum_i |x_i - w_i| / (|x_i| + |w_i|), with 0/0 = 0.

    `variant=standard` is that. A coordinate that is 0 on one side adds exactly 1, whatever the other side is, and
    passes no gradient: half of the coordinates behind a ReLU.
    `variant=robust` puts a floor under the denominator, max(|x_i| + |w_i|, floor).
    `variant=weighted` averages the terms with weights proportional to (|x_i| + |w_i|)^gamma. gamma = 1 is
    `bray_curtis`. Variants of arXiv 2603.10225.

    >>> import torch
    >>> Canberra()(torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 0.0], [-1.0, 2.0]]))
    tensor([[0.5000, 2.0000]])
    """

    name: ClassVar[str] = "canberra"
    family: ClassVar[str] = "sums of absolute values"
    variants: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"variant": "robust"}, {"variant": "weighted"})
    in_papers: ClassVar[bool] = True
    read_by: ClassVar[Mapping[str, str]] = {"floor": "robust", "gamma": "weighted"}

    variant: Literal["standard", "robust", "weighted"] = "standard"
    floor: float = Field(default=0.01, gt=0, allow_inf_nan=False)
    gamma: float = Field(default=0.5, gt=0, allow_inf_nan=False)

    @property
    def facts(self) -> Facts:
        return Facts(
            is_metric=self.variant == "standard",
            is_symmetric=True,
            is_scale_invariant=self.variant != "robust",
        )

    def pairwise(self, x: Tensor, centers: Tensor, parameters: Mapping[str, Tensor], training: bool) -> Tensor:
        gap, shared = differences(x, centers).abs(), overlap(x, centers)
        size = x.abs()[:, None, :] + centers.abs()[None, :, :]
        if self.variant == "robust":
            return torch.where(size < self.floor, gap / self.floor, upper_half(ratio(gap, size), shared, size)).sum(-1)
        terms = upper_half(ratio(gap, size), shared, size)
        if self.variant == "standard":
            return terms.sum(-1)
        share = ratio(shared, size)
        # The largest size is divided out first, so that the weights stay within float32; it cancels.
        size = ratio(size, size.detach().amax(-1, keepdim=True))
        both_zero = size == 0
        weight = torch.where(both_zero, 0.0, torch.where(both_zero, 1.0, size).pow(self.gamma))
        total = weight.sum(-1)
        return upper_half(ratio((weight * terms).sum(-1), total), (weight * share).sum(-1), total)

    @property
    def operator(self) -> Operator:
        if self.variant == "weighted":
            return Operator("elementwise", "canberra_weighted", self.gamma, degree=0)
        if self.variant == "robust":
            return Operator("elementwise", "canberra_robust", self.floor)
        return Operator("elementwise", "canberra")
