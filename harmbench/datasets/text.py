"""Your own text, in a file or a folder."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from harmbench.datasets._text import TextDataset
from harmbench.errors import UsageError
from harmbench.results.records import fingerprint

_PIECE = 4096  # characters, at least, of a document cut from a single file
_BLANK = re.compile(r"\n\s*\n")


class LocalText(TextDataset):
    """Text of yours: `text:PATH`, a folder of UTF-8 files, each a document, or one file.

    In a folder, every file with one of the suffixes counts, subfolders included. The default of `suffixes` is
    `.txt-.md`. One file is cut at blank lines into documents of at least 4,096 characters.

    >>> from pathlib import Path
    >>> LocalText(path="/nowhere").available(Path("data"))
    "data set 'text:/nowhere' is not there: no file or folder /nowhere"
    """

    name: ClassVar[str] = "text"
    argument: ClassVar[str | None] = "path"

    path: str
    suffixes: str = ".txt-.md"

    def available(self, data_dir: Path) -> str | None:
        if not self._root().exists():
            return f"data set '{self}' is not there: no file or folder {self._root()}"
        if not self._files():
            return f"data set '{self}' is not there: {self._root()} holds no file with a suffix of {self.suffixes}"
        return super().available(data_dir)

    def source(self, data_dir: Path) -> str:
        """Names, sizes and times of all files."""
        stats = ((path, path.stat()) for path in self._files())
        return fingerprint([(str(path), stat.st_size, stat.st_mtime_ns) for path, stat in stats])

    def documents(self, data_dir: Path, download: bool) -> Iterator[str]:
        for path in self._files():
            try:
                text = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise UsageError(f"data set '{self}': {path} cannot be read as UTF-8 text ({error})") from None
            if self._root().is_file():
                yield from pieces(text)
            else:
                yield text

    def _root(self) -> Path:
        return Path(self.path).expanduser()

    def _files(self) -> list[Path]:
        root = self._root()
        if root.is_file():
            return [root]
        suffixes = self.suffixes.split("-")
        return sorted(path for path in root.rglob("*") if path.suffix in suffixes and path.is_file())


def pieces(text: str, least: int = _PIECE) -> Iterator[str]:
    """A text cut at blank lines into pieces of at least so many characters, but for the last.

    >>> list(pieces("one\\n\\ntwo\\n\\nthree", least=5))
    ['one\\n\\ntwo', 'three']
    """
    start = 0
    for gap in _BLANK.finditer(text):
        if gap.start() - start >= least:
            yield text[start : gap.start()]
            start = gap.end()
    if text[start:].strip():
        yield text[start:]
