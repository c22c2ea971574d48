"""Angular distance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from harmbench._torch import torch
from harmbench.nn.distances._base import Distance, Facts
from harmbench.nn.distances._functions import length, unit, wide
from harmbench.nn.kernels import Finish, Operator

if TYPE_CHECKING:
    from torch import Tensor

_NEAR = 1e-2  # cosine distance from 0, or from 2, at which the angle has lost a digit


class Angular(Distance):
    """Angular distance, arccos(x.w / (|x| |w|)) / pi: the angle between two vectors as a share of the half turn.

    Computed from the unit vectors u and v as 2 atan2(|u - v|, |u + v|) / pi, which keeps its digits where an arccosine
    would not: near 0 and near 1. On directions it is a metric, unlike `cosine`: vectors of one direction are at
    distance 0. The gradient has a kink there and at opposite directions, and is 0 at both. The zero vector has no
    direction: its distance to anything is 1/2, the right angle, and its gradient 0.

    >>> import torch
    >>> Angular()(torch.tensor([[2.0, 0.0]]), torch.tensor([[5.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]))
    tensor([[0.0000, 0.5000, 1.0000]])
    """

    name: ClassVar[str] = "angular"
    family: ClassVar[str] = "angles"

    @property
    def facts(self) -> Facts:
        return Facts(is_metric=False, is_symmetric=True, is_scale_invariant=True, domain="nonzero")

    def pairwise(self, x: Tensor, centers: Tensor, parameters: Mapping[str, Tensor], training: bool) -> Tensor:
        return _angle(x[:, None, :], centers[None, :, :])

    @property
    def operator(self) -> Operator:
        finish = Finish(Operator("gemm", "cosine", degree=0), _from_cosine, doubtful=_is_near_an_end, exact=_angle)
        return Operator("gemm", "angular", finish=finish)


def _angle(x: Tensor, w: Tensor) -> Tensor:
    """Angular distance of vectors that broadcast, (..., N) -> (...)."""
    of_x, of_w = unit(wide(x)), unit(wide(w))
    apart, together = length(of_x - of_w), length(of_x + of_w)
    no_direction = ((x == 0).all(-1) | (w == 0).all(-1)) & ~apart.isnan()
    angle = torch.atan2(apart, torch.where(no_direction, 1.0, together)) * (2 / math.pi)
    return torch.where(no_direction, 0.5, angle).to(x.dtype)


def _from_cosine(cosine: Tensor) -> Tensor:
    return (2 / math.pi) * torch.asin((cosine / 2).sqrt())


def _is_near_an_end(cosine: Tensor) -> Tensor:
    return (cosine < _NEAR) | (cosine > 2 - _NEAR)
