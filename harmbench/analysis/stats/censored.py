"""Median of times that some trials do not reach within their budget."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

from harmbench.analysis.stats.student import LEVEL


class CensoredMedian(NamedTuple):
    """A median time with its interval. None stands for "later than the last step that was observed".

    Attributes:
        value: the median. None if fewer than half of the trials reached the target.
        low: lower bound of the interval.
        high: upper bound of the interval.
        reached: number of trials that reached the target.
        size: number of trials.
    """

    value: float | None
    low: float | None
    high: float | None
    reached: int
    size: int


def censored_median(reached: Sequence[float], censored: Sequence[float], level: float = LEVEL) -> CensoredMedian:
    """Kaplan-Meier median of times of which some are censored, with the interval of Brookmeyer and Crowley.

    Args:
        reached: times of the trials that reached the target.
        censored: how long the other trials were observed. Infinite for diverged trials, which never reach it.
        level: confidence level of the log-log interval.

    >>> censored_median([10.0, 20.0, 30.0], [40.0]).value
    20.0
    """
    times = sorted([*reached, *censored])
    size, left, variance = len(times), 1.0, 0.0
    deviations = NormalDist().inv_cdf((1 + level) / 2)
    survival: list[tuple[float, tuple[float, float, float]]] = []  # share left from each time on, with its bounds
    for time, died in sorted(Counter(reached).items()):
        at_risk = size - bisect_left(times, time)  # trials censored at a time still count there
        if died == at_risk:  # no trial is left, and the formula has no bounds
            survival.append((time, (0.0, math.nan, math.nan)))
            continue
        left *= 1 - died / at_risk
        variance += died / (at_risk * (at_risk - died))
        center, margin = math.log(-math.log(left)), deviations * math.sqrt(variance) / -math.log(left)
        survival.append((time, (left, math.exp(-math.exp(center + margin)), math.exp(-math.exp(center - margin)))))

    def first_at_half(which: int) -> float | None:
        return next((float(time) for time, shares in survival if shares[which] <= 0.5 + 1e-12), None)

    return CensoredMedian(first_at_half(0), first_at_half(1), first_at_half(2), len(reached), size)
