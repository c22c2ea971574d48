"""Statistics of seeds: pure functions of numbers, no global state.

One seed of a head and the same seed of the baseline share their initial backbone and data order, so differences
are taken in pairs; a table of many heads is corrected for looking many times (Holm).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats as scipy_stats

LEVEL = 0.95
MOST_SEEDS = 1000  # beyond this many, "how many seeds more" has no practical answer


class Interval(NamedTuple):
    """A mean with its two-sided Student t interval.

    Attributes:
        mean: of the values.
        half_width: of the interval; NaN for fewer than two values.
        size: number of values.
    """

    mean: float
    half_width: float
    size: int

    @property
    def low(self) -> float:
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        return self.mean + self.half_width


class Comparison(NamedTuple):
    """A paired difference, candidate minus baseline.

    Attributes:
        interval: of the mean difference, not corrected for multiplicity.
        p_value: two-sided, of the paired t test; NaN for fewer than two pairs.
    """

    interval: Interval
    p_value: float


def mean_interval(values: Sequence[float], level: float = LEVEL) -> Interval:
    """Student t interval of a mean.

    >>> mean_interval([1.0, 2.0, 3.0]).mean, round(mean_interval([1.0, 2.0, 3.0]).half_width, 3)
    (2.0, 2.484)
    """
    return _t_interval(values, least_spread=0.0, level=level)


def _t_interval(values: Sequence[float], least_spread: float, level: float) -> Interval:
    count = len(values)
    if count == 0:
        raise ValueError("no values")
    mean = float(np.mean(values))
    if count == 1:
        return Interval(mean, math.nan, 1)
    # Equal values have no spread; np.std may find rounding there, and a t test would believe it.
    spread = 0.0 if min(values) == max(values) else float(np.std(values, ddof=1))
    error = max(spread, least_spread) / math.sqrt(count)
    return Interval(mean, float(scipy_stats.t.ppf((1 + level) / 2, count - 1)) * error, count)


def paired_difference(
    candidate: dict[int, float], baseline: dict[int, float], resolution: float = 0.0, level: float = LEVEL
) -> Comparison | None:
    """Difference of two heads over the seeds both have; None where they share none.

    Values that come in steps, as an accuracy on 359 images does, agree by chance: three equal differences have no
    spread, and a t test that took this for certainty would find a winner in up to 40 % of tables without one. So the
    spread is taken to be at least that of the rounding itself, resolution / sqrt(6).

    Args:
        candidate: value by seed.
        baseline: value by seed.
        resolution: the step in which both values come; 0 for none.
        level: of the interval.

    >>> paired_difference({0: 2.0, 1: 4.0}, {0: 1.0, 1: 1.0}).interval.mean
    2.0
    """
    shared = sorted(candidate.keys() & baseline.keys())
    if not shared:
        return None
    differences = [candidate[seed] - baseline[seed] for seed in shared]
    interval = _t_interval(differences, resolution / math.sqrt(6), level)
    if interval.mean == 0 or len(shared) == 1:
        return Comparison(interval, math.nan if len(shared) == 1 else 1.0)
    if interval.half_width == 0:  # a constant gap between continuous values says all they can
        return Comparison(interval, 0.0)
    statistic = abs(interval.mean) / interval.half_width * scipy_stats.t.ppf((1 + level) / 2, len(shared) - 1)
    return Comparison(interval, float(2 * scipy_stats.t.sf(statistic, len(shared) - 1)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given; NaN stays NaN and counts as no test.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted((i for i, p in enumerate(p_values) if not math.isnan(p)), key=lambda i: p_values[i])
    adjusted = [math.nan] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def seeds_to_decide(comparison: Comparison, tests: int, level: float = LEVEL) -> int | None:
    """Seeds at which this difference and spread would be decided after correction for `tests` tests.

    None where the difference is 0, the spread unknown, or more than a thousand would be needed.
    """
    count, mean = comparison.interval.size, comparison.interval.mean
    if count < 2 or mean == 0 or comparison.interval.half_width == 0:
        return None
    error = comparison.interval.half_width / float(scipy_stats.t.ppf((1 + level) / 2, count - 1))
    spread = error * math.sqrt(count)
    alpha = (1 - level) / max(1, tests)
    candidates = np.arange(2, MOST_SEEDS + 1)
    needed = scipy_stats.t.ppf(1 - alpha / 2, candidates - 1) * spread / np.sqrt(candidates)
    enough = candidates[needed < abs(mean)]
    return int(enough[0]) if len(enough) else None
