"""Times that some trials never reach."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

from harmbench.analysis.stats.student import LEVEL


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
    everyone = sorted([*reached, *censored])
    size, left, variance = len(everyone), 1.0, 0.0
    deviations = NormalDist().inv_cdf((1 + level) / 2)
    survival: list[tuple[float, tuple[float, float, float]]] = []  # from each time on, with its bounds
    for time, died in sorted(Counter(reached).items()):
        at_risk = size - bisect_left(everyone, time)  # those censored at a time still count
        if died == at_risk:  # nobody is left, and the formula has no bounds
            survival.append((time, (0.0, math.nan, math.nan)))
            continue
        left *= 1 - died / at_risk
        variance += died / (at_risk * (at_risk - died))
        place, far = math.log(-math.log(left)), deviations * math.sqrt(variance) / -math.log(left)
        survival.append((time, (left, math.exp(-math.exp(place + far)), math.exp(-math.exp(place - far)))))

    def first_at_half(which: int) -> float | None:
        return next((float(time) for time, shares in survival if shares[which] <= 0.5 + 1e-12), None)

    return Median(first_at_half(0), first_at_half(1), first_at_half(2), len(reached), size)
