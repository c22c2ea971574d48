"""Hyperbolic distance in the Poincare ball."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from harmbench._torch import torch
from harmbench.distances._base import Distance, Facts
from harmbench.distances._functions import length, root, unit, wide
from harmbench.kernels import Finish, Operator

if TYPE_CHECKING:
    from torch import Tensor

_NEAR = 1e-2  # cosine distance below which lengths and directions are subtracted coordinate by coordinate
_FAR = 10.0  # where hyperbolic sines are put in logarithms, long before e^88 leaves float32


class Poincare(Distance):
    """Hyperbolic distance in the Poincare ball, arcosh(1 + 2 |u - v|^2 / ((1 - |u|^2) (1 - |v|^2))).

    Features are not in the ball: the exponential map at the origin takes them there, u = tanh(|x| / 2) x / |x| and so
    v from w, with |x| the hyperbolic distance of u from the origin. (Ganea et al., arXiv 1805.09112, write tanh(|x|),
    with tangent vectors half as long; the distance is that of Nickel and Kiela, arXiv 1705.08039.) With lengths a and
    b and the angle t between x and w it is the hyperbolic law of cosines,

        sinh^2(d/2) = cos^2(t/2) sinh^2((a - b)/2) + sin^2(t/2) sinh^2((a + b)/2),

    which is computed here: no point of the ball is ever written down, where tanh is 1 in float32 from length 18 on. Far
    out d is near a + b + 2 log sin(t/2), and the ball magnifies angles by e^a: float32 tells directions apart to 1e-7,
    which is little beyond length 15.

    `curvature=c` is that of curvature -c, d(sqrt(c) x, sqrt(c) w) / sqrt(c); small c tends to `euclidean`.

    >>> import torch
    >>> Poincare()(torch.tensor([[3.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 0.0], [-40.0, 0.0]]))
    tensor([[ 2.,  3., 43.]])
    """

    name: ClassVar[str] = "poincare"

    curvature: float = Field(default=1.0, gt=0, allow_inf_nan=False)

    @property
    def facts(self) -> Facts:
        return Facts(is_metric=True, is_symmetric=True, is_scale_invariant=False)

    def pairwise(self, x: Tensor, centres: Tensor, parameters: Mapping[str, Tensor], training: bool) -> Tensor:
        return self._of_pairs(x[:, None, :], centres[None, :, :])

    @property
    def operator(self) -> Operator:
        finish = Finish(Operator("gemm", "cosine", degree=0), self._of_cosine, length, _is_doubtful, self._of_pairs)
        return Operator("gemm", "poincare", finish=finish)

    def _of_cosine(self, cosine: Tensor, x_length: Tensor, w_length: Tensor) -> Tensor:
        return self._of_lengths(x_length, w_length, (cosine / 2).sqrt())

    def _of_pairs(self, x: Tensor, w: Tensor) -> Tensor:
        """Of vectors that broadcast, (..., N) -> (...)."""
        dtype, x, w = x.dtype, wide(x), wide(w)
        (x_length, of_x), (w_length, of_w) = ((length(v), unit(v)) for v in (x, w))
        distance = self._of_lengths(x_length, w_length, length(of_x - of_w) / 2)
        # From the origin the distance is the length, and changes by x.w / |w| as x leaves it in any direction.
        from_zero = torch.where(x_length == 0, w_length - (x * of_w).sum(-1), x_length - (w * of_x).sum(-1))
        return torch.where((x_length == 0) | (w_length == 0), from_zero, distance).to(dtype)

    def _of_lengths(self, x_length: Tensor, w_length: Tensor, sine: Tensor) -> Tensor:
        scale = math.sqrt(self.curvature)
        return _by_law_of_cosines(scale * (x_length - w_length), scale * (x_length + w_length), sine) / scale


def _is_doubtful(cosine: Tensor, x_length: Tensor, w_length: Tensor) -> Tensor:
    return (cosine < _NEAR) | (x_length == 0) | (w_length == 0)


def _by_law_of_cosines(gap: Tensor, total: Tensor, sine: Tensor) -> Tensor:
    """d from the lengths' difference and sum, and the sine of half the angle; gradient 0 at d = 0.

    All is divided by e^shift, which is 1 while nothing is large, and which the logarithm takes back.
    """
    gap, total = gap.abs() / 2, total / 2
    with torch.no_grad():
        largest = torch.maximum(gap, total + sine.log())
        shift = torch.where(largest > _FAR, largest, 0.0)
    along = _shifted_sinh(gap, shift, root((1 - sine.square()).clamp_min(0)))
    across = _shifted_sinh(total, shift, sine)
    is_zero = (along == 0) & (across == 0)
    y = torch.where(is_zero, 0.0, torch.hypot(torch.where(is_zero, 1.0, along), across))
    far = shift + (y + torch.hypot(y, (-shift).exp())).log()
    return 2 * torch.where(shift > 0, far, y.asinh())


def _shifted_sinh(size: Tensor, shift: Tensor, factor: Tensor) -> Tensor:
    """factor sinh(size) / e^shift, size >= 0, where it is at most e^10; e^(size - shift) alone may be too large."""
    most = _FAR - math.log(torch.finfo(size.dtype).tiny) / 2  # reached only where the factor is 0
    step = ((size - shift) / 2).clamp_max(most).exp()
    return factor * step * step * -(-2 * size).expm1() / 2
