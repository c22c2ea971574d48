"""Which of two numbers is the greater."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from harmbench._torch import torch
from harmbench.datasets._tasks import Items, SampledTask, pairs
from harmbench.results.records import Structure


class GreaterThan(SampledTask):
    """Greater than: (a, b) -> whether a > b, 900 items, 2 tokens, vocabulary 32.

    A task of arXiv 2502.01628. Tokens are the `numbers` below 30, then `no` and `yes`: 30 and 31. The answer is `no` in
    52 % of the items.

    >>> inputs, targets = GreaterThan().items()
    >>> inputs[150].tolist(), targets[150].item()
    ([5, 0], 31)
    """

    name: ClassVar[str] = "greater_than"

    numbers: int = Field(default=30, ge=4, le=1000)

    @property
    def vocabulary(self) -> int:
        return self.numbers + 2

    def labels(self) -> tuple[str, ...]:
        return (*map(str, range(self.numbers)), "no", "yes")

    def structure(self) -> Structure:
        return Structure(shape="order", size=self.numbers, tokens=self.numbers)

    def items(self) -> Items:
        inputs = pairs(self.numbers)
        return Items(inputs, self.numbers + (inputs[:, 0] > inputs[:, 1]).to(torch.long))
