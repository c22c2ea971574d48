"""How long steps take, on a CPU's clock or a GPU's."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all that was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


SETTLING_STEPS = 5
SETTLED = 0.1


def is_settled(seconds: Sequence[float]) -> bool:
    """Whether step time is steady: the medians of the last five steps and of the five before differ by at most 10 %.

    >>> is_settled([9.0] * 5 + [1.0] * 5), is_settled([9.0] + [1.0] * 9)
    (False, True)
    """
    if len(seconds) < 2 * SETTLING_STEPS:
        return False
    before = statistics.median(seconds[-2 * SETTLING_STEPS : -SETTLING_STEPS])
    now = statistics.median(seconds[-SETTLING_STEPS:])
    return abs(now - before) <= SETTLED * max(now, before)


class StepTimer:
    """Marks the borders within each step, the same number in every step; what lies between steps is not counted.

    On CUDA, events in the stream are the marks, so that timing a step does not stall the device.

    Args:
        device: that the steps run on.
        borders: marks in each step.

    >>> timer = StepTimer(torch.device("cpu"), borders=2)
    >>> for _ in range(6):
    ...     timer.mark()
    >>> len(timer.seconds(0, 1))
    3
    """

    def __init__(self, device: torch.device, borders: int) -> None:
        self._cuda, self._borders = device.type == "cuda", borders
        self._marks: list[Any] = []

    def mark(self) -> None:
        """The next border, now."""
        if not self._cuda:
            self._marks.append(time.perf_counter())
            return
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        self._marks.append(event)

    def seconds(self, first: int, last: int) -> list[float]:
        """What passed in each step from one border to another, counted from 0; call it with the device synchronized."""
        pairs = zip(self._marks[first :: self._borders], self._marks[last :: self._borders], strict=True)
        if self._cuda:
            return [begin.elapsed_time(end) / 1000 for begin, end in pairs]
        return [end - begin for begin, end in pairs]
