"""Idle power of a machine."""

from __future__ import annotations

import time
from collections.abc import Callable

from harmbench.energy.accumulator import Accumulator
from harmbench.energy.source import EnergySource
from harmbench.results.records import IdleWindow


def measure_idle(
    source: EnergySource,
    seconds: float,
    wait: Callable[[float], object] = time.sleep,
    clock: Callable[[], float] = time.perf_counter,
) -> IdleWindow:
    """Return the joules of a time window in which this process does nothing.

    Args:
        source: source of joules.
        seconds: how long to wait.
        wait: blocks for a number of seconds; may return early.
        clock: monotonic, in seconds.
    """
    accumulator = Accumulator()
    before, began = source.read(), clock()
    wait(seconds)
    after, ended = source.read(), clock()
    accumulator.add(before, after, ended - began)
    return IdleWindow(
        seconds=accumulator.seconds, joules=accumulator.joules, reasons=accumulator.reasons, direct=accumulator.direct
    )
