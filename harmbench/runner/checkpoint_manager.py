"""Checkpoints of one trial: when one is due, and the caveats of a resumed trial."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from harmbench.meters import Watcher
from harmbench.runner import checkpoints
from harmbench.runner.checkpoints import Checkpoint

RESUMED = "went on after an interruption"  # first words of the caveats, which reports look for


class CheckpointManager:
    """Writes and reads the checkpoints of one trial.

    Args:
        folder: the run's folder.
        trial: id of the trial.
        seconds: between two checkpoints.
        environment: id of the environment that the trial runs in.
    """

    def __init__(self, folder: Path, trial: str, seconds: float, environment: str) -> None:
        self._folder = folder
        self._trial = trial
        self._seconds = seconds
        self._environment = environment
        self._last = time.perf_counter()
        self._resumed: tuple[int, ...] = ()
        self._environments = {environment}

    def is_due(self) -> bool:
        """Whether the last checkpoint is old enough."""
        return time.perf_counter() - self._last >= self._seconds

    def write(self, step: int, state: dict[str, Any]) -> None:
        """Write a checkpoint of the state after this step."""
        checkpoint = Checkpoint(step, self._environment, self._resumed, state)
        checkpoints.save(self._folder, self._trial, checkpoint)
        self._last = time.perf_counter()

    def read(self) -> dict[str, Any] | None:
        """Return the state to resume from, or None where there is no usable checkpoint."""
        checkpoint = checkpoints.load(self._folder, self._trial)
        if checkpoint is None:
            return None
        self._resumed = (*checkpoint.resumed, checkpoint.step)
        self._environments.add(checkpoint.environment)
        return checkpoint.state

    def set_aside(self, why: str) -> None:
        """Set aside a checkpoint that does not fit the trial."""
        checkpoints.set_aside(self._folder, self._trial, why)

    def caveats(self, meters: Sequence[str]) -> Iterator[str]:
        """Caveats of a resumed trial.

        Args:
            meters: those without saved state.
        """
        if not self._resumed:
            return
        steps = ", ".join(map(str, self._resumed))
        yield (
            f"{RESUMED}, from step {steps}: seconds and joules are the sum of the parts, each with its loading and "
            "warm-up; lost work, and the writing of checkpoints in an interrupted part, are not counted; the state of "
            "the machine is that of the last part"
        )
        if len(self._environments) > 1:
            yield f"{RESUMED}, in another environment: its parts ran on different machines or software"
        if meters:
            yield f"{RESUMED}; these meters saw the last part only: {', '.join(meters)}"


def generators(device: torch.device) -> dict[str, Any]:
    """States of torch's generators, the only ones that training draws from."""
    states: dict[str, Any] = {"cpu": torch.get_rng_state(), "cuda": None}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def restore_generators(state: dict[str, Any], device: torch.device) -> None:
    """Restore the states of torch's generators."""
    torch.set_rng_state(state["cpu"])
    if state["cuda"] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)


def without_saved_state(watchers: Sequence[Watcher], meters: Sequence[str]) -> tuple[str, ...]:
    """Meters whose watchers cannot save their state."""
    return tuple(meter for watcher, meter in zip(watchers, meters, strict=True) if watcher.state() is None)
