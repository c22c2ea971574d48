"""Softmax over cosine similarities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from harmbench.nn.losses._base import Loss, at_least_float32

if TYPE_CHECKING:
    from torch import Tensor


class CosineSoftmax(Loss):
    """Normalized softmax, p_k proportional to exp(cos(x, w_k) / temperature).

    The strongest simple rival of the cosine head, well known from face recognition and contrastive learning. The
    released code files it under harmonic heads as `cosine_temp_scale`. It is not a harmonic loss (arXiv 2603.10225).

    >>> import torch
    >>> CosineSoftmax(temperature=1.0).log_probs(torch.tensor([[0.0, 1.0]]), in_features=2).exp()
    tensor([[0.7311, 0.2689]])
    """

    name: ClassVar[str] = "cosine_softmax"
    reads: ClassVar[Literal["logits", "distances"]] = "distances"
    distances: ClassVar[tuple[str, ...]] = ("cosine",)

    temperature: float = Field(default=0.1, gt=0, allow_inf_nan=False)

    def logits(self, scores: Tensor, in_features: int, parameters: Mapping[str, Tensor]) -> Tensor:
        return (1 - at_least_float32(scores)) / self.temperature
