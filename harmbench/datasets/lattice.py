"""The fourth corner of a parallelogram on a grid."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from harmbench._torch import torch
from harmbench.datasets._tasks import Items, SampledTask
from harmbench.results.records import Structure


class Lattice(SampledTask):
    """In-context lattice: three corners of a parallelogram -> the fourth, 7,225 items, 3 tokens, vocabulary 25.

    A task of arXiv 2502.01628. Tokens are the points of a grid of `side` x `side`, row by row. The target of (a, b, c)
    is the point b + c - a, and only items whose target lies on the grid exist. The paper trains on 800 draws.
    `train_fraction=0.138` keeps as many items.

    >>> inputs, targets = Lattice().items()
    >>> len(targets), inputs[2015].tolist(), targets[2015].item()  # (1, 2), (1, 3), (2, 2) -> (2, 3)
    (7225, [7, 8, 12], 13)
    """

    name: ClassVar[str] = "lattice"

    side: int = Field(default=5, ge=2, le=12)

    @property
    def vocabulary(self) -> int:
        return self.side**2

    def labels(self) -> tuple[str, ...]:
        return tuple(f"{token // self.side},{token % self.side}" for token in range(self.vocabulary))

    def links(self) -> tuple[tuple[int, int], ...]:
        """Neighbors on the grid."""
        side = self.side
        tokens = range(self.vocabulary)
        across = tuple((token, token + 1) for token in tokens if (token + 1) % side)
        return across + tuple((token, token + side) for token in tokens if token + side < self.vocabulary)

    def structure(self) -> Structure:
        return Structure(shape="lattice", size=self.side, tokens=self.vocabulary)

    def items(self) -> Items:
        points = torch.arange(self.vocabulary)
        inputs = torch.cartesian_prod(points, points, points)
        rows = inputs // self.side
        columns = inputs % self.side
        row, column = (axis[:, 1] + axis[:, 2] - axis[:, 0] for axis in (rows, columns))
        inside = (row >= 0) & (row < self.side) & (column >= 0) & (column < self.side)
        return Items(inputs[inside], (row * self.side + column)[inside])
