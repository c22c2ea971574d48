"""Hyperbolic distance in the Poincare ball."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from harmbench._torch import torch
from harmbench.nn.distances._base import Distance, Facts
from harmbench.nn.distances._functions import length, root, unit, wide
from harmbench.nn.kernels import Finish, Operator

if TYPE_CHECKING:
    from torch import Tensor

_NEAR = 1e-2  # cosine distance below which lengths and directions are subtracted coordinate by coordinate
_FAR = 10.0  # where hyperbolic sines are put in logarithms, long before e^88 leaves float32


class Poincare(Distance):
    """Hyperbolic distance in the Poincare ball, arcosh(1 + 2 |u - v|^2 / ((1 - |u|^2) (1 - |v|^2))).

    Features are not in the ball: the exponential map at the origin takes them there, u = tanh(|x| / 2) x / |x| and so
    v from w, with |x| the hyperbolic distance of u from the origin. (Ganea et al., arXiv 1805.09112, write tanh(|x|),
    with tangent vectors half as long. The distance is that of Nickel and Kiela, arXiv 1705.08039.) With lengths a and
    b and the angle t between x and w it is the hyperbolic law of cosines,

        sinh^2(d/2) = sinh^2((a - b)/2) + sinh(a) sinh(b) sin^2(t/2),

    which is computed here: no point of the ball is ever written down, where tanh is 1 in float32 from length 18 on. Far
    out d is near a + b + 2 log sin(t/2), and the ball magnifies angles by e^a: the rounding of float32 features, 1e-7
    in direction, shows from length 15 on.

    `curvature=c` is that of curvature -c, d(sqrt(c) x, sqrt(c) w) / sqrt(c). Small c tends to `euclidean`.

    >>> import torch
    >>> Poincare()(torch.tensor([[3.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 0.0], [-40.0, 0.0]]))
    tensor([[ 2.,  3., 43.]])
    """

    name: ClassVar[str] = "poincare"

    curvature: float = Field(default=1.0, gt=0, allow_inf_nan=False)

    @property
    def facts(self) -> Facts:
        return Facts(is_metric=True, is_symmetric=True, is_scale_invariant=False)

    def pairwise(self, x: Tensor, centers: Tensor, parameters: Mapping[str, Tensor], training: bool) -> Tensor:
        return self._of_pairs(x[:, None, :], centers[None, :, :])

    @property
    def operator(self) -> Operator:
        finish = Finish(Operator("gemm", "cosine", degree=0), self._of_cosine, length, _is_doubtful, self._of_pairs)
        return Operator("gemm", "poincare", option=self.curvature, finish=finish)

    def _of_cosine(self, cosine: Tensor, x_length: Tensor, w_length: Tensor) -> Tensor:
        return self._of_lengths(x_length, w_length, (cosine / 2).sqrt())

    def _of_pairs(self, x: Tensor, w: Tensor) -> Tensor:
        """Distance of vectors that broadcast, (..., N) -> (...)."""
        dtype, x, w = x.dtype, wide(x), wide(w)
        (x_length, of_x), (w_length, of_w) = ((length(v), unit(v)) for v in (x, w))
        distance = self._of_lengths(x_length, w_length, length(of_x - of_w) / 2)
        # From the origin the distance is the length, and changes by x.w / |w| as x leaves it in any direction.
        from_zero = torch.where(x_length == 0, w_length - (x * of_w).sum(-1), x_length - (w * of_x).sum(-1))
        return torch.where((x_length == 0) | (w_length == 0), from_zero, distance).to(dtype)

    def _of_lengths(self, x_length: Tensor, w_length: Tensor, sine: Tensor) -> Tensor:
        scale = math.sqrt(self.curvature)
        return _by_law_of_cosines(scale * x_length, scale * w_length, sine) / scale


def _is_doubtful(cosine: Tensor, x_length: Tensor, w_length: Tensor) -> Tensor:
    return (cosine < _NEAR) | (x_length == 0) | (w_length == 0)


def _by_law_of_cosines(a: Tensor, b: Tensor, sine: Tensor) -> Tensor:
    """d from two lengths, and the sine of half the angle, with gradient 0 at d = 0.

    The square roots of both addends are divided by e^shift, which is 1 while nothing is large. It is half the longer
    length and a rest, so that a short length keeps its digits next to a long one.
    """
    longer, shorter = torch.maximum(a, b), torch.minimum(a, b)
    with torch.no_grad():
        rest = torch.maximum(-shorter / 2, shorter / 2 + sine.log())
        is_far = longer / 2 + rest > _FAR
        rest = torch.where(is_far, rest, -longer / 2)
        most = _FAR - math.log(torch.finfo(sine.dtype).tiny) / 2  # of the exponent below, unless the sine is 0
    shift = longer / 2 + rest
    along = (-shorter / 2 - rest).exp() * -(shorter - longer).expm1() / 2
    step = ((shorter / 2 - rest) / 2).clamp_max(most).exp()  # twice, since its square may be too large
    across = step * sine * step * (root(-(-2 * a).expm1()) * root(-(-2 * b).expm1())) / 2
    is_zero = (along == 0) & (across == 0)
    y = torch.where(is_zero, 0.0, torch.hypot(torch.where(is_zero, 1.0, along), across))
    far = shift + (y + torch.hypot(y, (-shift).exp())).log()
    near = (y * shift.clamp_max(_FAR).exp()).asinh()
    return 2 * torch.where(is_far, far, near)
