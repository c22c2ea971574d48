"""Composition of permutations."""

from __future__ import annotations

import itertools
import math
from typing import ClassVar

from pydantic import Field

from harmbench._torch import torch
from harmbench.datasets._tasks import Items, TokenTask, pairs
from harmbench.results.records import Structure


class Permutation(TokenTask):
    """Permutation group: (g, h) -> g after h in S4, 576 items, 2 tokens, vocabulary 24.

    A task of arXiv 2502.01628, whose code splits the whole table, so nothing leaks there. Tokens are the permutations
    of `points` points in lexicographic order: S3 has 6 and 36 items, S5 has 120 and 14,400.

    >>> inputs, targets = Permutation(points=3).items()
    >>> len(targets), inputs[8].tolist(), targets[8].item()  # a swap after another one is a rotation
    (36, [1, 2], 4)
    """

    name: ClassVar[str] = "permutation"

    points: int = Field(default=4, ge=3, le=5)

    @property
    def vocabulary(self) -> int:
        return math.factorial(self.points)

    def labels(self) -> tuple[str, ...]:
        """Images of the points, counted from 1."""
        return tuple("".join(str(i + 1) for i in p) for p in itertools.permutations(range(self.points)))

    def structure(self) -> Structure:
        return Structure(shape="permutation", size=self.points, tokens=self.vocabulary)

    def items(self) -> Items:
        elements = torch.tensor(list(itertools.permutations(range(self.points))))
        inputs = pairs(self.vocabulary)
        # (g after h) sends i to g[h[i]].
        outer = elements[inputs[:, 0]]
        inner = elements[inputs[:, 1]]
        composed = outer.gather(1, inner)
        # Digits to the base of `points` order permutations as they are listed.
        digits = self.points ** torch.arange(self.points - 1, -1, -1)
        keys = (elements * digits).sum(1)
        targets = torch.searchsorted(keys, (composed * digits).sum(1))
        return Items(inputs, targets)
