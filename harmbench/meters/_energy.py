"""When joules of a window are worth a number."""

from __future__ import annotations

import math

from harmbench.meters._base import shared
from harmbench.results.records import Component, EnergyFacts, EnergyOrigin, Measurement

MIN_COUNTER_SECONDS = 1.0
SHORT_COUNTER_SECONDS = 5.0
NOTED_EDGES = 0.02
UNREAD = "not read at every border of the window"


def joules_of_window(
    name: str,
    component: Component,
    joules: float | None,
    seconds: float,
    origin: EnergyOrigin,
    windows: int = 1,
    coverage: float | None = None,
    reason: str = UNREAD,
    group_size: int = 1,
) -> Measurement:
    """Joules with all that says how they were come by, or missing with the reason.

    A hardware counter steps about ten times a second: under 1 s of window it says nothing, under 5 s the note says
    that it is unreliable.

    Args:
        name: of the measurement.
        component: that spent them.
        joules: of the window.
        seconds: length of the window, or of all its parts together.
        origin: of the joules.
        windows: number of parts.
        coverage: share of the seconds that readings stand for.
        reason: why there are no joules, if there are none.
        together: trials whose joules these are.
    """
    facts = EnergyFacts(
        component=component, method=origin.method, scope=origin.scope, period_s=origin.period_s, coverage=coverage
    )
    if origin.method == "missing":
        return Measurement.of(name, None, "J", "lower", origin.detail, energy=facts)
    if joules is None:
        return Measurement.of(name, None, "J", "lower", reason, energy=facts)
    if group_size > 1:
        return Measurement.of(name, None, "J", "lower", shared(group_size), energy=facts)
    if origin.method == "model":
        note = f"model: {origin.detail}{_smoothing(seconds / windows, origin)}"
        return Measurement.of(name, joules, "J", "lower", note, origin="modelled", energy=facts)
    if seconds < MIN_COUNTER_SECONDS:
        return Measurement.of(name, None, "J", "lower", f"window of {seconds:.2f} s is under 1 s", energy=facts)
    short = seconds < SHORT_COUNTER_SECONDS
    note = f"window of {seconds:.1f} s is under 5 s: unreliable" if short else origin.detail
    note += _edges(seconds, windows, origin) + _part(coverage)
    return Measurement.of(name, joules, "J", "lower", note, origin="measured", energy=facts)


def _smoothing(window_s: float, origin: EnergyOrigin) -> str:
    if origin.period_s is None or window_s >= origin.period_s:
        return ""
    return f"; windows of {window_s:.2g} s get the mean power of {origin.period_s:g} s"


def _edges(seconds: float, windows: int, origin: EnergyOrigin) -> str:
    """What a counter that lags by up to a period at both ends of every window makes uncertain: two deviations.

    For windows that do not keep step with the counter; var(lag) is period^2 / 12 at each end.
    """
    share = 2 * (origin.period_s or 0.0) * math.sqrt(windows / 6) / seconds
    return f"; ±{share:.0%} from the edges of {windows} window(s)" if share > NOTED_EDGES else ""


def _part(coverage: float | None) -> str:
    return "" if coverage is None or coverage > 0.995 else f"; readings cover {coverage:.0%} of it"
