"""The phase ledger: where a trial's seconds and joules went.

load | warm-up | train | evaluate | train | evaluate | ... | examine
     ^         ^       ^
     at each border: synchronize the device, read the clock, read the joules; the end of one window is the
     start of the next, so windows neither overlap nor leave gaps and the phases add up to the whole trial
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from harmbench.energy.accumulator import Accumulator
from harmbench.results.records import PHASES, BoardState, EnergyReading, Phase, PhaseTotal, Telemetry


class PhaseTimer:
    """Books seconds and joules to phases.

    Args:
        clock: monotonic, in seconds.
        read_energy: joules since some start; may be slow, and its own time belongs to the window it ends.
        synchronize: waits until the device has done all that was asked of it.

    >>> ledger = PhaseTimer(iter([0.0, 2.0, 5.0]).__next__, lambda: EnergyReading(joules={}), lambda: None)
    >>> for phase in ("train", "evaluate"):
    ...     ledger.enter(phase)
    >>> ledger.close()
    >>> [(total.phase, total.seconds) for total in ledger.totals()]
    [('train', 2.0), ('evaluate', 3.0)]
    """

    def __init__(
        self, clock: Callable[[], float], read_energy: Callable[[], EnergyReading], synchronize: Callable[[], None]
    ) -> None:
        self._clock, self._read_energy, self._synchronize = clock, read_energy, synchronize
        self._accounts: dict[Phase, Accumulator] = {}
        self._boards: list[BoardState] = []
        self._phase: Phase | None = None
        self._seconds = 0.0
        self.carried_seconds = 0.0  # of earlier parts of the trial
        self._reading = EnergyReading(joules={})

    def enter(self, phase: Phase) -> None:
        """Close the open window, if any, and open one of this phase at the same instant."""
        self._border(phase)

    def close(self) -> None:
        """Close the open window."""
        self._border(None)

    def _border(self, phase: Phase | None) -> None:
        self._synchronize()
        reading = self._read_energy()
        now = self._clock()
        if self._phase is not None:
            self._accounts.setdefault(self._phase, Accumulator()).add(self._reading, reading, now - self._seconds)
        if reading.board is not None:
            self._boards.append(reading.board)
        self._phase, self._seconds, self._reading = phase, now, reading

    def state(self) -> dict[str, Any]:
        """All windows that are closed, as plain values, for `merge`."""
        boards = [board.model_dump() for board in self._boards]
        return {"accounts": {phase: account.state() for phase, account in self._accounts.items()}, "boards": boards}

    def merge(self, state: Mapping[str, Any]) -> None:
        """Add the windows of an earlier part of the trial, which another process kept."""
        for phase, account in state["accounts"].items():
            self._accounts.setdefault(phase, Accumulator()).merge(account)
            self.carried_seconds += account["seconds"]
        self._boards = [*(BoardState.model_validate(board) for board in state["boards"]), *self._boards]

    def totals(self) -> tuple[PhaseTotal, ...]:
        """Every phase that had a window, in the order of time."""
        return tuple(
            PhaseTotal(
                phase=phase,
                seconds=account.seconds,
                joules=account.joules,
                windows=account.windows,
                coverage=account.coverage,
                reasons=account.reasons,
                direct=account.direct,
                direct_reasons=account.direct_reasons,
            )
            for phase in PHASES
            if (account := self._accounts.get(phase)) is not None
        )

    def total(self, phase: Phase) -> PhaseTotal:
        """One phase so far."""
        return next(total for total in self.totals() if total.phase == phase)

    def telemetry(self) -> Telemetry | None:
        """What the GPU said of itself at the borders; None where there is none."""
        if not self._boards:
            return None
        others = [state.other_processes for state in self._boards if state.other_processes is not None]
        return Telemetry(
            readings=len(self._boards),
            watts=_span([state.watts for state in self._boards]),
            celsius=_span([state.celsius for state in self._boards]),
            sm_mhz=_span([state.sm_mhz for state in self._boards]),
            memory_mhz=_span([state.memory_mhz for state in self._boards]),
            throttling=tuple(sorted({reason for state in self._boards for reason in state.throttling})),
            other_processes=max(others, default=None),
        )


def _span(values: list[float | None]) -> tuple[float, float] | None:
    """The least and the most of those that are known."""
    known = [value for value in values if value is not None]
    return (min(known), max(known)) if known else None
