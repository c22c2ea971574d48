"""How much memory a trial takes."""

from __future__ import annotations

from typing import ClassVar

from harmbench.meters._base import Meter, Outcome, Watcher
from harmbench.records import Measurement


class Memory(Meter):
    """Peak memory of the trial.

    On CUDA, the most bytes torch had allocated at once. On the CPU, the peak resident size of the trial's own
    process above its size at the start, data and model included, libraries not.
    """

    name: ClassVar[str] = "memory"

    def watcher(self) -> Watcher:
        return _MemoryWatcher()


class _MemoryWatcher(Watcher):
    def measurements(self, outcome: Outcome) -> list[Measurement]:
        return [Measurement.of("peak_memory", outcome.peak_memory_bytes, "B", "lower")]
