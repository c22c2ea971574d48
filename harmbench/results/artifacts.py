"""Small arrays of each trial that plots are drawn from: `artifacts/ID.npz` in the run's folder.

A trial writes its file atomically before its record is appended. Only plots read the file. Plots report a missing file,
which is normal for older runs and for suites without `artifacts`.

    class_weights   (K, N)  class centers, or rows of a linear head; `image_shape` where they stand on pixels
    confusion       (K, K)  numbers of test samples, by true class and predicted class
    embedding       (V, N)  the rows of a token embedding; with `token_labels`, `token_shades`, `token_links` (L, 2)
    features        (M, N)  of held-out samples, at most 512, float32; the same samples for every head and seed
    spectrum        (min(M, N),)  singular values of the centered held-out features, largest first
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
FOLDER = "artifacts"
MAX_BYTES = 8 * 2**20  # limit on the sum of a trial's arrays


def save(folder: Path, trial: str, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write a trial's arrays.

    The largest arrays are left out until the rest are within the limit. Their names are stored in `left_out`.

    Args:
        folder: the run's folder.
        trial: the trial's id.
        arrays: arrays of numbers or texts by name.

    Raises:
        ValueError: if an array holds objects.
    """
    kept = dict(arrays)
    left_out: list[str] = []
    while sum(array.nbytes for array in kept.values()) > MAX_BYTES:
        largest = max(kept, key=lambda name: kept[name].nbytes)
        left_out.append(largest)
        del kept[largest]
    if left_out:
        kept["left_out"] = np.array(left_out)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **kept)
    path = _path(folder, trial)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        file.write(buffer.getvalue())
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def load(folder: Path, trial: str) -> Arrays:
    """Return a trial's arrays by name, or an empty dict if its file is missing or unreadable.

    >>> load(Path("nowhere"), "0123456789ab")
    {}
    """
    path = _path(folder, trial)
    if not path.exists():
        return {}
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return {}


def _path(folder: Path, trial: str) -> Path:
    return folder / FOLDER / f"{trial}.npz"
