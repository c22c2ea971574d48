"""Checkpoints: the state of a trial in the middle of its training, in the run's folder.

    checkpoints/ID.json      step, file and checksum of the state; replaced in one go once that file is whole on disk
    checkpoints/ID-STEP.pt   the state: numbers, texts, lists, dicts and tensors

A trial writes its own, and reads it when it goes on; the run throws it away when the trial's record is stored. Reading
runs no code from the file. What is damaged, or of another trial or format, is set aside: renamed, and not looked at.
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
    """A state, and where it comes from.

    Attributes:
        step: after which it was taken.
        environment: id of the environment that wrote it.
        resumed: steps after which the trial had gone on before.
        state: as it was saved.
    """

    step: int
    environment: str
    resumed: tuple[int, ...]
    state: dict[str, Any]


def save(folder: Path, trial: str, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, whole or not at all, in place of the one before.

    Args:
        folder: of the run.
        trial: its id.
        checkpoint: the state, of plain values and tensors.
    """
    place = folder / FOLDER
    place.mkdir(parents=True, exist_ok=True)
    content = place / f"{trial}-{checkpoint.step}.pt"
    _write(content, lambda file: torch.save(checkpoint.state, file))
    said = {
        "format": FORMAT,
        "trial": trial,
        "step": checkpoint.step,
        "environment": checkpoint.environment,
        "resumed": checkpoint.resumed,
        "file": content.name,
        "sha256": _checksum(content),
    }
    _write(place / f"{trial}.json", lambda file: file.write(json.dumps(said).encode()))
    for older in place.glob(f"{trial}-*.pt"):
        if older != content:
            older.unlink()


def load(folder: Path, trial: str) -> Checkpoint | None:
    """The trial's checkpoint, on the CPU; None where there is none that can be used."""
    path = folder / FOLDER / f"{trial}.json"
    if not path.exists():
        return None
    try:
        said = json.loads(path.read_bytes())
        if (said["format"], said["trial"]) != (FORMAT, trial):
            raise ValueError("of another trial or version")
        content = path.with_name(Path(said["file"]).name)
        if _checksum(content) != said["sha256"]:
            raise ValueError("damaged: it fails its checksum")
        state = torch.load(content, map_location="cpu", weights_only=True)
        return Checkpoint(said["step"], said["environment"], tuple(said["resumed"]), state)
    except pickle.UnpicklingError:
        set_aside(folder, trial, "it holds more than plain values")
        return None
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        set_aside(folder, trial, _one_line(error))
        return None


def set_aside(folder: Path, trial: str, why: str) -> None:
    """Rename a checkpoint that is of no use, and say so on one line."""
    place = folder / FOLDER
    path = place / f"{trial}.json"
    sys.stderr.write(
        f"harmbench: checkpoint {path} cannot be used ({why}); set aside as {path.name}{ASIDE}, the trial starts anew\n"
    )
    for file in (path, *place.glob(f"{trial}-*.pt")):
        file.replace(f"{file}{ASIDE}")


def discard(folder: Path, trial: str) -> None:
    """Remove the checkpoint of a trial that is done, and what else of it lies there."""
    place = folder / FOLDER
    for file in (place / f"{trial}.json", *place.glob(f"{trial}-*.pt*"), *place.glob(f"{trial}.json.*")):
        file.unlink(missing_ok=True)
    if place.is_dir() and not any(place.iterdir()):
        place.rmdir()


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
