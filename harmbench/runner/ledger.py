"""The phase ledger: where a trial's seconds and joules went.

load | warm-up | train | evaluate | train | evaluate | ... | examine
     ^         ^       ^
     at each border: synchronise the device, read the clock, read the joules; the end of one window is the
     start of the next, so windows neither overlap nor leave gaps and the phases add up to the whole trial
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from harmbench.errors import MeasurementError
from harmbench.records import COMPONENTS, PHASES, Component, EnergyReading, Phase, PhaseTotal


@dataclass
class _Account:
    seconds: float = 0.0
    joules: dict[Component, float | None] = field(default_factory=lambda: dict.fromkeys(COMPONENTS, 0.0))
    windows: int = 0


class PhaseLedger:
    """Books seconds and joules to phases.

    Args:
        clock: monotonic, in seconds.
        read_energy: joules since some start; may be slow, and its own time belongs to the window it ends.
        synchronise: waits until the device has done all that was asked of it.

    >>> ledger = PhaseLedger(iter([0.0, 2.0, 5.0]).__next__, lambda: EnergyReading(joules={}), lambda: None)
    >>> for phase in ("train", "evaluate"):
    ...     ledger.enter(phase)
    >>> ledger.close()
    >>> [(total.phase, total.seconds) for total in ledger.totals()]
    [('train', 2.0), ('evaluate', 3.0)]
    """

    def __init__(
        self, clock: Callable[[], float], read_energy: Callable[[], EnergyReading], synchronise: Callable[[], None]
    ) -> None:
        self._clock, self._read_energy, self._synchronise = clock, read_energy, synchronise
        self._accounts: dict[Phase, _Account] = {}
        self._phase: Phase | None = None
        self._seconds = 0.0
        self._reading = EnergyReading(joules={})

    def enter(self, phase: Phase) -> None:
        """Close the open window, if any, and open one of this phase at the same instant."""
        self._border(phase)

    def close(self) -> None:
        """Close the open window."""
        self._border(None)

    def _border(self, phase: Phase | None) -> None:
        self._synchronise()
        reading = self._read_energy()
        now = self._clock()
        if self._phase is not None:
            account = self._accounts.setdefault(self._phase, _Account())
            account.seconds += now - self._seconds
            account.windows += 1
            for component in COMPONENTS:
                account.joules[component] = _plus(
                    account.joules[component], self._reading.joules.get(component), reading.joules.get(component)
                )
        self._phase, self._seconds, self._reading = phase, now, reading

    def totals(self) -> tuple[PhaseTotal, ...]:
        """Every phase that had a window, in the order of time."""
        return tuple(
            PhaseTotal(phase=phase, seconds=account.seconds, joules=dict(account.joules), windows=account.windows)
            for phase in PHASES
            if (account := self._accounts.get(phase)) is not None
        )

    def total(self, phase: Phase) -> PhaseTotal:
        """One phase so far."""
        return next(total for total in self.totals() if total.phase == phase)


def _plus(total: float | None, before: float | None, after: float | None) -> float | None:
    """total + (after - before); None as soon as anything is unknown."""
    if total is None or before is None or after is None:
        return None
    if after < before:
        raise MeasurementError(f"an energy counter ran backwards, from {before:g} to {after:g} J")
    return total + (after - before)
