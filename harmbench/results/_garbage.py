"""Work that makes millions of values that all stay: no garbage collector, and no freeing of each at the end."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn


@contextmanager
def nothing_to_collect() -> Iterator[None]:
    """Without the garbage collector, which would look again and again at values that all stay."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def end(code: int = 0) -> NoReturn:
    """End the process at once: freeing millions of values one by one would take a second, for nothing.

    What is registered to happen at its end does not; what was printed is written out.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
