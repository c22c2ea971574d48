"""Hamming distance of binarised features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from harmbench._torch import torch
from harmbench.distances._base import Distance, Facts
from harmbench.distances._functions import differences
from harmbench.kernels import Operator

if TYPE_CHECKING:
    from torch import Tensor


class Hamming(Distance):
    """Hamming distance of the codes c(v) = 1[v > threshold]: the share of coordinates whose bits differ.

    `variant=hard` is SciPy's `hamming` on those codes; its gradient is a straight-through estimate, that of the
    sigmoid sigma((v - threshold) / temperature) in place of the step.
    `variant=soft` (the default) is a surrogate: the mean absolute difference of these sigmoids.
    `variant=gumbel` is the soft one with a random threshold while training: the difference of two Gumbel draws, one
    for each coordinate and forward pass, shared by features and centres, so that a centre is at distance 0 from
    itself. No noise at evaluation. Variants of arXiv 2603.10225.

    >>> import torch
    >>> Hamming(variant="hard")(torch.tensor([[1.0, -1.0]]), torch.tensor([[2.0, 3.0]]))
    tensor([[0.5000]])
    """

    name: ClassVar[str] = "hamming"
    variants: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"variant": "soft"}, {"variant": "gumbel"}, {"variant": "hard"},
    )
    in_papers: ClassVar[bool] = True

    variant: Literal["soft", "gumbel", "hard"] = "soft"
    temperature: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    threshold: float = Field(default=0.0, allow_inf_nan=False)

    @property
    def facts(self) -> Facts:
        # Distinct vectors may share a hard code; far out, sigmoids meet in float32, but not in the reals.
        return Facts(is_metric=self.variant != "hard", is_symmetric=True, is_scale_invariant=False)

    @property
    def operator(self) -> Operator:
        return Operator("elementwise", "mean_absolute")

    def mapped(
        self, x: Tensor, centres: Tensor, parameters: Mapping[str, Tensor], training: bool
    ) -> tuple[Tensor, Tensor]:
        noise = _logistic(x) if self.variant == "gumbel" and training else None
        return self._codes(x, noise), self._codes(centres, noise)

    def pairwise(self, x: Tensor, centres: Tensor) -> Tensor:
        return differences(x, centres).abs().mean(-1)

    def _codes(self, vectors: Tensor, noise: Tensor | None) -> Tensor:
        above = vectors - self.threshold if self.threshold else vectors
        noisy = above if noise is None else above + noise
        soft = torch.sigmoid(noisy if self.temperature == 1 else noisy / self.temperature)
        if self.variant == "hard":
            return (above > 0).to(soft.dtype) + (soft - soft.detach())  # in brackets: exactly 0
        return soft


def _logistic(x: Tensor) -> Tensor:
    """One draw for each coordinate, (1, N), of the logistic law: the difference of two Gumbel draws."""
    uniform = torch.rand(1, x.shape[1], dtype=x.dtype, device=x.device).clamp(1e-7, 1 - 1e-7)
    return torch.logit(uniform)
