"""The known structure of a task's tokens, which learned embeddings are compared with."""

from __future__ import annotations

from typing import Literal

from harmbench.results._rows import Record

Shape = Literal["lattice", "circle", "equivalence", "order", "tree", "permutation"]


class Structure(Record):
    """The relation between the tokens of a task, which their embeddings are compared with.

    Attributes:
        shape: the kind of structure, which says what `size` is.
        size: side of a grid, length of a circle, number of equivalence classes, length of an order, generations of a
            binary tree, or points that are permuted.
        tokens: number of tokens in the structure, in the order of the shape. Other tokens are answers or relations.
        first: index of the first of these tokens.
    """

    shape: Shape
    size: int
    tokens: int
    first: int = 0
