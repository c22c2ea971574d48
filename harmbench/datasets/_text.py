"""Text for language models: documents, split before anything else, then tokens of a byte-level BPE, in windows.

Equal documents count once. A hash of its content puts each whole document into the training (90 %), validation (5 %) or
test part (5 %). The tokenizer is trained on the training part only.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, ValidationInfo, field_validator

from harmbench._cache import cache_folder
from harmbench._torch import torch
from harmbench.datasets._base import Dataset, Splits
from harmbench.errors import DatasetUnavailableError, UsageError
from harmbench.results.records import MASKED_SHARE, Inputs, ObjectiveKind, fingerprint

if TYPE_CHECKING:
    from torch import Tensor

    from harmbench.datasets._tokenized import Text

FORMAT = 2  # of the cached files; part of their names


class TokenWindows(Dataset):
    """Base class of text data sets: windows of `length` tokens.

    Each input is one token longer than the window, so that every token but a part's first is predicted once.
    Neighboring windows share that token, and documents follow one another, each behind an end mark, as language models
    are trained. Backbones choose the targets: the next token for causal models, masked tokens for masked models. The
    validation and test part use at most `held_out` windows each, evenly spread.
    """

    gives: ClassVar[Inputs] = "text"

    length: int = Field(default=128, ge=2)
    held_out: int = Field(default=512, ge=1)

    def targets_per_sample(self, objective: ObjectiveKind) -> int:
        return asked_of(self.length, objective)

    def strata(self, splits: Splits) -> Tensor:
        return torch.zeros(len(splits.train_inputs), dtype=torch.long)


def asked_of(length: int, objective: ObjectiveKind) -> int:
    """Number of tokens of a window to be predicted.

    >>> asked_of(128, "next"), asked_of(128, "masked")
    (128, 19)
    """
    if objective == "masked":
        return max(1, round(MASKED_SHARE * length))
    return length


class TextDataset(TokenWindows):
    """Base class of texts whose documents are available. `vocabulary` is the largest number of tokens.

    `tokenizer` names an existing tokenizer, as pretrained weights need: a folder that `save_pretrained` wrote, a
    `tokenizer.json`, or a name on the Hugging Face hub.

    Held-out windows that also occur in the training part, such as copied passages, are removed.

    Class attributes:
        can_be_fetched: whether missing data may be downloaded.
    """

    can_be_fetched: ClassVar[bool] = False

    vocabulary: int = Field(default=4096, ge=260, le=2**20)
    tokenizer: str = ""

    @field_validator("tokenizer")
    @classmethod
    def _brings_its_vocabulary(cls, tokenizer: str, info: ValidationInfo) -> str:
        if tokenizer and info.data.get("vocabulary", 4096) != 4096:
            raise ValueError("brings its own vocabulary; leave out the option vocabulary")
        return tokenizer

    @abstractmethod
    def documents(self, data_dir: Path, download: bool) -> Iterable[str]:
        """Return the documents, in any order and possibly with duplicates."""

    def source(self, data_dir: Path) -> str:
        """Return a fingerprint of the documents, without the options."""
        return ""

    def content(self, data_dir: Path) -> str:
        return fingerprint([FORMAT, self.source(data_dir), self._tokenizer_content()])

    def _tokenizer_content(self) -> str:
        from harmbench.datasets import _existing_tokenizer

        if not self.tokenizer:
            return ""
        return _existing_tokenizer.content(self.tokenizer)

    def known_classes(self, data_dir: Path) -> int | None:
        from harmbench.datasets import _existing_tokenizer

        if not self.tokenizer:
            return self.vocabulary
        return _existing_tokenizer.known_size(self.tokenizer)

    def available(self, data_dir: Path) -> str | None:
        from importlib.util import find_spec

        if find_spec("tokenizers") is None:
            return f"data set '{self}' needs the package tokenizers: pip install 'harmbench[language]'"
        return None

    def splits(self, data_dir: Path, download: bool) -> Splits:
        from harmbench.datasets._tokenized import PARTS, spread, unseen, windows

        text = self.text(data_dir, download)
        streams = [torch.from_numpy(tokens.astype("int64")) for tokens in text[:3]]
        train, validation, test = (windows(stream, self.length) for stream in streams)
        validation = spread(unseen(validation, train), self.held_out)
        test = spread(unseen(test, train), self.held_out)
        parts = zip(PARTS, (train, validation, test), strict=True)
        empty = [name for name, part in parts if not len(part)]
        if empty:
            raise UsageError(f"data set '{self}': no window of {self.length} tokens in its {' and '.join(empty)} part")
        lengths = torch.from_numpy(text.token_bytes.astype("int64"))
        train = train.contiguous()
        mask = None if text.mask < 0 else text.mask
        return Splits(train, train, validation, validation, test, test, len(lengths), lengths, mask)

    def encoder(self, data_dir: Path) -> Callable[[str], list[int]]:
        from harmbench.datasets._tokenized import encoder

        return encoder(self.text(data_dir, download=False).tokenizer)

    def text(self, data_dir: Path, download: bool) -> Text:
        """Return the tokens, from the cache if it has them.

        Raises:
            DatasetUnavailableError: if a package is missing.
            UsageError: if there are too few documents, or the cache folder cannot be written.
        """
        from harmbench.datasets._tokenized import cached

        problem = self.available(data_dir)
        if problem and not (download and self.can_be_fetched):
            raise DatasetUnavailableError(problem)
        path = self.token_file(data_dir)
        try:
            return cached(path, lambda: self._made(data_dir, download))
        except OSError as error:
            raise UsageError(
                f"tokens of '{self}' cannot be stored in {path.parent} ({error.strerror}); set XDG_CACHE_HOME to a "
                "folder that can be written"
            ) from None

    def token_file(self, data_dir: Path) -> Path:
        """Path of the cached tokens. Its name has a hash of all options that they depend on."""
        options = {k: v for k, v in self if k not in ("length", "held_out", "train_fraction")}
        key = fingerprint([FORMAT, self.source(data_dir), self._tokenizer_content(), options])
        return cache_folder(os.environ.get("XDG_CACHE_HOME", "")) / "texts" / f"{self.name}-{key}.npz"

    def parts(self, data_dir: Path, download: bool) -> tuple[list[str], list[str], list[str]]:
        """The documents of the training, validation and test part."""
        from harmbench.datasets._tokenized import split

        return split(self.documents(data_dir, download))

    def _made(self, data_dir: Path, download: bool) -> Text:
        from harmbench.datasets import _existing_tokenizer
        from harmbench.datasets._tokenized import END, MASK, Text, encode, token_bytes, train_tokenizer

        parts = self.parts(data_dir, download)
        if not all(parts):
            raise UsageError(f"data set '{self}': too few different documents, {sum(map(len, parts))}, for three parts")
        if self.tokenizer:
            tokenizer, end, mask = _existing_tokenizer.load(self.tokenizer, download)
        else:
            tokenizer = train_tokenizer(parts[0], self.vocabulary)
            end = END
            mask = MASK
        if mask is None:
            mask = -1
        train, validation, test = (encode(tokenizer, part, end) for part in parts)
        return Text(train, validation, test, token_bytes(tokenizer), tokenizer.to_str(), mask)
