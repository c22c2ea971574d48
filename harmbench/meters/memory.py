"""Peak memory of training."""

from __future__ import annotations

import ctypes
import math
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import psutil

from harmbench._torch import torch
from harmbench.meters._base import Meter, Outcome, Step, Watcher
from harmbench.results.records import Measurement

if TYPE_CHECKING:
    from torch import device as Device  # noqa: N812

WATCHED_STEPS = 8  # every step does the same work; the second is the first to hold gradients and optimizer state
_RESET_MARK = Path("/proc/self/clear_refs")
_TOO_LATE = "the process was larger before training, and this system cannot reset that mark"


class Memory(Meter):
    """Peak memory of the first eight steps: its growth above what was there before, and in all.

    On CUDA, what torch's allocator had handed out. On a CPU, the resident size of the trial's own process, libraries
    included in the total: on Linux, freed memory is given back to the system and the kernel's high-water mark is reset
    before the first step, so that warm-up, which did the same work on a copy, does not hide the growth. Elsewhere the
    mark cannot be reset, and a training that stays below it has no value. Data and model are allocated before. The
    growth is activations, gradients and the optimizer's state.
    """

    name: ClassVar[str] = "memory"

    def watcher(self) -> Watcher:
        return _MemoryWatcher()


class _MemoryWatcher(Watcher):
    def __init__(self) -> None:
        self._device: Device | None = None  # where memory is counted by torch
        self._base = self._mark = self._peak = 0
        self._seen = 0  # steps up to the last that was looked at
        self._is_reset = False

    def on_start(self, device: Device) -> None:
        if device.type == "cuda":
            self._device, self._is_reset = device, True
            torch.cuda.reset_peak_memory_stats(device)
            self._base = torch.cuda.memory_allocated(device)
            return
        _give_back()
        self._is_reset = _reset_mark()
        self._base, self._mark = psutil.Process().memory_info().rss, _high_water()

    def on_step(self, step: Step) -> None:
        """After the first, second, fourth and eighth: the mark never falls, and reading it takes a while."""
        self._seen = max(1, 2 * self._seen)
        self.due = step.index + self._seen if self._seen < WATCHED_STEPS else math.inf
        self._peak = torch.cuda.max_memory_allocated(self._device) if self._device else _high_water()

    def state(self) -> dict[str, Any]:
        names = ("_base", "_mark", "_peak", "_seen", "_is_reset")
        return {name: getattr(self, name) for name in names}

    def restore(self, state: dict[str, Any]) -> None:
        if state["_seen"] == WATCHED_STEPS:  # else the watch begins anew, in this process
            self.due = math.inf
            for name, value in state.items():
                setattr(self, name, value)

    def measurements(self, outcome: Outcome) -> list[Measurement]:
        if outcome.shared:
            return [
                Measurement.of(name, None, "B", "lower", outcome.shared)
                for name in ("peak_memory", "peak_memory_total")
            ]
        growth = total = None
        note = _TOO_LATE
        if self._is_reset or self._peak > self._mark:
            growth, total = max(0, self._peak - self._base), self._peak
            source = "torch's allocator" if self._device else "resident size of the process"
            note = f"{source}, first {WATCHED_STEPS} steps"
        return [
            Measurement.of("peak_memory", growth, "B", "lower", note),
            Measurement.of("peak_memory_total", total, "B", "lower", note),
        ]


def _give_back() -> None:
    """Return freed memory to the system if the C library supports it."""
    if sys.platform != "linux":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _reset_mark() -> bool:
    """Reset the kernel's high-water mark. Returns False if the system cannot."""
    try:
        _RESET_MARK.write_text("5")
    except OSError:
        return False
    return True


def _high_water() -> int:
    """Largest resident size in bytes since the mark was reset, or since the start of the process."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
