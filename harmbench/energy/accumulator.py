"""Sums of joules over windows, with the reason for each sum that is unknown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harmbench.results.records import COMPONENTS, Component, EnergyReading

MIN_COVERAGE = 0.9  # of a window's seconds; below, a figure would be an extrapolation
UNREAD = "not read at every boundary of the window"


class Accumulator:
    """Joules of one kind of window, by component.

    >>> accumulator = Accumulator()
    >>> accumulator.add(EnergyReading(joules={"cpu": 3.0}), EnergyReading(joules={"cpu": 5.0}), seconds=1.0)
    >>> accumulator.joules["cpu"], accumulator.joules["gpu"], accumulator.reasons["gpu"]
    (2.0, None, 'not read at every boundary of the window')
    """

    def __init__(self) -> None:
        self._sums: dict[Component, float] = dict.fromkeys(COMPONENTS, 0.0)
        self._covered: dict[Component, float] = {}
        self._lost: dict[Component, str] = {}
        self._direct: Accumulator | None = None
        self.seconds = 0.0
        self.windows = 0

    def add(self, before: EnergyReading, after: EnergyReading, seconds: float) -> None:
        """Add a window between two successive readings.

        Args:
            before: reading at the start of the window.
            after: reading at its end.
            seconds: length of the window.
        """
        self.seconds += seconds
        self.windows += 1
        for component in COMPONENTS:
            self._add(component, before, after)
        if after.direct is not None:
            self._direct = self._direct or Accumulator()
            self._direct.add(before.direct or EnergyReading(joules={}), after.direct, seconds)

    def _add(self, component: Component, before: EnergyReading, after: EnergyReading) -> None:
        start, end = before.joules.get(component), after.joules.get(component)
        lost = after.gaps.get(component, "")
        if start is None or end is None:
            lost = lost or UNREAD
        elif end < start:
            lost = f"an energy counter ran backwards, from {start:g} to {end:g} J"
        else:
            self._sums[component] += end - start
        if lost:
            self._lost.setdefault(component, lost)
        if component in after.covered_s:
            covered = after.covered_s[component] - before.covered_s.get(component, 0.0)
            self._covered[component] = self._covered.get(component, 0.0) + covered

    def state(self) -> dict[str, Any]:
        """Return the sums as plain values, for `merge`."""
        return {
            "sums": dict(self._sums),
            "covered": dict(self._covered),
            "lost": dict(self._lost),
            "direct": self._direct and self._direct.state(),
            "seconds": self.seconds,
            "windows": self.windows,
        }

    def merge(self, state: Mapping[str, Any]) -> None:
        """Add the windows of another accumulator, such as that of an interrupted process."""
        self.seconds += state["seconds"]
        self.windows += state["windows"]
        for component, joules in state["sums"].items():
            self._sums[component] += joules
        for component, covered in state["covered"].items():
            self._covered[component] = self._covered.get(component, 0.0) + covered
        self._lost = {**self._lost, **state["lost"]}
        if state["direct"] is not None:
            self._direct = self._direct or Accumulator()
            self._direct.merge(state["direct"])

    @property
    def coverage(self) -> dict[Component, float]:
        """Share of the seconds that is covered by readings, if known."""
        return {c: min(1.0, covered / self.seconds) for c, covered in self._covered.items() if self.seconds > 0}

    @property
    def reasons(self) -> dict[Component, str]:
        """Why the joules of a component are not known."""
        thin = {
            component: f"readings cover {share:.0%} of {self.seconds:.3g} s: its {self.windows} window(s) are "
            "shorter than the sampling period, or were not sampled"
            for component, share in self.coverage.items()
            if share < MIN_COVERAGE
        }
        return {**thin, **self._lost}

    @property
    def joules(self) -> dict[Component, float | None]:
        """Joules by component, None if there is a reason in `reasons`."""
        reasons = self.reasons
        return {component: None if component in reasons else joules for component, joules in self._sums.items()}

    @property
    def direct(self) -> dict[Component, float | None]:
        """Joules by component from counters that harmbench reads itself. Empty if it reads none."""
        if self._direct is None:
            return {}
        return {c: joules for c, joules in self._direct.joules.items() if self._direct.reasons.get(c) != UNREAD}

    @property
    def direct_reasons(self) -> dict[Component, str]:
        """Why the joules of a counter that harmbench reads are not known."""
        return {c: self._direct.reasons[c] for c, joules in self.direct.items() if self._direct and joules is None}
