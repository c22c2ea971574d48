"""Base classes of the algorithmic tasks of arXiv 2502.01628.

Items           inputs and their targets
TokenTask       all items of a task, split 80 / 10 / 10 %
SampledTask     in addition `sampling=as_released`, whose test part leaks from the training part
"""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from harmbench._torch import torch
from harmbench.datasets._base import Dataset, Splits
from harmbench.datasets._parts import SPLIT_SEED
from harmbench.results.records import Inputs

if TYPE_CHECKING:
    from torch import Tensor

RELEASED_TRAIN, RELEASED_TEST = 800, 200  # samples of the released experiments


class Items(NamedTuple):
    """Inputs, int64 (M, T), and targets, int64 (M,), as tokens of one vocabulary."""

    inputs: Tensor
    targets: Tensor

    def at(self, indices: Tensor) -> Items:
        """The items at some indices, in that order."""
        return Items(self.inputs[indices], self.targets[indices])


class TokenTask(Dataset):
    """Base class of tasks whose items can be enumerated.

    The split is not stratified by target, since a target with a single item cannot be in two parts. The same holds for
    `train_fraction`.
    """

    gives: ClassVar[Inputs] = "tokens"

    @property
    @abstractmethod
    def vocabulary(self) -> int:
        """Number of tokens."""

    @abstractmethod
    def items(self) -> Items:
        """Return every item once."""

    def labels(self) -> tuple[str, ...]:
        """Return the labels of the tokens in plots, by default their numbers."""
        return tuple(map(str, range(self.vocabulary)))

    def shades(self) -> tuple[int, ...]:
        """Return a number for each token that sets its color in plots, by default its own number."""
        return tuple(range(self.vocabulary))

    def links(self) -> tuple[tuple[int, int], ...]:
        """Return pairs of tokens that plots join by a line, by default none."""
        return ()

    def known_classes(self, data_dir: Path) -> int:
        return self.vocabulary

    def splits(self, data_dir: Path, download: bool) -> Splits:
        everything = self.items()
        generator = torch.Generator().manual_seed(SPLIT_SEED)
        order = torch.randperm(len(everything.targets), generator=generator)
        tenth = round(len(order) / 10)
        train = order[2 * tenth :]
        validation = order[tenth : 2 * tenth]
        test = order[:tenth]
        return Splits(
            *everything.at(train), *everything.at(validation), *everything.at(test), num_classes=self.vocabulary
        )

    def strata(self, splits: Splits) -> Tensor:
        return torch.zeros_like(splits.train_targets)


class SampledTask(TokenTask):
    """Base class of tasks that the released code samples.

    `sampling=as_released` is for measuring what its sampling does: 1,000 draws with replacement, of which 800 train
    and 200 test, so that items of the test part are in the training part too. Another 200 draws validate.
    """

    sampling: Literal["unique", "as_released"] = "unique"

    def released_items(self) -> Items:
        """Return the items that the released code draws from."""
        return self.items()

    def splits(self, data_dir: Path, download: bool) -> Splits:
        if self.sampling == "unique":
            return super().splits(data_dir, download)
        return drawn(self.released_items(), self.vocabulary, torch.Generator().manual_seed(SPLIT_SEED))


def drawn(items: Items, vocabulary: int, generator: torch.Generator) -> Splits:
    """Parts drawn with replacement from the same items, as the released code does. The parts overlap.

    A test item is in the training part with probability 1 - (1 - 1/M)^800, for M items.

    Args:
        items: the items to draw from.
        vocabulary: number of tokens.
        generator: generator of the draws.
    """
    parts = [
        items.at(torch.randint(len(items.targets), (size,), generator=generator))
        for size in (RELEASED_TRAIN, RELEASED_TEST, RELEASED_TEST)
    ]
    return Splits(*parts[0], *parts[1], *parts[2], num_classes=vocabulary)


def pairs(count: int) -> Tensor:
    """All ordered pairs of numbers below `count`, (count^2, 2).

    >>> pairs(2).tolist()
    [[0, 0], [0, 1], [1, 0], [1, 1]]
    """
    numbers = torch.arange(count)
    return torch.cartesian_prod(numbers, numbers)
