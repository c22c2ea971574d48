"""The options of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harmbench.planning.budget import Budget


@dataclass(frozen=True)
class RunOptions:
    """Folder, devices and limits of a run. None of these options changes the outcome of a trial.

    Attributes:
        folder: of the run.
        devices: names of devices, such as `cpu` or `cuda:0`.
        data_dir: folder of data sets.
        download: whether missing data sets may be downloaded.
        idle_seconds: for how long idle power is measured before the first trial on each device, and after the last.
        budget: what this invocation may spend, or None for no limit.
        checkpoint_seconds: time between two checkpoints of a trial, or 0 for none.
        executor: address of the executor that runs the trials.
    """

    folder: Path
    devices: tuple[str, ...]
    data_dir: Path
    download: bool = False
    idle_seconds: float = 0.0
    budget: Budget | None = None
    checkpoint_seconds: float = 0.0
    executor: str = "local"
