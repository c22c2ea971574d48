"""What a distance tells the kernels about itself; free of torch, so that distances may hold one."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Operator(NamedTuple):
    """The formula of a distance, as the fast forms know it.

    Attributes:
        kind: `gemm` where pairs come from a matrix product, `elementwise` where each coordinate of each pair is touched.
        name: which formula; one of `NAMES`.
        option: its one number (p, alpha, floor, gamma), where it has one.
        degree: d(s x, s w) = s^degree d(x, w); None where neither 0 nor 1.

    >>> Operator("elementwise", "minkowski", option=3.0, degree=1)
    Operator(kind='elementwise', name='minkowski', option=3.0, degree=1)
    """

    kind: Literal["gemm", "elementwise"]
    name: str
    option: float = 0.0
    degree: int | None = None


NAMES = (
    "manhattan", "mean_absolute", "minkowski", "euclidean", "chebyshev", "smooth_chebyshev", "canberra", "canberra_robust",
    "canberra_weighted", "bray_curtis", "bray_curtis_signed", "cosine",
)
