"""Going on in the middle of a trial: when a checkpoint is due, and what a resumed trial says of itself."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from harmbench.meters import Watcher
from harmbench.runner import checkpoints
from harmbench.runner.checkpoints import Checkpoint

RESUMED = "went on after an interruption"  # how the caveat begins


class CheckpointManager:
    """Writes and reads the checkpoints of one trial.

    Args:
        folder: of the run.
        trial: its id.
        seconds: between two checkpoints.
        environment: id of the one that the trial runs in.
    """

    def __init__(self, folder: Path, trial: str, seconds: float, environment: str) -> None:
        self._folder, self._trial, self._seconds, self._environment = folder, trial, seconds, environment
        self._last = time.perf_counter()
        self._resumed: tuple[int, ...] = ()
        self._environments = {environment}

    def is_due(self) -> bool:
        """Whether the last checkpoint is old enough."""
        return time.perf_counter() - self._last >= self._seconds

    def write(self, step: int, state: dict[str, Any]) -> None:
        """Write one now."""
        found = Checkpoint(step, self._environment, self._resumed, state)
        checkpoints.save(self._folder, self._trial, found)
        self._last = time.perf_counter()

    def read(self) -> dict[str, Any] | None:
        """The state to go on from; None where the trial starts."""
        found = checkpoints.load(self._folder, self._trial)
        if found is None:
            return None
        self._resumed = (*found.resumed, found.step)
        self._environments.add(found.environment)
        return found.state

    def set_aside(self, why: str) -> None:
        """Put away a checkpoint that does not fit."""
        checkpoints.set_aside(self._folder, self._trial, why)

    def caveats(self, blind: Sequence[str]) -> Iterator[str]:
        """What a reader must know of a trial that went on.

        Args:
            blind: meters that could not carry on what they had seen.
        """
        if not self._resumed:
            return
        steps = ", ".join(map(str, self._resumed))
        yield (
            f"{RESUMED}, from step {steps}: seconds and joules are the sum of the parts, with loading and warm-up of "
            "each; the work that was lost, and writing checkpoints in a part that was cut off, are not counted; the "
            "state of the machine is that of the last part"
        )
        if len(self._environments) > 1:
            yield f"{RESUMED}, in another environment: its parts are not of one machine and software"
        if blind:
            yield f"{RESUMED}, of which these meters saw the last part only: {', '.join(blind)}"


def generators(device: torch.device) -> dict[str, Any]:
    """States of torch's generators; nothing else draws in a training."""
    on_gpu = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return {"cpu": torch.get_rng_state(), "cuda": on_gpu}


def restore_generators(state: dict[str, Any], device: torch.device) -> None:
    """Set the generators to where they were."""
    torch.set_rng_state(state["cpu"])
    if state["cuda"] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)


def blind(watchers: Sequence[Watcher], meters: Sequence[str]) -> tuple[str, ...]:
    """Meters whose watchers cannot tell what they have seen."""
    return tuple(meter for watcher, meter in zip(watchers, meters, strict=True) if watcher.state() is None)
