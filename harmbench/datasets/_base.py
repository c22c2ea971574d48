"""Base class of data sets: options, and methods to load fixed splits."""

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

    For text, inputs and targets are the same windows (M, T + 1). A backbone's `objective` then makes inputs and targets
    (M, T) from them. `token_bytes` (V,) is the length of each token in bytes, all 0 if unknown. `mask_token` is the
    number of the mask token.
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
        if self.train_inputs.is_floating_point():
            return shape
        return *shape, self.num_classes

    def to(self, device: str | torch.device) -> Self:
        """The same splits on a device."""
        moved = {field: part.to(device) for field, part in self._asdict().items() if hasattr(part, "to")}
        return self._replace(**moved)


class Dataset(Component):
    """Base class of all data sets.

    The split is fixed by the data set. `train_fraction` keeps a stratified share of the training part, drawn with
    the trial's seed, so the spread over seeds includes the draw of the data. Validation and test stay whole.

    Class attributes:
        gives: images, tokens or text. A plan pairs the data set with backbones that take them.
    """

    gives: ClassVar[Inputs] = "images"

    train_fraction: float = Field(default=1.0, gt=0, le=1)

    def available(self, data_dir: Path) -> str | None:
        """Return why the data set cannot be loaded, in one line that says how to get it, or None if it can.

        Checks file names only, without torch and without reading files, so it suits listing and planning.

        Data sets that come with a package are always available.

        Args:
            data_dir: folder of data sets.
        """
        return None

    def content(self, data_dir: Path) -> str:
        """Return a fingerprint of the data set's content, or "" if the name is enough.

        Part of a trial's id, so that results of changed files are not taken for results of these.

        Args:
            data_dir: folder of data sets.
        """
        return ""

    def known_classes(self, data_dir: Path) -> int | None:
        """Return K, the number of classes, or None if it is unknown without loading the data or torch.

        Args:
            data_dir: folder of data sets.
        """
        return None

    def targets_per_sample(self, objective: ObjectiveKind) -> int:
        """Return the number of targets of one sample: one, except for text."""
        return 1

    def structure(self) -> Structure | None:
        """Return the structure of its tokens, such as a circle, or None if there is none."""
        return None

    def encoder(self, data_dir: Path) -> Callable[[str], list[int]] | None:
        """Return the data set's tokenizer, a function from a text to token numbers, or None if it has none.

        Args:
            data_dir: folder of data sets.
        """
        return None

    @abstractmethod
    def splits(self, data_dir: Path, download: bool) -> Splits:
        """Return the whole data set in its fixed splits, images standardized with the training part's statistics.

        Args:
            data_dir: folder of data sets.
            download: whether missing files may be fetched.

        Raises:
            DatasetUnavailableError: if files are missing and may not or cannot be fetched.
        """

    def load(self, data_dir: Path, download: bool, seed: int) -> Splits:
        """Return the splits, with `train_fraction` of the training part.

        Args:
            data_dir: folder of data sets.
            download: whether missing files may be fetched.
            seed: seed of the draw, so all heads get the same share.

        Raises:
            DatasetUnavailableError: if the data are not on this machine.
        """
        splits = self.splits(data_dir, download)
        if self.train_fraction == 1:
            return splits
        kept = stratified_share(self.strata(splits), self.train_fraction, seed)
        return splits._replace(train_inputs=splits.train_inputs[kept], train_targets=splits.train_targets[kept])

    def strata(self, splits: Splits) -> Tensor:
        """Return the stratum of each training sample, int64 (M,). `train_fraction` keeps equal shares of strata."""
        return splits.train_targets


def leaked_share(splits: Splits) -> float:
    """Share of the test inputs that are training inputs too, bit for bit.

    >>> import torch
    >>> inputs, targets = torch.tensor([[0, 1], [1, 1], [0, 0]]), torch.tensor([1, 0, 0])
    >>> leaked_share(Splits(inputs, targets, inputs, targets, inputs[1:].flip(1), targets[1:], num_classes=2))
    1.0
    """
    training = {sample.numpy().tobytes() for sample in splits.train_inputs}
    leaked = [sample.numpy().tobytes() in training for sample in splits.test_inputs]
    return sum(leaked) / len(leaked)


def stratified_share(targets: Tensor, share: float, seed: int) -> Tensor:
    """Sorted indices of a share of each class, at least one of each.

    Args:
        targets: class indices, or those of other strata, (M,).
        share: between 0 and 1.
        seed: seed of the draw.

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
