"""Checkpoints: the state of a trial in the middle of its training, in the run's folder.

    checkpoints/ID.json      step, file and checksum of the state, replaced at once when that file is complete on disk
    checkpoints/ID-STEP.pt   the state: numbers, texts, lists, dicts and tensors

A trial writes its own checkpoints and reads the last one when it resumes. The run discards them when the trial's record
is stored. Reading runs no code from the file. A checkpoint that is damaged, or that belongs to another trial or format,
is renamed and not used.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import sys
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from harmbench._torch import torch

FOLDER = "checkpoints"
FORMAT = 1
ASIDE = ".aside"


class Checkpoint(NamedTuple):
    """State of a training, and its origin.

    Attributes:
        step: the last step taken.
        environment: id of the environment that wrote it.
        resumed: steps from which the trial had resumed before.
        state: as it was saved.
    """

    step: int
    environment: str
    resumed: tuple[int, ...]
    state: dict[str, Any]


def save(folder: Path, trial: str, checkpoint: Checkpoint) -> None:
    """Replace the trial's checkpoint, completely or not at all.

    Args:
        folder: the run's folder.
        trial: id of the trial.
        checkpoint: its state consists of plain values and tensors.
    """
    directory = folder / FOLDER
    directory.mkdir(parents=True, exist_ok=True)
    content = directory / f"{trial}-{checkpoint.step}.pt"
    _write(content, lambda file: torch.save(checkpoint.state, file))
    description = {
        "format": FORMAT,
        "trial": trial,
        "step": checkpoint.step,
        "environment": checkpoint.environment,
        "resumed": checkpoint.resumed,
        "file": content.name,
        "sha256": _checksum(content),
    }
    _write(directory / f"{trial}.json", lambda file: file.write(json.dumps(description).encode()))
    for older in directory.glob(f"{trial}-*.pt"):
        if older != content:
            older.unlink()


def load(folder: Path, trial: str) -> Checkpoint | None:
    """Return the trial's checkpoint, on the CPU, or None where there is no usable one."""
    path = folder / FOLDER / f"{trial}.json"
    if not path.exists():
        return None
    try:
        description = json.loads(path.read_bytes())
        if (description["format"], description["trial"]) != (FORMAT, trial):
            raise ValueError("of another trial or version")
        content = path.with_name(Path(description["file"]).name)
        if _checksum(content) != description["sha256"]:
            raise ValueError("damaged: it fails its checksum")
        state = torch.load(content, map_location="cpu", weights_only=True)
        return Checkpoint(description["step"], description["environment"], tuple(description["resumed"]), state)
    except pickle.UnpicklingError:
        set_aside(folder, trial, "it holds more than plain values")
        return None
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        set_aside(folder, trial, _one_line(error))
        return None


def set_aside(folder: Path, trial: str, why: str) -> None:
    """Rename an unusable checkpoint, and write one line to stderr."""
    directory = folder / FOLDER
    path = directory / f"{trial}.json"
    sys.stderr.write(
        f"harmbench: checkpoint {path} cannot be used ({why}); set aside as {path.name}{ASIDE}, the trial starts from "
        "the beginning\n"
    )
    for file in (path, *directory.glob(f"{trial}-*.pt")):
        file.replace(f"{file}{ASIDE}")


def discard(folder: Path, trial: str) -> None:
    """Remove the checkpoint of a finished trial, with incomplete and renamed ones."""
    directory = folder / FOLDER
    for file in (directory / f"{trial}.json", *directory.glob(f"{trial}-*.pt*"), *directory.glob(f"{trial}.json.*")):
        file.unlink(missing_ok=True)
    if directory.is_dir() and not any(directory.iterdir()):
        directory.rmdir()


def _write(path: Path, fill: Any) -> None:
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        fill(file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _checksum(path: Path) -> str:
    file: BinaryIO
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
