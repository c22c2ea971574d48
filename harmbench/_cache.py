"""The user's cache folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_folder(base_folder: str) -> Path:
    """harmbench's folder for compiled libraries and tokenized texts.

    Args:
        base_folder: the cache folder of the user, from XDG_CACHE_HOME. If empty, the platform's default.
    """
    if base_folder:
        base = Path(base_folder)
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        base = Path.home() / ".cache"
    return base / "harmbench"
