"""Keeps the current folder out of Python's import path, so that a user's `random.py` cannot break a trial.

The folder stays if harmbench itself is imported from there, as in a checkout that is not installed. This module imports
nothing that imports `random`, because it runs before the folder is gone.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

_HOME = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))  # noqa: PTH120 - pathlib imports too much


def _without_current_folder(entries: Iterable[str]) -> list[str]:
    """The entries of an import path. An empty entry is the current folder."""
    here = os.path.realpath(os.curdir)
    return [entry for entry in entries if here == _HOME or os.path.realpath(entry or os.curdir) != here]


def drop_current_folder() -> None:
    """Remove the current folder from the import path of this process."""
    sys.path[:] = _without_current_folder(sys.path)


@contextmanager
def python_without_current_folder() -> Iterator[None]:
    """Let Python processes that start in this context, and all that they start, leave the current folder out."""
    before = {name: os.environ.get(name) for name in ("PYTHONSAFEPATH", "PYTHONPATH")}
    if os.path.realpath(os.curdir) != _HOME:
        os.environ["PYTHONSAFEPATH"] = "1"
    if before["PYTHONPATH"]:
        os.environ["PYTHONPATH"] = os.pathsep.join(_without_current_folder(before["PYTHONPATH"].split(os.pathsep)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
