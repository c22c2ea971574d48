"""Your own images, in folders."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, field_validator

from harmbench._torch import torch
from harmbench._torchvision import import_torchvision
from harmbench.datasets._base import Dataset, Splits
from harmbench.datasets._parts import Part, carve, in_three, standardized
from harmbench.errors import DatasetUnavailableError, UsageError
from harmbench.results.records import fingerprint

if TYPE_CHECKING:
    from torch import Tensor

_VALIDATION_NAMES = ("val", "valid", "validation")


class Folder(Dataset):
    """Images of yours: `folder:PATH`, one subfolder a class, read through torchvision's ImageFolder.

    If PATH holds `train/` and `test/` with the classes inside, these are the parts. Validation is `val/` if present,
    else a stratified 10 % of train. Otherwise PATH holds the classes, split 60 / 20 / 20 %, stratified and fixed. Every
    image is resized to `size` x `size` (its proportions are not kept) in `channels` channels, 1 or 3, and all of them
    are held in memory as float32 tensors, at most `memory_bound` bytes (4 GiB).

    >>> from pathlib import Path
    >>> Folder(path="/nowhere").available(Path("data"))
    "data set 'folder:/nowhere' is not there: no folder /nowhere; give one with a subfolder for each class"
    """

    name: ClassVar[str] = "folder"
    argument: ClassVar[str | None] = "path"
    memory_bound: ClassVar[int] = 4 * 2**30

    path: str
    size: int = Field(default=32, ge=1, le=1024)
    channels: int = 3

    @field_validator("channels")
    @classmethod
    def _gray_or_color(cls, channels: int) -> int:
        if channels not in (1, 3):
            raise ValueError(f"must be 1 (gray) or 3 (color), got {channels}")
        return channels

    def available(self, data_dir: Path) -> str | None:
        root = self._root()
        if not root.is_dir():
            lack = f"no folder {root}"
        elif not _subfolders(root):
            lack = f"{root} holds no folders"
        else:
            return None
        return f"data set '{self}' is not there: {lack}; give one with a subfolder for each class"

    def content(self, data_dir: Path) -> str:
        """Names, sizes and times of all files."""
        root = self._root()
        files = []
        for path in sorted(root.rglob("*")):
            if path.is_file():
                stat = path.stat()
                files.append((str(path.relative_to(root)), stat.st_size, stat.st_mtime_ns))
        return fingerprint(files)

    def known_classes(self, data_dir: Path) -> int | None:
        folder = self._root()
        if _subfolders(folder / "train"):
            folder = folder / "train"
        if not folder.is_dir():
            return None
        return sum(entry.is_dir() for entry in folder.iterdir())

    def splits(self, data_dir: Path, download: bool) -> Splits:
        """The images in their fixed splits.

        Args:
            data_dir: not used; the path stands for itself.
            download: not used.

        Raises:
            DatasetUnavailableError: where the folder, or the images of a class, are missing or unreadable.
            UsageError: where a class has too few images, the parts differ in classes, or all would not fit in memory.
        """
        reason = self.available(data_dir)
        if reason:
            raise DatasetUnavailableError(reason)
        folders = self._folders()
        self._check_classes(folders)
        self._check_memory(folders)
        parts = {name: self._read(folder) for name, folder in folders.items()}
        if "all" in parts:
            train, validation, test = in_three(parts["all"])
        elif "validation" in parts:
            train = parts["train"]
            validation = parts["validation"]
            test = parts["test"]
        else:
            (train, validation), test = carve(parts["train"], 0.1), parts["test"]
        return standardized(train, validation, test, len(next(iter(folders.values())).classes), str(self))

    def _root(self) -> Path:
        return Path(self.path).expanduser()

    def _folders(self) -> dict[str, Any]:
        """ImageFolders by part: `all`, or `train`, `test` and perhaps `validation`."""
        root = self._root()
        # A class may well be called "train": it is a part only if the classes are inside.
        if not _subfolders(root / "train"):
            return {"all": self._open(root)}
        if not (root / "test").is_dir():
            raise UsageError(f"{self}: {root} has train/ but no test/; name the part held out to the end test/")
        folders = {part: self._open(root / part) for part in ("train", "test")}
        for name in _VALIDATION_NAMES:
            if (root / name).is_dir():
                folders["validation"] = self._open(root / name)
        return folders

    def _open(self, folder: Path) -> Any:
        try:
            return import_torchvision().datasets.ImageFolder(folder, loader=self._pixels)
        except OSError as error:  # no class folders, or one without images
            raise DatasetUnavailableError(f"data set '{self}': {folder}: {' '.join(str(error).split())}") from error

    def _check_classes(self, folders: dict[str, Any]) -> None:
        # With fewer images, a split leaves a class without images.
        needed = {"all": 5, "train": 2, "test": 1, "validation": 1}
        if "validation" in folders:
            needed["train"] = 1
        classes = next(iter(folders.values())).classes
        if len(classes) < 2:
            raise UsageError(f"{self}: found one class only, '{classes[0]}'")
        for part, folder in folders.items():
            if folder.classes != classes:
                odd = ", ".join(sorted(set(folder.classes) ^ set(classes)))
                raise UsageError(f"{self}: {folder.root} has other classes than {self.path}/train (differing: {odd})")
            label, fewest = min(Counter(folder.targets).items(), key=lambda item: item[1])
            if fewest < needed[part]:
                raise UsageError(
                    f"{self}: class '{classes[label]}' has too few images in {folder.root}: "
                    f"{fewest}, and it takes at least {needed[part]}"
                )

    def _check_memory(self, folders: dict[str, Any]) -> None:
        count = sum(len(folder) for folder in folders.values())
        needed = count * self.channels * self.size**2 * 4
        if needed > self.memory_bound:
            raise UsageError(
                f"{self}: {count:,} images of {self.channels}x{self.size}x{self.size} take {needed / 2**30:.2f} GiB as "
                f"float32, over the bound of {self.memory_bound / 2**30:.2f} GiB; choose a smaller size or fewer images"
            )

    def _read(self, folder: Any) -> Part:
        pixels = torch.stack([folder.loader(path) for path, _ in folder.samples])
        return Part(pixels, torch.tensor(folder.targets))

    def _pixels(self, path: str) -> Tensor:
        """One image, uint8 (C, H, W)."""
        from PIL import Image
        from torchvision.transforms.functional import pil_to_tensor

        mode = "L" if self.channels == 1 else "RGB"
        try:
            with Image.open(path) as image:
                resized = image.convert(mode).resize((self.size, self.size))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise DatasetUnavailableError(f"data set '{self}': cannot read the image {path}: {error}") from error
        tensor: Tensor = pil_to_tensor(resized)
        return tensor


def _subfolders(folder: Path) -> bool:
    return folder.is_dir() and any(entry.is_dir() for entry in folder.iterdir())
