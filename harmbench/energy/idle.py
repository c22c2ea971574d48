"""What a machine draws while no trial runs."""

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
    """The joules of a stretch of time in which this process does nothing.

    Args:
        source: of joules.
        seconds: how long to wait.
        wait: blocks for a number of seconds; may return early.
        clock: monotonic, in seconds.
    """
    tally = Accumulator()
    before, began = source.read(), clock()
    wait(seconds)
    after, ended = source.read(), clock()
    tally.add(before, after, ended - began)
    return IdleWindow(seconds=tally.seconds, joules=tally.joules, reasons=tally.reasons, direct=tally.direct)
