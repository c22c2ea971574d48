"""Records of energy: readings, their origin, and totals of phases and idle windows."""

from __future__ import annotations

from pydantic import Field

from harmbench.results._rows import Record, Row
from harmbench.results.vocabulary import Component, Method, Phase


class EnergyOrigin(Row, frozen=True, kw_only=True):
    """Source of one component's joules.

    Attributes:
        method: how the joules are obtained.
        scope: `process`, `board`, `whole board` (shared with other work), `package` or `machine`.
        detail: the source in words.
        period_s: seconds between two updates or samples of the source. None if unknown.
    """

    method: Method
    scope: str = ""
    detail: str = ""
    period_s: float | None = None


class EnergyFacts(Row, frozen=True, kw_only=True):
    """How one figure in joules was obtained.

    Attributes:
        coverage: share of the window that readings cover. None if unknown.
    """

    component: Component
    method: Method
    scope: str = ""
    period_s: float | None = None
    coverage: float | None = None


class BoardState(Record):
    """State of a GPU as NVML reports it. Fields are None where NVML has no value.

    Attributes:
        throttling: reasons why the clocks are reduced.
        other_processes: number of processes on the GPU that are not harmbench's.
    """

    watts: float | None = None
    celsius: float | None = None
    sm_mhz: float | None = None
    memory_mhz: float | None = None
    throttling: tuple[str, ...] = ()
    other_processes: int | None = None


class EnergyReading(Record):
    """Reading of an energy source at one moment.

    Attributes:
        joules: joules by component since the source started. None if the component is not measured.
        gaps: why joules since the last reading are incomplete, by component. Complete components are absent.
        covered_s: seconds since the source started that readings cover, by component.
        direct: the same reading from hardware counters that harmbench reads itself, for comparison.
        board: state of the GPU.
    """

    joules: dict[Component, float | None]
    gaps: dict[Component, str] = Field(default_factory=dict)
    covered_s: dict[Component, float] = Field(default_factory=dict)
    direct: EnergyReading | None = None
    board: BoardState | None = None


class PhaseTotal(Row, frozen=True, kw_only=True):
    """Seconds and joules of one phase, summed over its windows.

    Attributes:
        joules: joules by component. None for a reason in `reasons`.
        windows: number of windows.
        coverage: share of the seconds that readings cover, by component, as far as it is known.
        direct: joules from hardware counters that harmbench reads itself. None for a reason in `direct_reasons`.
    """

    phase: Phase
    seconds: float
    joules: dict[Component, float | None]
    windows: int
    coverage: dict[Component, float] = {}
    reasons: dict[Component, str] = {}
    direct: dict[Component, float | None] = {}
    direct_reasons: dict[Component, str] = {}


class Telemetry(Row, frozen=True, kw_only=True):
    """Ranges (least, most) of a GPU's state at the phase boundaries of a trial, with all throttling reasons."""

    readings: int
    watts: tuple[float, float] | None = None
    celsius: tuple[float, float] | None = None
    sm_mhz: tuple[float, float] | None = None
    memory_mhz: tuple[float, float] | None = None
    throttling: tuple[str, ...] = ()
    other_processes: int | None = None


class IdleWindow(Record):
    """Joules of a machine while no trial runs.

    Attributes:
        seconds: length of the window.
        joules: joules by component. None for a reason in `reasons`.
        direct: joules by component from hardware counters that harmbench reads itself.
    """

    seconds: float
    joules: dict[Component, float | None]
    reasons: dict[Component, str] = Field(default_factory=dict)
    direct: dict[Component, float | None] = Field(default_factory=dict)

    def watts(self, component: Component) -> float | None:
        """Return the mean power of a component, or None if it was not measured."""
        joules = self.joules.get(component)
        return None if joules is None else joules / self.seconds
