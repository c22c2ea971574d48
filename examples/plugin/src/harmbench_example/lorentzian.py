"""Lorentzian distance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from harmbench.nn.distances import Distance, Facts

if TYPE_CHECKING:
    from torch import Tensor


class Lorentzian(Distance):
    """Lorentzian distance, sum_i log(1 + |x_i - w_i| / scale): far coordinates count little.

    A metric, since log(1 + u) is 0 at 0, rises, and is concave (Deza and Deza, Encyclopedia of Distances).

    >>> import torch
    >>> Lorentzian()(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, 0.0]]))
    tensor([[0.6931]])
    """

    name: ClassVar[str] = "lorentzian"

    scale: float = Field(default=1.0, gt=0, allow_inf_nan=False)

    @property
    def facts(self) -> Facts:
        return Facts(is_metric=True, is_symmetric=True, is_scale_invariant=False)

    def pairwise(self, x: Tensor, centers: Tensor, parameters: Mapping[str, Tensor], training: bool) -> Tensor:
        differences = x[:, None, :] - centers[None, :, :]
        return (differences.abs() / self.scale).log1p().sum(-1)
