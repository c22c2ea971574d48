"""Minkowski distance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import field_validator

from harmbench.distances._base import Distance, Facts
from harmbench.distances._functions import differences, lp_norm
from harmbench.kernels import Operator

if TYPE_CHECKING:
    from torch import Tensor


class Minkowski(Distance):
    """Minkowski distance of order p, (sum_i |x_i - w_i|^p)^(1/p), for any finite p >= 1.

    p = 1 is `manhattan`, p = 2 `euclidean`; the limit p -> infinity is `chebyshev`. Below 1 the triangle inequality
    fails, and the gradient at equal coordinates is infinite: refused. arXiv 2603.10225 uses 1.5 and 3.

    >>> import torch
    >>> Minkowski(p=3)(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]]))
    tensor([[4.4979]])
    """

    name: ClassVar[str] = "minkowski"
    variants: ClassVar[tuple[Mapping[str, Any], ...]] = ({"p": 1.5}, {"p": 3.0})
    in_papers: ClassVar[bool] = True

    p: float = 1.5

    @field_validator("p")
    @classmethod
    def _order_makes_a_norm(cls, p: float) -> float:
        if not (1 <= p < math.inf):
            raise ValueError(f"must be a finite number >= 1, got {p:g} (for p = infinity use chebyshev)")
        return p

    @property
    def facts(self) -> Facts:
        return Facts(is_metric=True, is_symmetric=True, is_scale_invariant=False)

    def pairwise(self, x: Tensor, centres: Tensor, parameters: Mapping[str, Tensor], training: bool) -> Tensor:
        return lp_norm(differences(x, centres), self.p)

    @property
    def operator(self) -> Operator:
        if self.p == 2:
            return Operator("gemm", "euclidean", degree=1)
        return Operator("elementwise", "minkowski", self.p, degree=1)
