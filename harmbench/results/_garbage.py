"""Garbage collection while a large run is read: collector off, and a process exit that frees nothing."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn


@contextmanager
def nothing_to_collect() -> Iterator[None]:
    """Context without the garbage collector, which would scan values again and again that all stay alive."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def end(code: int = 0) -> NoReturn:
    """End the process at once, without freeing its values, which would take a second for millions of them.

    Standard output and error are flushed. Exit handlers do not run.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
