"""Mahalanobis distance with a learned matrix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from harmbench._torch import torch
from harmbench.nn.distances._base import Distance, Facts
from harmbench.nn.distances._functions import differences, lp_norm
from harmbench.nn.kernels import Map, Mapped, Operator
from harmbench.nn.kernels.precision import full_float32

if TYPE_CHECKING:
    from torch import Tensor


class Mahalanobis(Distance):
    """Mahalanobis distance, sqrt((x - w)^T P (x - w)), with a learned precision matrix P.

    P = L L^T with L lower triangular and a positive diagonal (`variant=full`) or diagonal (`variant=diagonal`), so
    it is positive definite by construction. Its trace is held at N, because HarMax cannot tell P from a multiple of
    it. The logarithm of L's diagonal is bent, 10 tanh(l / 10), to keep each entry above 0 in float32 too. Learning
    starts at the identity, the Euclidean distance. The released code's matrix is not positive definite in one
    variant and never reaches the optimizer in the language models (arXiv 2603.10225).

    >>> import torch
    >>> Mahalanobis()(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]]))
    tensor([[5.]])
    """

    name: ClassVar[str] = "mahalanobis"
    family: ClassVar[str] = "Mahalanobis"
    variants: ClassVar[tuple[Mapping[str, Any], ...]] = ({"variant": "full"}, {"variant": "diagonal"})
    in_papers: ClassVar[bool] = True

    variant: Literal["full", "diagonal"] = "full"

    @property
    def facts(self) -> Facts:
        return Facts(is_metric=True, is_symmetric=True, is_scale_invariant=False)

    def initial_parameters(self, in_features: int) -> dict[str, Tensor]:
        parameters = {"log_diagonal": torch.zeros(in_features)}
        if self.variant == "full":
            parameters["lower"] = torch.zeros(in_features, in_features)
        return parameters

    def factor(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """L with P = L L^T and trace N: (N,) its diagonal, or (N, N) lower triangular."""
        factor = _diagonal(parameters)
        if self.variant == "full":
            factor = torch.tril(parameters["lower"], -1) + torch.diag(factor)
        # The largest entry is divided out first, so that the squares stay within float32; it cancels.
        factor = factor / factor.detach().abs().amax()
        return factor * (len(factor) / factor.square().sum()).sqrt()

    @full_float32()
    def pairwise(self, x: Tensor, centers: Tensor, parameters: Mapping[str, Tensor], training: bool) -> Tensor:
        # (x - w)^T L L^T (x - w) = |L^T (x - w)|^2. Differences first: L^T x - L^T w is cheaper, but rounds to noise
        # near a center, and is not even 0 at one.
        delta, factor = differences(x, centers), self.factor(parameters)
        return lp_norm(delta @ factor if self.variant == "full" else delta * factor, 2.0)

    @property
    def has_matrix(self) -> bool:
        return self.variant == "full"

    @property
    def map_cost(self) -> float:
        return 40.0

    @property
    def operator(self) -> Operator:
        return Operator("gemm", "mahalanobis")

    @full_float32()
    def mapped(self, x: Tensor, centers: Tensor, parameters: Mapping[str, Tensor], training: bool) -> Mapped:
        # L^T x - L^T w by a matrix product, and, as in the formula, the difference first where a pair is near.
        if self.variant == "diagonal":
            factor = self.factor(parameters)
            frozen = factor.detach()
            return Mapped(x * factor, centers * factor, lambda b, k: (x[b] - centers[k]).detach() * frozen)
        from harmbench.nn.kernels import triangular

        lower, diagonal = parameters["lower"], _diagonal(parameters)

        def difference(b: Tensor, k: Tensor) -> Tensor:
            return triangular.product(lower.detach(), diagonal.detach(), (x[b] - centers[k]).detach())[0]

        of_x, of_w = triangular.product(lower, diagonal, x, centers)
        return Mapped(of_x, of_w, difference)

    def map(self, centers: Tensor, parameters: Mapping[str, Tensor], training: bool) -> Map | None:
        return Map("scale", self.factor(parameters)) if self.variant == "diagonal" else None

    def between(self, x: Tensor, centers: Tensor, *option: Tensor) -> Tensor:
        return lp_norm(differences(x, centers), 2.0)


def _diagonal(parameters: Mapping[str, Tensor]) -> Tensor:
    """The diagonal of L, before scaling."""
    return (10 * torch.tanh(parameters["log_diagonal"] / 10)).exp()
