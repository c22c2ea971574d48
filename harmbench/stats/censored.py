"""Times that some trials never reach."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

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
    times, died = np.unique(np.asarray(reached, dtype=float), return_counts=True)
    at_risk = size - np.searchsorted(np.sort([*reached, *censored]), times)  # those censored at a time still count
    survival = np.cumprod(1 - died / at_risk)
    with np.errstate(divide="ignore", invalid="ignore"):  # where nobody is left the formula has no bounds; NaN says so
        error = np.sqrt(np.cumsum(died / (at_risk * (at_risk - died)))) / np.log(survival)
        place = np.log(-np.log(survival))
        far = special.ndtri((1 + level) / 2) * np.abs(error)
        low, high = np.exp(-np.exp(place + far)), np.exp(-np.exp(place - far))

    def first_at_half(probabilities: NDArray[np.floating]) -> float | None:
        under = times[probabilities <= 0.5 + 1e-12]
        return float(under[0]) if len(under) else None

    return Median(first_at_half(survival), first_at_half(low), first_at_half(high), len(reached), size)
