"""Student-t softmax over distances."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from harmbench.nn.losses import Loss

if TYPE_CHECKING:
    from torch import Tensor


class StudentSoftmax(Loss):
    """Student-t softmax over distances: p_k is proportional to (1 + d_k^2 / nu)^(-(nu + 1) / 2).

    The kernel of t-SNE (van der Maaten and Hinton, JMLR 2008) for nu = 1. It is flat at the center, where the harmonic
    loss has a pole, and falls as a power far away, where softmax over distances falls exponentially.

    >>> import torch
    >>> StudentSoftmax().log_probs(torch.tensor([[0.0, 1.0]]), in_features=2).exp()
    tensor([[0.6667, 0.3333]])
    """

    name: ClassVar[str] = "student_softmax"
    reads: ClassVar[Literal["distances"]] = "distances"

    nu: float = Field(default=1.0, gt=0, allow_inf_nan=False)

    def logits(self, scores: Tensor, in_features: int, parameters: Mapping[str, Tensor]) -> Tensor:
        import torch  # not at the top: listing and planning start without torch

        # Half precision has too few digits for logarithms.
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        return -(self.nu + 1) / 2 * (scores.square() / self.nu).log1p()
