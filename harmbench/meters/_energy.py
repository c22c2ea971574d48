"""When joules of a window are worth a number."""

from __future__ import annotations

from harmbench.records import EnergyOrigin, Measurement

MIN_COUNTER_SECONDS = 1.0
SHORT_COUNTER_SECONDS = 5.0
UNREAD = "not read at every border of the window"


def joules_of_window(name: str, joules: float | None, seconds: float, origin: EnergyOrigin) -> Measurement:
    """Joules with their origin, or missing with the reason.

    A hardware counter steps about ten times a second: under 1 s of window it says nothing, under 5 s the note says
    that it is unreliable.

    Args:
        name: of the measurement.
        joules: of the window.
        seconds: length of the window.
        origin: of the joules.
    """
    if origin.method == "missing":
        return Measurement.of(name, None, "J", "lower", origin.detail)
    if joules is None:
        return Measurement.of(name, None, "J", "lower", UNREAD)
    if origin.method == "model":
        return Measurement.of(name, joules, "J", "lower", f"model: {origin.detail}", origin="modelled")
    if seconds < MIN_COUNTER_SECONDS:
        return Measurement.of(name, None, "J", "lower", f"window of {seconds:.2f} s is under 1 s")
    short = seconds < SHORT_COUNTER_SECONDS
    note = f"window of {seconds:.1f} s is under 5 s: unreliable" if short else origin.detail
    return Measurement.of(name, joules, "J", "lower", note, origin="measured")
