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
        name: which formula: a key of `CODES` in native.py, or a matrix product's own. A name of its own for each
            formula: one with a `finish` is never mistaken for its base.
        option: its one number (p, alpha, floor, gamma), where it has one that is not learned.
        degree: d(s x, s w) = s^degree d(x, w); None where neither 0 nor 1, and where there is a
            finish, whose base has its own.
        finish: the steps from another operator's distances to these, where there are any.

    >>> Operator("elementwise", "minkowski", option=3.0, degree=1)
    Operator(kind='elementwise', name='minkowski', option=3.0, degree=1, finish=None)
    """

    kind: Literal["gemm", "elementwise"]
    name: str
    option: float = 0.0
    degree: int | None = None
    finish: Finish | None = None


class Finish(NamedTuple):
    """How distances come from base distances, which a form computes for all pairs.

    Attributes:
        base: the operator of the base distances.
        of: base (R, K), and where there is a `size`, those of features (R, 1) and centers (1, K) -> distances (R, K).
            Differentiable, with finite derivatives wherever pairs are not doubtful.
        size: vectors (R, N) -> a number each (R,), differentiable.
        doubtful: what `of` takes -> the pairs (R, K) for which the base has too few digits.
        exact: their distances, pair by pair: (P, N), (P, N) -> (P,), differentiable.
        power: where `of` is that power of the base: to HarMax it is the base, with so many times the exponent.
    """

    base: Operator
    of: Callable[..., Tensor]
    size: Callable[[Tensor], Tensor] | None = None
    doubtful: Callable[..., Tensor] | None = None
    exact: Callable[[Tensor, Tensor], Tensor] | None = None
    power: float | None = None


class Map(NamedTuple):
    """What is done to each vector before any pair is looked at, as the compiled kernel knows it.

    Attributes:
        name: `scale`, the product with `values`, which get a gradient; `codes`, tanh((v - values) / (2 option)) / 2;
            `hard_codes`, 1 above `values` and else 0, with the gradient of `codes`; `profile`, |v| / sum |v|;
            `centered`, v less its mean.
        values: one number a coordinate (N,); None for zeros.
        option: the one number of a map that has one.
    """

    name: Literal["scale", "codes", "hard_codes", "profile", "centered"]
    values: Tensor | None = None
    option: float = 1.0


class Mapped(NamedTuple):
    """Vectors as the formula between pairs reads them.

    Attributes:
        x, centers: features (B, N) and centers (K, N), each mapped.
        difference: row and column indices (P,), (P,) -> (P, N), the mapped difference of these pairs, for cosine
            distance that of the unit vectors, where it has more digits than the difference of the mapped vectors; None
            where it has not.
        option: the formula's one number where it is learned: a scalar that gets a gradient.
    """

    x: Tensor
    centers: Tensor
    difference: Callable[[Tensor, Tensor], Tensor] | None = None
    option: Tensor | None = None
