"""How long steps take, on a CPU's clock or a GPU's."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import torch


def synchronise(device: torch.device) -> None:
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
    """Times each step as a context manager; what happens between steps is not counted.

    On CUDA, events in the stream mark both ends, so that timing a step does not stall the device.
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._seconds: list[float] = []
        self._events: list[tuple[Any, Any]] = []
        self._begin: Any = None

    def __enter__(self) -> None:
        self._begin = self._mark()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        end = self._mark()
        if self._cuda:
            self._events.append((self._begin, end))
        else:
            self._seconds.append(end - self._begin)

    def _mark(self) -> Any:
        if not self._cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def seconds(self) -> list[float]:
        """The duration of each step so far; call it with the device synchronised."""
        self._seconds += [begin.elapsed_time(end) / 1000 for begin, end in self._events]
        self._events.clear()
        return self._seconds
