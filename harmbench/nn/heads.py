"""Heads: the last layer, and its drop-in form for anybody's training loop.

`LinearHead` gives logits and `DistanceHead` gives distances. `Objective` turns either into log-probabilities and a
loss. `HarmonicHead` joins a distance and HarMax into one layer that replaces a final `nn.Linear`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from harmbench.nn.distances import DISTANCES, Distance
from harmbench.nn.kernels import Pairs
from harmbench.nn.losses import LOSSES, Loss


class LinearHead(nn.Linear):
    """Logits (B, K) of features (B, N): `nn.Linear` with bias, the usual end of a classifier."""


class DistanceHead(nn.Module):
    """Distances (..., K) of features (..., N) to K learnable class centers.

    The centers start as the rows of an `nn.Linear` do, uniform within 1/sqrt(N), as in the papers' code. If they are
    far smaller than the features, all centers are at nearly the same distance. Distances that depend on few coordinates
    (Chebyshev, Canberra) then learn late or never, and `center_std` starts the centers farther apart. The distance's
    own learnable tensors are parameters of this module.

    Args:
        in_features: N.
        num_classes: K.
        distance: a distance or its address.
        center_std: standard deviation of normally distributed centers; None for those of `nn.Linear`.

    >>> head = DistanceHead(4, 3, "mahalanobis[variant=diagonal]")
    >>> head(torch.zeros(2, 4)).shape, [name for name, _ in head.named_parameters()]
    (torch.Size([2, 3]), ['weight', 'distance_parameters.log_diagonal'])
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        distance: str | Distance = "euclidean",
        center_std: float | None = None,
    ) -> None:
        super().__init__()
        self.distance = DISTANCES.parse(distance) if isinstance(distance, str) else distance
        self.weight = nn.Parameter(torch.empty(num_classes, in_features))
        if center_std is None:
            nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        else:
            nn.init.normal_(self.weight, std=center_std)
        self.distance_parameters = nn.ParameterDict(self.distance.initial_parameters(in_features))

    def pairs(self, x: Tensor) -> Pairs:
        """Distances of features (B, N), not yet computed."""
        parameters = dict(self.distance_parameters.items())
        return self.distance.pairs(x, self.weight, parameters, training=self.training)

    def forward(self, x: Tensor) -> Tensor:
        distances = self.pairs(x.reshape(-1, x.shape[-1])).distances()
        return distances.reshape(*x.shape[:-1], len(self.weight))

    def extra_repr(self) -> str:
        return f"in_features={self.weight.shape[1]}, num_classes={self.weight.shape[0]}, distance={self.distance}"


class Objective(nn.Module):
    """A loss with its learnable tensors, if it has any.

    Args:
        loss: a loss or its address.
        in_features: N, the length of the feature vectors (HarMax's exponent may depend on it).

    >>> objective = Objective("harmonic[n=1]", in_features=2)
    >>> objective(torch.tensor([[1.0, 3.0]]), torch.tensor([0]))
    tensor(0.2877)
    """

    def __init__(self, loss: str | Loss, in_features: int) -> None:
        super().__init__()
        self.loss = LOSSES.parse(loss) if isinstance(loss, str) else loss
        self.in_features = in_features
        self.loss_parameters = nn.ParameterDict(self.loss.initial_parameters(in_features))
        self._learns = len(self.loss_parameters) > 0

    def _learned(self) -> dict[str, Tensor]:
        """The learnable tensors by name, without cost for losses that have none."""
        return dict(self.loss_parameters.items()) if self._learns else {}

    def logits(self, scores: Tensor) -> Tensor:
        """Numbers (B, K) whose softmax is the class probabilities."""
        return self.loss.logits(scores, self.in_features, self._learned())

    def forward(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Mean loss, a scalar, of scores (B, K) against class indices (B,)."""
        return self.loss.nll(self.logits(scores), targets)

    def of_pairs(self, pairs: Pairs, targets: Tensor) -> Tensor:
        """Mean loss of a distance head's `pairs`, in one kernel call if the loss and the kernels support it."""
        return self.loss.of_pairs(pairs, targets, self.in_features, self._learned())


class HarmonicHead(nn.Module):
    """Drop-in for a classifier's final `nn.Linear`: logits whose softmax is HarMax.

    `F.cross_entropy(head(x), y)` *is* the harmonic loss, in any training loop. Below about 1e-7 float32 rounds it to 0.
    `Objective` keeps the digits.

    Args:
        in_features: N.
        num_classes: K.
        distance: a distance or its address.
        n: HarMax's exponent on the distance: a number, `sqrt_d`, `d` or `learnable`.
        center_std: standard deviation of normally distributed centers; None for those of `nn.Linear`.

    Raises:
        UnknownNameError, OptionError: for a distance or an exponent that does not exist.

    >>> head = HarmonicHead(in_features=4, num_classes=3, distance="cosine")
    >>> head(torch.ones(2, 4)).shape
    torch.Size([2, 3])
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        distance: str | Distance = "euclidean",
        n: float | str = "sqrt_d",
        center_std: float | None = None,
    ) -> None:
        super().__init__()
        self.head = DistanceHead(in_features, num_classes, distance, center_std)
        self.objective = Objective(LOSSES.members["harmonic"].from_options({"n": n}), in_features)

    @property
    def weight(self) -> nn.Parameter:
        """Class centers (K, N)."""
        return self.head.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.objective.logits(self.head(x))
