"""The source of Python's standard library, as text."""

from __future__ import annotations

import platform
import sysconfig
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from harmbench.datasets._text import TextDataset

_LEFT_OUT = {"site-packages", "test", "tests", "idle_test", "encodings", "__pycache__"}


class Stdlib(TextDataset):
    """Text that every machine has: the source files of the standard library of the Python that runs, without
    tests and without tables of encodings, most of which are copies of each other.

    About 11 MB of code, comments and docstrings. A document is a file. Its content depends on the version of Python,
    which is part of a trial's id. Runs under different versions are not compared.

    >>> Stdlib(length=64).vocabulary
    4096
    """

    name: ClassVar[str] = "stdlib"

    def source(self, data_dir: Path) -> str:
        return f"{platform.python_implementation()} {platform.python_version()}"

    def documents(self, data_dir: Path, download: bool) -> Iterator[str]:
        folder = Path(sysconfig.get_paths()["stdlib"])
        for path in sorted(folder.rglob("*.py")):
            if not _LEFT_OUT.intersection(path.relative_to(folder).parts[:-1]):
                with tokenize.open(path) as file:  # the encoding that the file says it has
                    yield file.read()
