"""Time of steps, by the clock of the CPU or the GPU."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


SETTLING_STEPS = 5
SETTLED = 0.1


def is_settled(seconds: Sequence[float]) -> bool:
    """Whether step time is steady: the median of the last five steps is within 10 % of that of the five before.

    >>> is_settled([9.0] * 5 + [1.0] * 5), is_settled([9.0] + [1.0] * 9)
    (False, True)
    """
    if len(seconds) < 2 * SETTLING_STEPS:
        return False
    before = statistics.median(seconds[-2 * SETTLING_STEPS : -SETTLING_STEPS])
    now = statistics.median(seconds[-SETTLING_STEPS:])
    return abs(now - before) <= SETTLED * max(now, before)


class StepTimer:
    """Marks boundaries within each step, the same number in every step. The time between steps is not counted.

    On CUDA the marks are events in the stream, so that timing a step does not stall the device.

    Args:
        device: runs the steps.
        boundaries: number of marks in each step.

    >>> timer = StepTimer(torch.device("cpu"), boundaries=2)
    >>> for _ in range(6):
    ...     timer.mark()
    >>> len(timer.seconds(0, 1))
    3
    """

    def __init__(self, device: torch.device, boundaries: int) -> None:
        self._cuda = device.type == "cuda"
        self._boundaries = boundaries
        self._marks: list[Any] = []

    def mark(self) -> None:
        """Mark the next boundary."""
        if not self._cuda:
            self._marks.append(time.perf_counter())
            return
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        self._marks.append(event)

    def seconds(self, first: int, last: int) -> list[float]:
        """Seconds of each step between two of its boundaries, counted from 0.

        Call it with the device synchronized.
        """
        begins = self._marks[first :: self._boundaries]
        ends = self._marks[last :: self._boundaries]
        pairs = zip(begins, ends, strict=True)
        if self._cuda:
            return [begin.elapsed_time(end) / 1000 for begin, end in pairs]
        return [end - begin for begin, end in pairs]
