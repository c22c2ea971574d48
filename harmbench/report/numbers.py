"""Numbers as text, rounded according to their spread."""

from __future__ import annotations

import math

from harmbench.analysis.stats import Interval

MISSING = "n/a"


def scaled(interval: Interval | None, factor: float) -> Interval | None:
    return interval and Interval(interval.mean * factor, interval.half_width * factor, interval.size)


def plain(interval: Interval | None, sign: bool = False) -> str:
    """Return mean ± half-width, both rounded to two significant digits of the half-width."""
    if interval is None:
        return MISSING
    plus = "+" if sign else ""
    half = interval.half_width
    if math.isnan(half) or half == 0:
        return f"{interval.mean:{plus},.0f}" if abs(interval.mean) >= 1000 else f"{interval.mean:{plus}.4g}"
    decimals = max(0, 1 - math.floor(math.log10(half)))
    return f"{interval.mean:{plus},.{decimals}f} ± {half:,.{decimals}f}"


def amount(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
