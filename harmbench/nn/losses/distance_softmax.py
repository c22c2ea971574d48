"""Softmax over negative distances."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from harmbench.nn.losses._base import Loss, at_least_float32

if TYPE_CHECKING:
    from torch import Tensor


class DistanceSoftmax(Loss):
    """Cross-entropy over negative distances, p_k proportional to exp(-d_k / temperature).

    The loss of prototypical networks, and the control that separates "a distance" from "harmonic". It is not
    scale-free: a distance of bounded range D gives logits of range D / temperature, so for a bounded distance the
    loss has a floor of log(1 + (K - 1) exp(-D / temperature)).

    >>> import torch
    >>> DistanceSoftmax().log_probs(torch.tensor([[0.0, 0.0]]), in_features=2).exp()
    tensor([[0.5000, 0.5000]])
    """

    name: ClassVar[str] = "distance_softmax"
    reads: ClassVar[Literal["logits", "distances"]] = "distances"

    temperature: float = Field(default=1.0, gt=0, allow_inf_nan=False)

    def logits(self, scores: Tensor, in_features: int, parameters: Mapping[str, Tensor]) -> Tensor:
        return -at_least_float32(scores) / self.temperature
