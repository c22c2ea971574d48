"""Texts of the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from harmbench.datasets._text import TextDataset
from harmbench.errors import DatasetUnavailableError, UsageError

if TYPE_CHECKING:
    from datasets import DatasetDict

_OFFICIAL = ("train", "validation", "test")


class Hub(TextDataset):
    """A text of the Hugging Face hub, `hub:NAME`, such as `hub:wikitext[config=wikitext-2-raw-v1]`, or a folder.

    Read through the `datasets` library. `column` holds the text, and a row is a document. The source's training,
    validation and test part are used if it has all three. Otherwise its documents are split. Tokens are those of a
    byte-level BPE that is trained here, `vocabulary` of them. Code of the hub's is never run. Needs `pip install
    'harmbench[language]'`.

    >>> str(Hub(path="wikitext", config="wikitext-2-raw-v1"))
    'hub:wikitext[config=wikitext-2-raw-v1]'
    """

    name: ClassVar[str] = "hub"
    argument: ClassVar[str | None] = "path"
    can_be_fetched: ClassVar[bool] = True

    path: str
    config: str = ""
    column: str = "text"

    def available(self, data_dir: Path) -> str | None:
        if problem := super().available(data_dir):
            return problem
        if Path(self.path).is_dir() or self.token_file(data_dir).exists():
            return None
        return f"data set '{self}' is not here; get it with `harmbench run SUITE --datasets {self} --download`"

    def parts(self, data_dir: Path, download: bool) -> tuple[list[str], list[str], list[str]]:
        loaded = self._loaded(data_dir)
        if all(part in loaded for part in _OFFICIAL):
            train, validation, test = (list(self._texts(loaded[part])) for part in _OFFICIAL)
            return train, validation, test
        return super().parts(data_dir, download)

    def documents(self, data_dir: Path, download: bool) -> Iterator[str]:
        for part in self._loaded(data_dir).values():
            yield from self._texts(part)

    def _texts(self, part: Any) -> Iterator[str]:
        if self.column not in part.column_names:
            raise UsageError(f"data set '{self}': no column '{self.column}' (there is: {', '.join(part.column_names)})")
        return (text for text in part[self.column] if text.strip())

    def _loaded(self, data_dir: Path) -> DatasetDict:
        from datasets import DatasetDict, load_dataset

        try:
            loaded = load_dataset(self.path, self.config or None, cache_dir=str(data_dir / "hub"))
        except (OSError, ValueError, ConnectionError) as error:
            message = " ".join(str(error).split())
            raise DatasetUnavailableError(f"data set '{self}' could not be loaded: {message}") from None
        assert isinstance(loaded, DatasetDict)
        return loaded
