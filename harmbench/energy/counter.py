"""A hardware energy counter, and the ways in which it can fail.

Raw values become joules since the start. Wrap-around is corrected. A gap is a stretch whose joules
are unknown: the value jumped, stood still or could not be read. Counting continues after a gap. The joules of a window
with a gap in it are unknown.
"""

from __future__ import annotations

import time
from collections.abc import Callable

SLACK_S = 1.0  # a counter may hand out the energy of its last moments at once


class Counter:
    """Joules since the first reading of a counter.

    Args:
        read_raw: returns the counter's value in joules, or raises OSError.
        max_watts: upper bound of the hardware's power. A faster increase is a jump.
        wraps_at: joules at which the value restarts from 0, or None.
        patience_s: longest time without a change that is no gap.
        clock: monotonic, in seconds.

    Raises:
        OSError: if the first reading fails.

    >>> values, times = iter([7.0, 9.0, 1.0]), iter([0.0, 1.0, 2.0])
    >>> counter = Counter(values.__next__, max_watts=5, wraps_at=10, clock=times.__next__)
    >>> counter.take(), counter.take()
    ((2.0, ''), (4.0, ''))
    """

    def __init__(
        self,
        read_raw: Callable[[], float],
        max_watts: float,
        wraps_at: float | None = None,
        patience_s: float = 2.0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._read_raw, self._clock = read_raw, clock
        self._max_watts, self._wraps_at, self._patience_s = max_watts, wraps_at, patience_s
        self._raw: float | None = read_raw()
        self._read_at = clock()
        self._still_s = 0.0
        self._joules = 0.0
        self._gap = ""

    def take(self) -> tuple[float, str]:
        """Return the joules since the start, and the reason for a gap since the last `take`, or ""."""
        self.advance()
        gap, self._gap = self._gap, ""
        return self._joules, gap

    def advance(self) -> None:
        """Read the counter. Call it often enough that no wrap is missed."""
        try:
            raw = self._read_raw()
        except OSError as error:
            self._raw = None
            self._gap = f"the counter could not be read ({error.strerror or error})"
            return
        now = self._clock()
        before, seconds = self._raw, now - self._read_at
        self._raw, self._read_at = raw, now
        if before is None:
            self._gap = self._gap or "the counter could not be read for a time"
        elif raw == before:
            self._still_s += seconds
            self._note_stillness()
        else:
            self._note_stillness()
            self._still_s = 0.0
            self._add(before, raw, seconds)

    def _note_stillness(self) -> None:
        if self._still_s > self._patience_s:
            self._gap = f"the counter stood still for {self._still_s:.1f} s"

    def _add(self, before: float, raw: float, seconds: float) -> None:
        most = self._max_watts * seconds
        if self._wraps_at is not None and most > self._wraps_at:
            self._gap = f"the counter was not read for {seconds:.0f} s and may have wrapped unseen"
            return
        step = raw - before
        if step < 0 and self._wraps_at is not None:
            step += self._wraps_at
        if 0 <= step <= most + self._max_watts * SLACK_S:
            self._joules += step
        else:
            self._gap = f"the counter jumped from {before:.6g} to {raw:.6g} J in {seconds:.1f} s"
