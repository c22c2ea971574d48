"""Tries a source of joules on the machine as it is: what a reading costs, how fine and how often the counters move."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

from harmbench.energy.source import EnergySource
from harmbench.results.records import COMPONENTS, Component, EnergyReading, Record

READINGS = 20
POLL_S = 0.005
PARTS = 8  # of the time, for the noise


class SelfTest(Record):
    """Result of testing a source on this machine.

    Attributes:
        seconds: how long the source was watched, 0 if only readings were timed.
        read_microseconds: median cost of a reading.
        read_microseconds_worst: the highest of them.
        watts: mean power while it was watched, by component.
        noise: standard deviation of the power over eighths of the time, as a share of the mean.
        step_joules: median step of the counter.
        renewal_s: median time between two steps; no finer than the polling, `polled_every_s`.
        gaps: reasons for unknown joules, by component.
    """

    name: str
    seconds: float
    read_microseconds: float
    read_microseconds_worst: float
    polled_every_s: float = POLL_S
    watts: dict[Component, float] = {}
    noise: dict[Component, float] = {}
    step_joules: dict[Component, float] = {}
    renewal_s: dict[Component, float] = {}
    gaps: dict[Component, str] = {}


def self_test(
    sources: Mapping[str, EnergySource],
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
    wait: Callable[[float], object] = time.sleep,
) -> tuple[SelfTest, ...]:
    """Watch sources for a while, all of them over the same time.

    Args:
        sources: opened, by name.
        seconds: how long; 0 times a few readings only.
        clock: monotonic, in seconds.
        wait: blocks for a number of seconds.
    """
    costs = {name: [_cost(source, clock) for _ in range(READINGS)] for name, source in sources.items()}
    seen = {name: _Seen() for name in sources}
    end = clock() + seconds
    while clock() < end:
        for name, source in sources.items():
            seen[name].add(source.read(), clock())
        wait(POLL_S)
    return tuple(_result(name, costs[name], seen[name]) for name in sources)


class _Seen:
    """Readings of one source."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.joules: dict[Component, list[float | None]] = {c: [] for c in COMPONENTS}
        self.gaps: dict[Component, str] = {}

    def add(self, reading: EnergyReading, now: float) -> None:
        self.times.append(now)
        self.gaps |= reading.gaps
        for component in COMPONENTS:
            self.joules[component].append(reading.joules.get(component))

    def known(self) -> dict[Component, list[float]]:
        """Joules of the components that every reading had."""
        complete = {c: [value for value in values if value is not None] for c, values in self.joules.items()}
        return {c: values for c, values in complete.items() if len(values) == len(self.times) > 1}


def _result(name: str, costs: Sequence[float], seen: _Seen) -> SelfTest:
    joules, times = seen.known(), seen.times
    span = times[-1] - times[0] if times else 0.0
    steps = {c: _steps(times, values) for c, values in joules.items()}
    return SelfTest(
        name=name,
        seconds=span,
        read_microseconds=1e6 * statistics.median(costs),
        read_microseconds_worst=1e6 * max(costs),
        watts={c: (values[-1] - values[0]) / span for c, values in joules.items()},
        noise={c: noise for c, values in joules.items() if (noise := _noise(times, values)) is not None},
        step_joules={c: statistics.median(size for _, size in moves) for c, moves in steps.items() if moves},
        renewal_s={c: _renewal(moves) for c, moves in steps.items() if len(moves) > 1},
        gaps=seen.gaps,
    )


def agreement(ours: SelfTest, other: SelfTest) -> dict[Component, float]:
    """Power by one source over that by another, where both know it."""
    return {c: watts / other.watts[c] for c, watts in ours.watts.items() if other.watts.get(c)}


def _cost(source: EnergySource, clock: Callable[[], float]) -> float:
    began = clock()
    source.read()
    return clock() - began


def _steps(times: Sequence[float], values: Sequence[float]) -> list[tuple[float, float]]:
    """When the counter moved, and by how much."""
    moves = zip(times[1:], values, values[1:], strict=False)
    return [(when, after - before) for when, before, after in moves if after > before]


def _renewal(steps: Sequence[tuple[float, float]]) -> float:
    return statistics.median(later - earlier for (earlier, _), (later, _) in itertools.pairwise(steps))


def _noise(times: Sequence[float], values: Sequence[float]) -> float | None:
    """Spread of the power over PARTS equal parts of the time, or None for too few readings or no power."""
    size = len(values) // PARTS
    if size < 1:
        return None
    marks = [min(part * size, len(values) - 1) for part in range(PARTS + 1)]
    powers = [(values[b] - values[a]) / (times[b] - times[a]) for a, b in itertools.pairwise(marks) if b > a]
    mean = statistics.fmean(powers)
    return statistics.stdev(powers) / mean if mean > 0 and len(powers) > 1 else None
