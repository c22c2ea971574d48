"""Times that some trials never reach."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

from scipy import stats as scipy_stats

from harmbench.stats.student import LEVEL


class Median(NamedTuple):
    """A median time; None stands for "later than was watched".

    Attributes:
        value: of the median; None where fewer than half got there.
        low: of its interval.
        high: of its interval.
        reached: how many got there.
        size: how many there were.
    """

    value: float | None
    low: float | None
    high: float | None
    reached: int
    size: int


def censored_median(reached: Sequence[float], censored: Sequence[float], level: float = LEVEL) -> Median:
    """Kaplan-Meier median of times that some trials never reached, with the interval of Brookmeyer and Crowley.

    Args:
        reached: the times of those that got there.
        censored: how long the others were watched; infinite for those that never will.
        level: of the interval, log-log.

    >>> censored_median([10.0, 20.0, 30.0], [40.0]).value
    20.0
    """
    size = len(reached) + len(censored)
    if not reached:
        return Median(None, None, None, 0, size)
    latest = max([*reached, *(c for c in censored if math.isfinite(c))]) + 1
    data: Any = scipy_stats.CensoredData(uncensored=list(reached), right=[min(c, latest) for c in censored])
    survival = scipy_stats.ecdf(data).sf
    with warnings.catch_warnings():  # where nobody, or everybody, got there the formula has no bounds; NaN says so
        warnings.simplefilter("ignore", RuntimeWarning)
        bounds = survival.confidence_interval(confidence_level=level, method="log-log")

    def first_at_half(function: Any) -> float | None:
        if function is None:
            return None
        under = function.quantiles[function.probabilities <= 0.5 + 1e-12]
        return float(under[0]) if len(under) and under[0] <= max(reached) else None

    low, high = first_at_half(bounds.low), first_at_half(bounds.high)
    return Median(first_at_half(survival), low, high, len(reached), size)
