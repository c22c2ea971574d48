"""What a distance tells the kernels about itself; free of torch, so that distances may hold one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class Operator(NamedTuple):
    """The formula of a distance, as the fast forms know it.

    Attributes:
        kind: `gemm` where pairs come from a matrix product, `elementwise` where every coordinate of every pair counts.
        name: which formula: a key of `CODES` in native.py, `cosine` or `mahalanobis`.
        option: its one number (p, alpha, floor, gamma), where it has one.
        degree: d(s x, s w) = s^degree d(x, w); None where neither 0 nor 1.

    >>> Operator("elementwise", "minkowski", option=3.0, degree=1)
    Operator(kind='elementwise', name='minkowski', option=3.0, degree=1)
    """

    kind: Literal["gemm", "elementwise"]
    name: str
    option: float = 0.0
    degree: int | None = None


class Mapped(NamedTuple):
    """Vectors as the formula between pairs reads them.

    Attributes:
        x, centres: features (B, N) and centres (K, N), each mapped.
        difference: row and column indices (P,), (P,) -> (P, N), the mapped difference of these pairs, where it has more
            digits than the difference of the mapped vectors; None where it has not.
    """

    x: Tensor
    centres: Tensor
    difference: Callable[[Tensor, Tensor], Tensor] | None = None
