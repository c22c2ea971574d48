"""What the algorithmic tasks of arXiv 2502.01628 share: every question once, split after, or drawn as its code does.

Items           questions and their answers
TokenTask       all questions of a task, 80 / 10 / 10 %
SampledTask     the same, and `sampling=as_released`, whose test part leaks from the training part
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
    """Questions, int64 (M, T), and their answers, int64 (M,): all tokens of one vocabulary."""

    questions: Tensor
    answers: Tensor

    def at(self, indices: Tensor) -> Items:
        """The items at some indices, in that order."""
        return Items(self.questions[indices], self.answers[indices])


class TokenTask(Dataset):
    """Base of tasks whose questions can be counted through; not itself a data set.

    The split draws from all questions alike, whatever their answer: where an answer has one question only, a
    stratified split could not keep it both in training and out of it. `train_fraction` likewise.
    """

    gives: ClassVar[Inputs] = "tokens"

    @property
    @abstractmethod
    def vocabulary(self) -> int:
        """Number of tokens."""

    @abstractmethod
    def items(self) -> Items:
        """Every question, once."""

    def labels(self) -> tuple[str, ...]:
        """What plots call the tokens; their numbers unless said otherwise."""
        return tuple(map(str, range(self.vocabulary)))

    def shades(self) -> tuple[int, ...]:
        """A number for each token, by which plots color it; its own unless said otherwise."""
        return tuple(range(self.vocabulary))

    def links(self) -> tuple[tuple[int, int], ...]:
        """Pairs of tokens that plots join by a line, to show the task's structure; none unless said otherwise."""
        return ()

    def known_classes(self, data_dir: Path) -> int:
        return self.vocabulary

    def splits(self, data_dir: Path, download: bool) -> Splits:
        everything = self.items()
        order = torch.randperm(len(everything.answers), generator=torch.Generator().manual_seed(SPLIT_SEED))
        tenth = round(len(order) / 10)
        train, validation, test = order[2 * tenth :], order[tenth : 2 * tenth], order[:tenth]
        return Splits(
            *everything.at(train), *everything.at(validation), *everything.at(test), num_classes=self.vocabulary
        )

    def strata(self, splits: Splits) -> Tensor:
        return torch.zeros_like(splits.train_targets)


class SampledTask(TokenTask):
    """Base of tasks that the released code samples; not itself a data set.

    `sampling=as_released` is for measuring what its sampling does: 1,000 draws with replacement, of which 800 train
    and 200 test, so that questions of the test part are in the training part too. Another 200 draws validate.
    """

    sampling: Literal["unique", "as_released"] = "unique"

    def released_items(self) -> Items:
        """What the released code draws from."""
        return self.items()

    def splits(self, data_dir: Path, download: bool) -> Splits:
        if self.sampling == "unique":
            return super().splits(data_dir, download)
        return drawn(self.released_items(), self.vocabulary, torch.Generator().manual_seed(SPLIT_SEED))


def drawn(items: Items, vocabulary: int, generator: torch.Generator) -> Splits:
    """Parts drawn with replacement from the same items, as the released code does; they share questions.

    A test question is in the training part with probability 1 - (1 - 1/M)^800, for M items.

    Args:
        items: to draw from.
        vocabulary: number of tokens.
        generator: of the draws.
    """
    parts = [
        items.at(torch.randint(len(items.answers), (size,), generator=generator))
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
