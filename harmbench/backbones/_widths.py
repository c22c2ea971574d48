"""Layer widths as an option: `512-256` on the command line, a tuple of numbers in Python."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator


def _widths(value: object) -> tuple[int, ...]:
    parts = value if isinstance(value, tuple | list) else str(value).split("-")
    try:
        widths = tuple(int(str(part)) for part in parts)
    except ValueError:
        raise ValueError(f"must be numbers joined by '-', such as 512-256, got '{value}'") from None
    if not widths or min(widths) < 1:
        raise ValueError(f"must be numbers of at least 1, got '{value}'")
    return widths


Widths = Annotated[tuple[int, ...], BeforeValidator(_widths)]
