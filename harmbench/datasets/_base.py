"""What a data set is: a name, options, and a way to load fixed splits."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Self

from pydantic import Field

from harmbench._torch import torch
from harmbench.registry import Component
from harmbench.results.records import Inputs, ObjectiveKind, Structure

if TYPE_CHECKING:
    from torch import Tensor


class Splits(NamedTuple):
    """Parts of a data set, disjoint unless the data set says otherwise: inputs and class indices int64 (M,).

    Inputs are images, float32 (M, C, H, W), or tokens, int64 (M, T). Tokens are numbered as the classes are: a class is
    a token that may be the answer, and `num_classes` is the size of the vocabulary.

    Of a text, inputs and targets are the same windows (M, T + 1) until a backbone's `objective` makes questions of
    them, (M, T) each; `token_bytes` (V,) is the length of each token, all 0 where nobody knows, and `mask_token` is
    what stands in a masked one's place.
    """

    train_inputs: Tensor
    train_targets: Tensor
    validation_inputs: Tensor
    validation_targets: Tensor
    test_inputs: Tensor
    test_targets: Tensor
    num_classes: int
    token_bytes: Tensor | None = None
    mask_token: int | None = None

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(C, H, W) of one image, or (T, V) of T tokens out of a vocabulary of V."""
        shape = tuple(self.train_inputs.shape[1:])
        return shape if self.train_inputs.is_floating_point() else (*shape, self.num_classes)

    def to(self, device: str | torch.device) -> Self:
        """The same splits on a device."""
        moved = {field: part.to(device) for field, part in self._asdict().items() if hasattr(part, "to")}
        return self._replace(**moved)


class Dataset(Component):
    """Base of all data sets; not itself a data set.

    The split is fixed by the data set. `train_fraction` keeps a stratified share of the training part, drawn with
    the trial's seed, so that the spread over seeds includes the draw of the data; validation and test stay whole.

    Class attributes:
        gives: images or tokens; a plan pairs the data set with backbones that take them.
    """

    gives: ClassVar[Inputs] = "images"

    train_fraction: float = Field(default=1.0, gt=0, le=1)

    def available(self, data_dir: Path) -> str | None:
        """Why the data set cannot be loaded now, in one line that says how to get it; None if it can.

        Looks for files by name only: no torch, nothing read, so it suits listing and planning. Data sets that come
        with a package are always available.

        Args:
            data_dir: folder of data sets.
        """
        return None

    def content(self, data_dir: Path) -> str:
        """Tells one content of the data set from another; empty where its name says it all.

        Part of a trial's id, so that results of changed files are not taken for results of these.

        Args:
            data_dir: folder of data sets.
        """
        return ""

    def known_classes(self, data_dir: Path) -> int | None:
        """K, where it can be told without loading (or importing torch).

        Args:
            data_dir: folder of data sets.
        """
        return None

    def questions(self, objective: ObjectiveKind) -> int:
        """How many rows of features a head gets of one sample: one, but for text."""
        return 1

    def structure(self) -> Structure | None:
        """What its tokens are to each other; None where that is nothing in particular."""
        return None

    def encoder(self, data_dir: Path) -> Callable[[str], list[int]] | None:
        """What turns a text into the numbers of its tokens, as the data set's own text was; None where nobody knows.

        Args:
            data_dir: folder of data sets.
        """
        return None

    @abstractmethod
    def splits(self, data_dir: Path, download: bool) -> Splits:
        """The whole data set in its fixed splits; images standardized with the training part's statistics.

        Args:
            data_dir: folder of data sets.
            download: whether missing files may be fetched.

        Raises:
            DatasetUnavailableError: where the files are missing and may not be, or cannot be, fetched.
        """

    def load(self, data_dir: Path, download: bool, seed: int) -> Splits:
        """The splits, with `train_fraction` of the training part.

        Args:
            data_dir: folder of data sets.
            download: whether missing files may be fetched.
            seed: draws the share; the same for every head at one seed.

        Raises:
            DatasetUnavailableError: where the data are not there.
        """
        splits = self.splits(data_dir, download)
        if self.train_fraction == 1:
            return splits
        kept = stratified_share(self.strata(splits), self.train_fraction, seed)
        return splits._replace(train_inputs=splits.train_inputs[kept], train_targets=splits.train_targets[kept])

    def strata(self, splits: Splits) -> Tensor:
        """The stratum, int64 (M,), of each training sample, of which `train_fraction` keeps equal shares: its class."""
        return splits.train_targets


def leaked_share(splits: Splits) -> float:
    """Share of the test inputs that are training inputs too, bit for bit.

    >>> import torch
    >>> inputs, targets = torch.tensor([[0, 1], [1, 1], [0, 0]]), torch.tensor([1, 0, 0])
    >>> leaked_share(Splits(inputs, targets, inputs, targets, inputs[1:].flip(1), targets[1:], num_classes=2))
    1.0
    """
    known = {sample.numpy().tobytes() for sample in splits.train_inputs}
    return sum(sample.numpy().tobytes() in known for sample in splits.test_inputs) / len(splits.test_inputs)


def stratified_share(targets: Tensor, share: float, seed: int) -> Tensor:
    """Sorted indices of a share of each class, at least one of each.

    Args:
        targets: class indices, or those of other strata, (M,).
        share: between 0 and 1.
        seed: of the draw.

    >>> import torch
    >>> len(stratified_share(torch.tensor([0] * 10 + [1] * 20), 0.1, seed=0))
    3
    """
    generator = torch.Generator().manual_seed(seed)
    kept = []
    for label in sorted(set(targets.tolist())):
        members = (targets == label).nonzero().squeeze(1)
        count = max(1, round(share * len(members)))
        kept.append(members[torch.randperm(len(members), generator=generator)[:count]])
    return torch.cat(kept).sort().values
