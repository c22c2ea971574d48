"""Joules of a window as a measurement, or the reason why they are missing."""

from __future__ import annotations

import math
from dataclasses import dataclass

from harmbench.meters._base import shared
from harmbench.results.records import Component, EnergyFacts, EnergyOrigin, Measurement

MIN_COUNTER_SECONDS = 1.0
SHORT_COUNTER_SECONDS = 5.0
NOTED_EDGES = 0.02
UNREAD = "not read at every boundary of the window"


@dataclass(frozen=True)
class EnergyWindow:
    """Joules of one component in a window.

    Attributes:
        joules: energy of the window, or None if it is unknown.
        seconds: length of the window, or the total length of its parts.
        windows: number of parts.
        coverage: share of the seconds that is covered by readings, if known.
        reason: why the joules are unknown, if they are.
    """

    joules: float | None
    seconds: float
    windows: int = 1
    coverage: float | None = None
    reason: str = UNREAD


def joules_of_window(
    name: str, component: Component, window: EnergyWindow, origin: EnergyOrigin, group_size: int = 1
) -> Measurement:
    """Return the joules of a window with their origin, or a missing value with the reason.

    A hardware counter steps about ten times a second. A window under 1 s has no value, and one under 5 s has a note
    that it is unreliable.

    Args:
        name: name of the measurement.
        component: component that used the energy.
        window: joules and length of the window.
        origin: source of the joules.
        group_size: number of seeds that were trained together and share these joules.
    """
    joules, seconds = window.joules, window.seconds
    facts = EnergyFacts(
        component=component,
        method=origin.method,
        scope=origin.scope,
        period_s=origin.period_s,
        coverage=window.coverage,
    )
    if origin.method == "missing":
        return Measurement.of(name, None, "J", "lower", origin.detail, energy=facts)
    if joules is None:
        return Measurement.of(name, None, "J", "lower", window.reason, energy=facts)
    if group_size > 1:
        return Measurement.of(name, None, "J", "lower", shared(group_size), energy=facts)
    if origin.method == "model":
        note = f"model: {origin.detail}{_smoothing(seconds / window.windows, origin)}"
        return Measurement.of(name, joules, "J", "lower", note, origin="modelled", energy=facts)
    if seconds < MIN_COUNTER_SECONDS:
        return Measurement.of(name, None, "J", "lower", f"window of {seconds:.2f} s is under 1 s", energy=facts)
    short = seconds < SHORT_COUNTER_SECONDS
    note = f"window of {seconds:.1f} s is under 5 s: unreliable" if short else origin.detail
    note += _edges(seconds, window.windows, origin) + _part(window.coverage)
    return Measurement.of(name, joules, "J", "lower", note, origin="measured", energy=facts)


def _smoothing(window_s: float, origin: EnergyOrigin) -> str:
    if origin.period_s is None or window_s >= origin.period_s:
        return ""
    return f"; windows of {window_s:.2g} s get the mean power of {origin.period_s:g} s"


def _edges(seconds: float, windows: int, origin: EnergyOrigin) -> str:
    """Uncertainty (two standard deviations) from a counter that lags by up to a period at both ends of a window.

    Assumes windows that are not synchronized with the counter, so var(lag) is period^2 / 12 at each end.
    """
    share = 2 * (origin.period_s or 0.0) * math.sqrt(windows / 6) / seconds
    return f"; ±{share:.0%} from the edges of {windows} window(s)" if share > NOTED_EDGES else ""


def _part(coverage: float | None) -> str:
    return "" if coverage is None or coverage > 0.995 else f"; readings cover {coverage:.0%} of it"
