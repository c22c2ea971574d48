"""Softmax cross-entropy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from harmbench.nn.losses._base import Loss, at_least_float32

if TYPE_CHECKING:
    from torch import Tensor


class CrossEntropy(Loss):
    """Softmax cross-entropy on the logits of a linear head: the baseline.

    >>> import torch
    >>> CrossEntropy().log_probs(torch.tensor([[0.0, 0.0]]), in_features=2).exp()
    tensor([[0.5000, 0.5000]])
    """

    name: ClassVar[str] = "cross_entropy"
    reads: ClassVar[Literal["logits", "distances"]] = "logits"

    def logits(self, scores: Tensor, in_features: int, parameters: Mapping[str, Tensor]) -> Tensor:
        return at_least_float32(scores)
