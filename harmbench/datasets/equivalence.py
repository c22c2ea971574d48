"""Whether two numbers leave the same rest."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from harmbench._torch import torch
from harmbench.datasets._tasks import Items, SampledTask, pairs
from harmbench.results.records import Structure


class Equivalence(SampledTask):
    """Equivalence classes: (a, b) -> same or different modulo 5, 1,600 items, 2 tokens, vocabulary 42.

    A task of arXiv 2502.01628. Tokens are the `numbers` below 40, then `same` and `different`: 40 and 41. In 80 % of
    the items the answer is `different`, so always predicting it has this accuracy.

    >>> inputs, targets = Equivalence().items()
    >>> inputs[12].tolist(), targets[12].item(), (targets == 41).float().mean().item()
    ([0, 12], 41, 0.8...)
    """

    name: ClassVar[str] = "equivalence"

    numbers: int = Field(default=40, ge=4, le=1000)
    modulus: int = Field(default=5, ge=2)

    @property
    def vocabulary(self) -> int:
        return self.numbers + 2

    def labels(self) -> tuple[str, ...]:
        return (*map(str, range(self.numbers)), "same", "different")

    def shades(self) -> tuple[int, ...]:
        """Colors by class. The answers come after the last class."""
        return (*(number % self.modulus for number in range(self.numbers)), self.modulus, self.modulus)

    def structure(self) -> Structure:
        return Structure(shape="equivalence", size=self.modulus, tokens=self.numbers)

    def items(self) -> Items:
        inputs = pairs(self.numbers)
        differs = (inputs[:, 0] - inputs[:, 1]) % self.modulus != 0
        return Items(inputs, self.numbers + differs.to(torch.long))
