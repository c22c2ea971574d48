"""The user's cache folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_folder(asked: str) -> Path:
    """Where compiled libraries and tokenized texts live: in the folder asked for (by XDG_CACHE_HOME), or the platform's
    cache folder."""
    if asked:
        base = Path(asked)
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        base = Path.home() / ".cache"
    return base / "harmbench"
