"""The phase timer: which phase of a trial took which seconds and joules.

load | warm-up | train | evaluate | train | evaluate | ... | analyze
     ^         ^       ^
     at each boundary: synchronize the device, read the joules, read the clock

The end of one window is the start of the next. Windows therefore neither overlap nor leave gaps, and the phases add up
to the whole trial.
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
        read_energy: joules since some start. It may be slow, and its time belongs to the window that it ends.
        synchronize: waits until the device has finished its work.

    Attributes:
        carried_seconds: seconds of earlier parts of a resumed trial.

    >>> timer = PhaseTimer(iter([0.0, 2.0, 5.0]).__next__, lambda: EnergyReading(joules={}), lambda: None)
    >>> for phase in ("train", "evaluate"):
    ...     timer.enter(phase)
    >>> timer.close()
    >>> [(total.phase, total.seconds) for total in timer.totals()]
    [('train', 2.0), ('evaluate', 3.0)]
    """

    def __init__(
        self, clock: Callable[[], float], read_energy: Callable[[], EnergyReading], synchronize: Callable[[], None]
    ) -> None:
        self._clock = clock
        self._read_energy = read_energy
        self._synchronize = synchronize
        self._accumulators: dict[Phase, Accumulator] = {}
        self._boards: list[BoardState] = []
        self._phase: Phase | None = None
        self._seconds = 0.0
        self.carried_seconds = 0.0
        self._reading = EnergyReading(joules={})

    def enter(self, phase: Phase) -> None:
        """Close the open window, if there is one, and open a window of this phase at the same instant."""
        self._boundary(phase)

    def close(self) -> None:
        """Close the open window."""
        self._boundary(None)

    def _boundary(self, phase: Phase | None) -> None:
        self._synchronize()
        reading = self._read_energy()
        now = self._clock()
        if self._phase is not None:
            accumulator = self._accumulators.setdefault(self._phase, Accumulator())
            accumulator.add(self._reading, reading, now - self._seconds)
        if reading.board is not None:
            self._boards.append(reading.board)
        self._phase = phase
        self._seconds = now
        self._reading = reading

    def state(self) -> dict[str, Any]:
        """All closed windows as plain values, for `merge`."""
        boards = [board.model_dump() for board in self._boards]
        accumulators = {phase: accumulator.state() for phase, accumulator in self._accumulators.items()}
        return {"accumulators": accumulators, "boards": boards}

    def merge(self, state: Mapping[str, Any]) -> None:
        """Add the windows of an earlier part of the trial, from the state that another process kept."""
        for phase, accumulator in state["accumulators"].items():
            self._accumulators.setdefault(phase, Accumulator()).merge(accumulator)
            self.carried_seconds += accumulator["seconds"]
        earlier = [BoardState.model_validate(board) for board in state["boards"]]
        self._boards = earlier + self._boards

    def totals(self) -> tuple[PhaseTotal, ...]:
        """Totals of all phases that had a window, in the order of time."""
        return tuple(
            PhaseTotal(
                phase=phase,
                seconds=accumulator.seconds,
                joules=accumulator.joules,
                windows=accumulator.windows,
                coverage=accumulator.coverage,
                reasons=accumulator.reasons,
                direct=accumulator.direct,
                direct_reasons=accumulator.direct_reasons,
            )
            for phase in PHASES
            if (accumulator := self._accumulators.get(phase)) is not None
        )

    def total(self, phase: Phase) -> PhaseTotal:
        """Total of one phase so far."""
        return next(total for total in self.totals() if total.phase == phase)

    def telemetry(self) -> Telemetry | None:
        """State of the GPU as read at the boundaries, or None without a GPU."""
        if not self._boards:
            return None
        process_counts = [state.other_processes for state in self._boards if state.other_processes is not None]
        return Telemetry(
            readings=len(self._boards),
            watts=_span([state.watts for state in self._boards]),
            celsius=_span([state.celsius for state in self._boards]),
            sm_mhz=_span([state.sm_mhz for state in self._boards]),
            memory_mhz=_span([state.memory_mhz for state in self._boards]),
            throttling=tuple(sorted({reason for state in self._boards for reason in state.throttling})),
            other_processes=max(process_counts, default=None),
        )


def _span(values: list[float | None]) -> tuple[float, float] | None:
    """Least and greatest of the available values, or None if none is available."""
    available = [value for value in values if value is not None]
    if not available:
        return None
    return min(available), max(available)


def share(phase: PhaseTotal, group_size: int) -> PhaseTotal:
    """One trial's equal share of a phase that a group of trials spent together."""
    return phase.but(
        seconds=phase.seconds / group_size,
        joules=_shared(phase.joules, group_size),
        direct=_shared(phase.direct, group_size),
    )


def _shared(joules: Mapping[Any, float | None], group_size: int) -> dict[Any, float | None]:
    return {component: None if value is None else value / group_size for component, value in joules.items()}
