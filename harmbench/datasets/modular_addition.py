"""Addition modulo p."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from harmbench.datasets._tasks import Items, SampledTask, pairs
from harmbench.results.records import Structure


class ModularAddition(SampledTask):
    """Modular addition: (a, b) -> (a + b) mod 31, 961 items, 2 tokens, vocabulary 31.

    The circle task of arXiv 2502.01628, the usual place to look for grokking. `p` is the modulus. (a, b) and (b, a) are
    two items.

    >>> inputs, targets = ModularAddition(p=5).items()
    >>> len(targets), inputs[19].tolist(), targets[19].item()
    (25, [3, 4], 2)
    """

    name: ClassVar[str] = "modular_addition"

    p: int = Field(default=31, ge=4, le=1000)

    @property
    def vocabulary(self) -> int:
        return self.p

    def structure(self) -> Structure:
        return Structure(shape="circle", size=self.p, tokens=self.p)

    def items(self) -> Items:
        inputs = pairs(self.p)
        return Items(inputs, inputs.sum(1) % self.p)
