"""Minkowski distance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import field_validator

from harmbench._torch import torch
from harmbench.nn.distances._base import Distance, Facts
from harmbench.nn.distances._functions import differences, lp_norm
from harmbench.nn.kernels import Mapped, Operator

if TYPE_CHECKING:
    from torch import Tensor


class Minkowski(Distance):
    """Minkowski distance of order p, (sum_i |x_i - w_i|^p)^(1/p), for any finite p >= 1.

    p = 1 is `manhattan`, p = 2 `euclidean`. The limit p -> infinity is `chebyshev`. Below 1 the triangle inequality
    fails, and the gradient at equal coordinates is infinite: refused. arXiv 2603.10225 uses 1.5 and 3.
    `p=learnable` is one order for all pairs, learned with the model: p = 1 + e^l, which starts at 2, the Euclidean
    distance, and whose l is bent, 10 tanh(l / 10), to keep p above 1 and finite.

    >>> import torch
    >>> Minkowski(p=3)(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]]))
    tensor([[4.4979]])
    """

    name: ClassVar[str] = "minkowski"
    family: ClassVar[str] = "Euclidean and powers"
    variants: ClassVar[tuple[Mapping[str, Any], ...]] = ({"p": 1.5}, {"p": 3.0}, {"p": "learnable"})
    in_papers: ClassVar[bool] = True

    p: float | Literal["learnable"] = 1.5

    @field_validator("p", mode="before")
    @classmethod
    def _order_makes_a_norm(cls, p: object) -> object:
        if p == "learnable":
            return p
        try:
            order = float(str(p))
        except ValueError:
            raise ValueError(f"must be a finite number >= 1, or learnable, got '{p}'") from None
        if not (1 <= order < math.inf):
            raise ValueError(f"must be a finite number >= 1, got {order:g} (for p = infinity use chebyshev)")
        return order

    @property
    def is_in_papers(self) -> bool:
        return self.p != "learnable"

    @property
    def facts(self) -> Facts:
        return Facts(is_metric=True, is_symmetric=True, is_scale_invariant=False)

    def initial_parameters(self, in_features: int) -> dict[str, Tensor]:
        return {"log_excess": torch.tensor(0.0)} if self.p == "learnable" else {}

    def order(self, parameters: Mapping[str, Tensor]) -> float | Tensor:
        """p: the number, or the learned scalar."""
        if self.p == "learnable":
            return 1 + (10 * torch.tanh(parameters["log_excess"] / 10)).exp()
        return self.p

    def pairwise(self, x: Tensor, centers: Tensor, parameters: Mapping[str, Tensor], training: bool) -> Tensor:
        return lp_norm(differences(x, centers), self.order(parameters))

    @property
    def operator(self) -> Operator:
        if self.p == "learnable":
            return Operator("elementwise", "minkowski_learned", degree=1)
        if self.p == 2:
            return Operator("gemm", "euclidean", degree=1)
        return Operator("elementwise", "minkowski", self.p, degree=1)

    def mapped(self, x: Tensor, centers: Tensor, parameters: Mapping[str, Tensor], training: bool) -> Mapped:
        order = self.order(parameters)
        return Mapped(x, centers, option=None if isinstance(order, float) else order)

    def between(self, x: Tensor, centers: Tensor, *option: Tensor) -> Tensor:
        return lp_norm(differences(x, centers), option[0] if option else self.order({}))
