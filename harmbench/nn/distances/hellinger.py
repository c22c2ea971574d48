"""Hellinger distance of softmax features."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from harmbench.nn.distances._base import Distance, Facts
from harmbench.nn.distances._functions import differences, length, wide
from harmbench.nn.kernels import Mapped, Operator

if TYPE_CHECKING:
    from torch import Tensor


class Hellinger(Distance):
    """Hellinger distance of p = softmax(x) and q = softmax(w), sqrt(sum_i (sqrt(p_i) - sqrt(q_i))^2 / 2).

    Hellinger (1909) defines it for probabilities. Features become such by a softmax over their N coordinates. Values
    are between 0 and 1. It is a metric of the probabilities. Softmax ignores a shift of all coordinates, and so does
    the distance. Far apart, where every q_i p_i is 0, it is 1 for all pairs and has no gradient: scale features that
    are large.

    >>> import torch
    >>> Hellinger()(torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, 1.0], [0.0, 100.0]]))
    tensor([[0.0000, 0.5412]])
    """

    name: ClassVar[str] = "hellinger"

    @property
    def facts(self) -> Facts:
        return Facts(is_metric=False, is_symmetric=True, is_scale_invariant=False)

    def pairwise(self, x: Tensor, centers: Tensor, parameters: Mapping[str, Tensor], training: bool) -> Tensor:
        return self.between(_roots(wide(x)), _roots(wide(centers))).to(x.dtype)

    @property
    def map_cost(self) -> float:
        return 345.0

    @property
    def operator(self) -> Operator:
        return Operator("gemm", "hellinger")

    def mapped(self, x: Tensor, centers: Tensor, parameters: Mapping[str, Tensor], training: bool) -> Mapped:
        of_x, of_w = _roots(wide(x)), _roots(wide(centers))

        def difference(b: Tensor, k: Tensor) -> Tensor:
            return (of_x.detach()[b] - of_w.detach()[k]).to(x.dtype)

        return Mapped(of_x.to(x.dtype), of_w.to(x.dtype), difference)

    def between(self, x: Tensor, centers: Tensor, *option: Tensor) -> Tensor:
        return length(differences(x, centers))


def _roots(vectors: Tensor) -> Tensor:
    """sqrt(softmax / 2): (..., N), of length 1 / sqrt(2)."""
    return (vectors.log_softmax(-1) / 2).exp() * math.sqrt(0.5)
