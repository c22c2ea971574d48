"""Harmonic loss."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import field_validator

from harmbench._torch import torch
from harmbench.nn.losses._base import Loss, at_least_float32

if TYPE_CHECKING:
    from torch import Tensor

    from harmbench.nn.kernels import Pairs


class Harmonic(Loss):
    """Harmonic loss: cross-entropy under HarMax, p_k proportional to d_k^-n (arXiv 2502.01628, section 2).

    n is the exponent on the distance itself: a number, `sqrt_d` (the root of the feature length N, the default and
    the paper's advice), `d` (N), or `learnable` (starts at `sqrt_d`). All is computed in logs, log-softmax of
    -n log d, so nothing is divided by the minimum, no power overflows and no probability is clamped.

    >>> import torch
    >>> Harmonic(n=2).log_probs(torch.tensor([[1.0, 2.0]]), in_features=9).exp()
    tensor([[0.8000, 0.2000]])
    """

    name: ClassVar[str] = "harmonic"
    reads: ClassVar[Literal["logits", "distances"]] = "distances"

    n: float | Literal["sqrt_d", "d", "learnable"] = "sqrt_d"

    @field_validator("n", mode="before")
    @classmethod
    def _exponent(cls, n: object) -> object:
        if n in ("sqrt_d", "d", "learnable"):
            return n
        try:
            value = float(str(n))
        except ValueError:
            raise ValueError(f"must be a number > 0, sqrt_d, d or learnable, got '{n}'") from None
        if not (0 < value < math.inf):
            raise ValueError(f"must be a number > 0, sqrt_d, d or learnable, got {value:g}")
        return value

    def initial_parameters(self, in_features: int) -> dict[str, Tensor]:
        # Learned as a logarithm: n stays positive.
        return {"log_n": torch.tensor(math.log(in_features) / 2)} if self.n == "learnable" else {}

    def exponent(self, in_features: int, parameters: Mapping[str, Tensor]) -> float | Tensor:
        """n for feature vectors of length `in_features`."""
        if self.n == "learnable":
            return parameters["log_n"].exp()
        return {"sqrt_d": math.sqrt(in_features), "d": float(in_features)}.get(str(self.n)) or float(self.n)

    def logits(self, scores: Tensor, in_features: int, parameters: Mapping[str, Tensor]) -> Tensor:
        # A feature on its center has d = 0 and p = 1. The floor, some 30 orders of magnitude below any distance met
        # in float32, takes that limit in finite numbers: equal hits tie, NaN passes through, the gradient is 0.
        scores = at_least_float32(scores)
        floor = torch.finfo(scores.dtype).tiny * 1e8
        return -self.exponent(in_features, parameters) * scores.clamp_min(floor).log()

    def nll(self, logits: Tensor, targets: Tensor) -> Tensor:
        # log(1 + sum over k != c of exp(z_k - z_c)): once p_c is within rounding of 1, plain cross-entropy is 0 and
        # so is its gradient, while here both keep their digits.
        own = logits.gather(-1, targets[:, None])
        others = logits.scatter(-1, targets[:, None], -math.inf).logsumexp(-1)
        return torch.nn.functional.softplus(others - own.squeeze(-1), threshold=80.0).mean()

    def of_pairs(self, pairs: Pairs, targets: Tensor, in_features: int, parameters: Mapping[str, Tensor]) -> Tensor:
        from harmbench.nn.kernels import harmonic

        n = self.exponent(in_features, parameters)
        if not harmonic.is_fused(pairs, n, targets):
            return super().of_pairs(pairs, targets, in_features, parameters)
        return harmonic.loss(pairs, n, harmonic.Task(targets.contiguous(), 1.0 / max(targets.shape[0], 1)))

    def how(self, pairs: Pairs) -> str:
        from harmbench.nn.kernels import harmonic

        return harmonic.how(pairs) if harmonic.is_fused(pairs) else super().how(pairs)
