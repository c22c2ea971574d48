"""What a loss is: how scores become logits, and what it reads."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from harmbench._torch import torch
from harmbench.registry import Component

if TYPE_CHECKING:
    from torch import Tensor

    from harmbench.nn.kernels import Pairs


def at_least_float32(scores: Tensor) -> Tensor:
    """Half-precision scores as float32. Their logarithms and exponentials have only two or three digits."""
    if scores.dtype is torch.float32:  # nothing to ask of torch
        return scores
    return scores.to(torch.promote_types(scores.dtype, torch.float32))


class Loss(Component):
    """Base class of all losses.

    Class attributes:
        reads: what the head must give: `logits` (large = likely) or `distances` (small = likely).
        distances: names of the distances it is defined for. Empty means any.
    """

    reads: ClassVar[Literal["logits", "distances"]]
    distances: ClassVar[tuple[str, ...]] = ()

    def initial_parameters(self, in_features: int) -> dict[str, Tensor]:
        """Learnable tensors at their start, by name. Most losses have none."""
        return {}

    @abstractmethod
    def logits(self, scores: Tensor, in_features: int, parameters: Mapping[str, Tensor]) -> Tensor:
        """Numbers (B, K) whose softmax is the class probabilities.

        Args:
            scores: (B, K), what the head gives.
            in_features: N, the length of the feature vectors.
            parameters: learnable tensors, as `initial_parameters` names them.
        """

    def log_probs(self, scores: Tensor, in_features: int, parameters: Mapping[str, Tensor] | None = None) -> Tensor:
        """Log-probabilities (B, K), whose argmax is the prediction.

        >>> import torch
        >>> from harmbench.nn.losses import LOSSES
        >>> LOSSES.parse("harmonic[n=1]").log_probs(torch.tensor([[1.0, 3.0]]), in_features=2).exp()
        tensor([[0.7500, 0.2500]])
        """
        parameters = self.initial_parameters(in_features) if parameters is None else parameters
        return torch.log_softmax(self.logits(scores, in_features, parameters), -1)

    def nll(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Mean negative log-probability of the targets (B,), a scalar."""
        return torch.nn.functional.cross_entropy(logits, targets)

    def of_pairs(self, pairs: Pairs, targets: Tensor, in_features: int, parameters: Mapping[str, Tensor]) -> Tensor:
        """`nll` of distances that are not yet computed. A loss with a kernel never stores them."""
        return self.nll(self.logits(pairs.distances(), in_features, parameters), targets)

    def how(self, pairs: Pairs) -> str:
        """Text that names what `of_pairs` runs."""
        return f"{pairs.chosen.form} ({pairs.chosen.reason}), then the loss by torch"
