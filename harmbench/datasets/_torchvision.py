"""Base class of data sets read through torchvision: finding files, fetching them, one-line errors."""

from __future__ import annotations

import os
import pickle
from abc import abstractmethod
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from filelock import FileLock

from harmbench._torch import torch
from harmbench._torchvision import import_torchvision
from harmbench.datasets._base import Dataset, Splits
from harmbench.datasets._parts import Part, Scaling, carve, in_unit_range, standardized
from harmbench.errors import DatasetUnavailableError

if TYPE_CHECKING:
    from torch import Tensor

VALIDATION_SHARE = 0.1

# What torchvision raises on files that are missing, cut short or changed, and on downloads that fail. Index and
# key errors come from its parsers; URLError and PermissionError are OSErrors.
_FAILURES = (RuntimeError, OSError, EOFError, ValueError, TypeError, AssertionError, LookupError, pickle.PickleError)


class TorchvisionDataset(Dataset):
    """Base class of data sets that torchvision reads, with its test set. Validation is 10 % of its training set."""

    source: ClassVar[str]  # torchvision's class
    folder: ClassVar[str]  # where torchvision keeps the files, below the data folder
    files: ClassVar[tuple[str, ...]]
    num_classes: ClassVar[int]

    scaling: Scaling = "standard"

    def available(self, data_dir: Path) -> str | None:
        folder = data_dir / self.folder
        missing = [file for file in self.files if not (folder / file).is_file()]
        if not missing:
            return None
        return f"data set '{self.name}' is not in {folder} ({missing[0]} is missing); {self._how_to_get(data_dir)}"

    def known_classes(self, data_dir: Path) -> int:
        return self.num_classes

    def splits(self, data_dir: Path, download: bool) -> Splits:
        reason = self.available(data_dir)
        if reason and not download:
            raise DatasetUnavailableError(reason)
        try:
            with _one_at_a_time(data_dir / f".{self.name}.lock") if download else nullcontext():
                official = [self._official(data_dir, train, download) for train in (True, False)]
        except _FAILURES as error:
            raise DatasetUnavailableError(self._what_went_wrong(data_dir, download, error)) from error
        train, validation = carve(official[0], VALIDATION_SHARE)
        if self.scaling == "unit":
            return in_unit_range(train, validation, official[1], self.num_classes, brightest=255)
        return standardized(train, validation, official[1], self.num_classes, self.name)

    def _official(self, data_dir: Path, train: bool, download: bool) -> Part:
        read = getattr(import_torchvision().datasets, self.source)(data_dir, train=train, download=download)
        part = Part(self.to_pixels(read.data), torch.as_tensor(read.targets))
        classes = sorted(set(part.targets.tolist()))
        if len(part.pixels) != len(part.targets) or classes != list(range(self.num_classes)):
            raise ValueError(f"{len(part.pixels)} images, {len(part.targets)} labels, {len(classes)} classes")
        return part

    @staticmethod
    @abstractmethod
    def to_pixels(data: Any) -> Tensor:
        """Torchvision's array as uint8 (M, C, H, W)."""

    def _how_to_get(self, data_dir: Path) -> str:
        return f"get it with `harmbench run SUITE --datasets {self.name} --data-dir {data_dir} --download`"

    def _what_went_wrong(self, data_dir: Path, download: bool, error: BaseException) -> str:
        cause = " ".join(f"{type(error).__name__}: {error}".split())
        if download and self.available(data_dir):
            return f"data set '{self.name}' could not be downloaded to {data_dir}: {cause}"
        remedy = f"delete {data_dir / self.folder}, then {self._how_to_get(data_dir)}"
        return f"data set '{self.name}' has damaged files in {data_dir / self.folder} ({cause}); {remedy}"


def _one_at_a_time(lock: Path) -> AbstractContextManager[object]:
    """Keeps two processes from fetching the same files. A read-only folder needs no lock."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(lock) if os.access(lock.parent, os.W_OK) else nullcontext()
