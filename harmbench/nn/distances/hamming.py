"""Hamming distance of binarised features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from harmbench._torch import torch
from harmbench.nn.distances._base import Distance, Facts
from harmbench.nn.distances._functions import differences
from harmbench.nn.kernels import Map, Mapped, Operator

if TYPE_CHECKING:
    from torch import Tensor


class Hamming(Distance):
    """Hamming distance of the codes c(v) = 1[v > threshold]: the share of coordinates whose bits differ.

    `variant=hard` is SciPy's `hamming` on those codes. Its gradient is a straight-through estimate, that of the
    sigmoid sigma((v - threshold) / temperature) in place of the step.
    `variant=soft` (the default) is a surrogate: the mean absolute difference of these sigmoids.
    `variant=gumbel` is the soft one with a random threshold while training: the difference of two Gumbel draws, one
    for each coordinate and forward pass, shared by features and centers, so that a center is at distance 0 from
    itself. No noise at evaluation. Variants of arXiv 2603.10225.

    >>> import torch
    >>> Hamming(variant="hard")(torch.tensor([[1.0, -1.0]]), torch.tensor([[2.0, 3.0]]))
    tensor([[0.5000]])
    """

    name: ClassVar[str] = "hamming"
    family: ClassVar[str] = "Hamming"
    variants: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"variant": "soft"},
        {"variant": "gumbel"},
        {"variant": "hard"},
    )
    in_papers: ClassVar[bool] = True

    variant: Literal["soft", "gumbel", "hard"] = "soft"
    temperature: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    threshold: float = Field(default=0.0, allow_inf_nan=False)

    @property
    def facts(self) -> Facts:
        # Distinct vectors may share a hard code; far out, sigmoids meet in float32, but not in the reals.
        is_hard = self.variant == "hard"
        return Facts(is_metric=not is_hard, is_symmetric=True, is_scale_invariant=is_hard and self.threshold == 0)

    def pairwise(self, x: Tensor, centers: Tensor, parameters: Mapping[str, Tensor], training: bool) -> Tensor:
        return self.between(*self.mapped(x, centers, parameters, training)[:2])

    def _codes(self, above: Tensor) -> Tensor:
        # sigma(a) - 1/2: the half cancels in differences, and without it small codes keep their digits.
        soft = torch.tanh(above / (2 * self.temperature)) / 2
        if self.variant == "hard":
            return (above > 0).to(soft.dtype) + (soft - soft.detach())  # the bracket is exactly 0
        return soft

    def _threshold(self, centers: Tensor, training: bool) -> float | Tensor:
        return self.threshold + (_logistic(centers) if self.variant == "gumbel" and training else 0.0)

    @property
    def map_cost(self) -> float:
        return 40.0

    @property
    def operator(self) -> Operator:
        return Operator("elementwise", "mean_absolute")

    def mapped(self, x: Tensor, centers: Tensor, parameters: Mapping[str, Tensor], training: bool) -> Mapped:
        threshold = self._threshold(centers, training)
        return Mapped(self._codes(x - threshold), self._codes(centers - threshold))

    def map(self, centers: Tensor, parameters: Mapping[str, Tensor], training: bool) -> Map | None:
        threshold = self._threshold(centers, training)
        if isinstance(threshold, float):
            threshold = centers.new_full(centers.shape[1:], threshold)
        return Map("hard_codes" if self.variant == "hard" else "codes", threshold, self.temperature)

    def between(self, x: Tensor, centers: Tensor, *option: Tensor) -> Tensor:
        return differences(x, centers).abs().mean(-1)


def _logistic(centers: Tensor) -> Tensor:
    """One draw for each coordinate, (N,), of the logistic law: the difference of two Gumbel draws."""
    uniform = torch.rand(centers.shape[1], dtype=centers.dtype, device=centers.device)
    return torch.logit(uniform.clamp(1e-7, 1 - 1e-7))
