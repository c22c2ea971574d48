"""Tokens in files, as nanoGPT writes them."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from harmbench._torch import torch
from harmbench.datasets._base import Splits
from harmbench.datasets._text import TokenWindows
from harmbench.errors import DatasetUnavailableError, UsageError
from harmbench.results.records import fingerprint

_FILES = ("train.bin", "val.bin")


class Bins(TokenWindows):
    """Tokens in nanoGPT's files: `bins:PATH`, a folder with `train.bin` and `val.bin`, uint16, such as OpenWebText in
    GPT-2's tokens.

    Validation is the first half of `val.bin`, test the second. `vocabulary` is 50,304, that of GPT-2 rounded up. `mask`
    is the first number that GPT-2 leaves unused. At most `train_windows` windows are used for training, evenly spread.
    The files do not give the length of tokens in bytes: there are no bits per byte.

    >>> Bins(path="/nowhere").available(Path("data"))
    "data set 'bins:/nowhere' is not there: no file /nowhere/train.bin"
    """

    name: ClassVar[str] = "bins"
    argument: ClassVar[str | None] = "path"

    path: str
    vocabulary: int = Field(default=50304, ge=2, le=2**16)
    length: int = Field(default=1024, ge=2)
    mask: int = Field(default=50257, ge=0)
    train_windows: int = Field(default=2**19, ge=1)

    def available(self, data_dir: Path) -> str | None:
        missing = [file for file in self._files() if not file.is_file()]
        if not missing:
            return None
        return f"data set '{self}' is not there: no file {missing[0]}"

    def known_classes(self, data_dir: Path) -> int:
        return self.vocabulary

    def content(self, data_dir: Path) -> str:
        if self.available(data_dir):
            return ""  # a plan can be made without them; a run needs them
        stats = [(file, file.stat()) for file in self._files()]
        return fingerprint([(str(file), stat.st_size, stat.st_mtime_ns) for file, stat in stats])

    def splits(self, data_dir: Path, download: bool) -> Splits:
        import numpy as np

        from harmbench.datasets._tokenized import spread, windows

        problem = self.available(data_dir)
        if problem:
            raise DatasetUnavailableError(problem)
        streams = [np.memmap(file, dtype=np.uint16, mode="c") for file in self._files()]
        train, held_out = (torch.from_numpy(stream) for stream in streams)
        validation, test = held_out.chunk(2)
        train = spread(windows(train, self.length), self.train_windows).long()
        validation = spread(windows(validation, self.length), self.held_out).long()
        test = spread(windows(test, self.length), self.held_out).long()
        parts = (train, validation, test)
        if not all(len(part) for part in parts):
            raise UsageError(f"data set '{self}': too few tokens for a window of {self.length} in each part")
        largest = max(int(part.max()) for part in parts)
        if largest >= self.vocabulary:
            raise UsageError(f"data set '{self}': token {largest} is outside the vocabulary of {self.vocabulary}")
        unknown = torch.zeros(self.vocabulary, dtype=torch.long)
        return Splits(train, train, validation, validation, test, test, self.vocabulary, unknown, self.mask)

    def _files(self) -> list[Path]:
        return [Path(self.path).expanduser() / name for name in _FILES]
