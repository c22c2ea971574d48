"""What a distance tells the kernels about itself; free of torch, so that distances may hold one."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Operator(NamedTuple):
    """The formula of a distance, as the fast forms know it.

    Attributes:
        kind: `gemm` where pairs come from a matrix product, `elementwise` where every coordinate of every pair counts.
        name: which formula: a key of `CODES` in native.py, or `cosine`.
        option: its one number (p, alpha, floor, gamma), where it has one.
        degree: d(s x, s w) = s^degree d(x, w); None where neither 0 nor 1.

    >>> Operator("elementwise", "minkowski", option=3.0, degree=1)
    Operator(kind='elementwise', name='minkowski', option=3.0, degree=1)
    """

    kind: Literal["gemm", "elementwise"]
    name: str
    option: float = 0.0
    degree: int | None = None
