"""Chebyshev distance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from harmbench._torch import torch
from harmbench.nn.distances._base import Distance, Facts
from harmbench.nn.distances._functions import differences
from harmbench.nn.kernels import Operator

if TYPE_CHECKING:
    from torch import Tensor


class Chebyshev(Distance):
    """Chebyshev distance, max_i |x_i - w_i|.

    `variant=true` is that. `variant=smooth` is a surrogate whose gradient reaches every coordinate,

        (1/alpha) log mean_i exp(alpha |x_i - w_i|)

    between the mean and the maximum. With the mean instead of the usual sum it is 0 at the center. The released
    code's "Chebyshev" is a softmax-weighted mean of standardized differences, and neither of these (arXiv
    2603.10225).

    >>> import torch
    >>> Chebyshev()(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, -4.0]]))
    tensor([[4.]])
    """

    name: ClassVar[str] = "chebyshev"
    family: ClassVar[str] = "largest coordinate"
    variants: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"variant": "smooth"})
    in_papers: ClassVar[bool] = True
    read_by: ClassVar[Mapping[str, str]] = {"alpha": "smooth"}

    variant: Literal["true", "smooth"] = "true"
    alpha: float = Field(default=10.0, gt=0, allow_inf_nan=False)

    @property
    def facts(self) -> Facts:
        return Facts(is_metric=self.variant == "true", is_symmetric=True, is_scale_invariant=False)

    def pairwise(self, x: Tensor, centers: Tensor, parameters: Mapping[str, Tensor], training: bool) -> Tensor:
        size = differences(x, centers).abs()
        if self.variant == "true":
            return size.amax(-1)
        return _log_mean_exp(self.alpha * size) / self.alpha

    @property
    def operator(self) -> Operator:
        if self.variant == "true":
            return Operator("elementwise", "chebyshev")
        return Operator("elementwise", "smooth_chebyshev", self.alpha)


def _log_mean_exp(size: Tensor) -> Tensor:
    """log mean exp over the last axis of numbers >= 0, to full precision near 0 and without overflow far from it."""
    largest = size.detach().amax(-1, keepdim=True)
    is_small = largest < 50  # e^50 is within float32, and far from 1 the other form has its digits
    near = torch.where(is_small, size, 0.0).expm1().mean(-1).log1p()
    far = largest.squeeze(-1) + (size - largest).exp().mean(-1).log()
    return torch.where(is_small.squeeze(-1), near, far)
