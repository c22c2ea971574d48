"""Means and differences over seeds: Student's t, and the sign test for values that are known as bounds only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

LEVEL = 0.95
SURE = f"{100 * LEVEL:.0f} %"  # the level as text
MOST_SEEDS = 1000  # a larger number of seeds is no practical advice


class Interval(NamedTuple):
    """A mean with its two-sided Student t interval.

    Attributes:
        mean: mean of the values.
        half_width: half of the interval's width. NaN for fewer than two values.
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
        interval: interval of the mean difference, not corrected for multiple tests.
        p_value: two-sided p-value of the paired t test. NaN for fewer than two pairs.
    """

    interval: Interval
    p_value: float


class MeanDifference(NamedTuple):
    """A mean difference that is t-distributed around the true one.

    Attributes:
        mean: mean of the differences.
        error: standard error of the mean. NaN for fewer than two values.
        degrees: degrees of freedom.
        size: number of differences. Without pairs, the number of values on the smaller side.

    >>> difference = MeanDifference.paired([0.9, 1.1, 1.0])
    >>> difference.p_above(0.0) < 0.01 < difference.p_above(0.9)
    True
    """

    mean: float
    error: float
    degrees: float
    size: int

    @classmethod
    def paired(cls, differences: Sequence[float], resolution: float = 0.0) -> MeanDifference:
        """Return the mean difference of pairs.

        Values with a step, such as an accuracy on 359 images, can agree by chance. Three equal differences then have
        no spread, and a plain t test would find a winner in up to 40 % of tables without one. The spread is therefore
        at least that of the rounding, resolution / sqrt(6).

        Args:
            differences: one difference for each pair, at least one.
            resolution: the step between neighboring values. 0 for continuous ones.
        """
        return _estimate(differences, resolution / math.sqrt(6))

    @classmethod
    def unpaired(cls, ours: Sequence[float], theirs: Sequence[float], resolution: float = 0.0) -> MeanDifference:
        """Return the difference of two sample means, by Welch.

        Each spread is at least that of the rounding, resolution / sqrt(12).
        """
        one, other = (_estimate(values, resolution / math.sqrt(12)) for values in (ours, theirs))
        variance = one.error**2 + other.error**2
        weights = one.error**4 / max(one.degrees, 1) + other.error**4 / max(other.degrees, 1)
        degrees = variance**2 / weights if weights else one.degrees + other.degrees
        return cls(one.mean - other.mean, math.sqrt(variance), degrees, min(one.size, other.size))

    def interval(self, level: float = LEVEL) -> Interval:
        """Return the two-sided interval of the mean difference."""
        return Interval(self.mean, _t_quantile((1 + level) / 2, self.degrees) * self.error, self.size)

    def p_above(self, margin: float) -> float:
        """One-sided p-value against "the true difference is at most the margin". NaN without a spread."""
        if math.isnan(self.error):
            return math.nan
        if self.error == 0:  # zero variance: the difference is exact, so p is 0 or 1
            return float(self.mean <= margin)
        return float(special.stdtr(self.degrees, (margin - self.mean) / self.error))

    def p_below(self, margin: float) -> float:
        """One-sided p-value against "the true difference is at least the margin"."""
        return self._replace(mean=-self.mean).p_above(-margin)

    def seeds_for(self, margin: float, alpha: float) -> int | None:
        """Return the number of pairs at which this mean and spread would lie beyond the margin, one-sided at `alpha`.

        None if the mean is on the margin, the spread is unknown or 0, or more than a thousand pairs are needed.
        """
        gap = abs(self.mean - margin)
        if not self.error > 0 or gap == 0:
            return None
        sizes = np.arange(2, MOST_SEEDS + 1)
        enough = sizes[_relative_half_widths(alpha) * self.error * math.sqrt(self.size) < gap]
        return int(enough[0]) if len(enough) else None


class Signs(NamedTuple):
    """Sign test of paired differences of which some are bounds only, such as a time that one side did not reach.

    Attributes:
        low: least possible difference of each pair.
        high: greatest possible difference of each pair.

    >>> Signs(low=(0.5, 0.2, 1.0), high=(0.5, 0.2, math.inf)).p_above(0.0)
    0.125
    """

    low: tuple[float, ...]
    high: tuple[float, ...]

    @property
    def size(self) -> int:
        return len(self.low)

    def p_above(self, margin: float) -> float:
        """One-sided p-value against "the median difference is at most the margin"."""
        return self._tail(sum(low > margin for low in self.low))

    def p_below(self, margin: float) -> float:
        """One-sided p-value against "the median difference is at least the margin"."""
        return self._tail(sum(high < margin for high in self.high))

    def _tail(self, count: int) -> float:
        """Probability of at least `count` heads when a fair coin is thrown once for each pair."""
        return float(special.bdtrc(count - 1, self.size, 0.5)) if count else 1.0

    def seeds_for(self, margin: float, alpha: float) -> int | None:
        """Return the number of pairs at which the test would decide if all agree, or None if they do not agree now."""
        agree = all(low > margin for low in self.low) or all(high < margin for high in self.high)
        return max(2, math.ceil(-math.log2(alpha))) if agree else None


def mean_interval(values: Sequence[float], level: float = LEVEL) -> Interval:
    """Return the mean with its Student t interval.

    >>> mean_interval([1.0, 2.0, 3.0]).mean, round(mean_interval([1.0, 2.0, 3.0]).half_width, 3)
    (2.0, 2.484)
    """
    mean, error = _mean_with_error(values, 0.0)
    return Interval(mean, _t_quantile((1 + level) / 2, len(values) - 1) * error, len(values))


def paired_difference(
    candidate: dict[int, float], baseline: dict[int, float], resolution: float = 0.0, level: float = LEVEL
) -> Comparison | None:
    """Return the difference of two heads over their common seeds, or None without common seeds.

    Args:
        candidate: value by seed.
        baseline: value by seed.
        resolution: the step between neighboring values, see `MeanDifference.paired`. 0 for continuous ones.
        level: confidence level of the interval.

    >>> paired_difference({0: 2.0, 1: 4.0}, {0: 1.0, 1: 1.0}).interval.mean
    2.0
    """
    shared = sorted(candidate.keys() & baseline.keys())
    if not shared:
        return None
    difference = MeanDifference.paired([candidate[seed] - baseline[seed] for seed in shared], resolution)
    return Comparison(difference.interval(level), two_sided(difference.p_above(0.0), difference.p_below(0.0)))


def two_sided(above: float, below: float) -> float:
    """Two-sided p-value of two one-sided ones. NaN if they are NaN."""
    return min(1.0, 2 * min(above, below)) if not math.isnan(above) else math.nan


def _estimate(values: Sequence[float], least_spread: float) -> MeanDifference:
    return MeanDifference(*_mean_with_error(values, least_spread), len(values) - 1, len(values))


def _mean_with_error(values: Sequence[float], least_spread: float) -> tuple[float, float]:
    """Mean and its standard error, which is NaN for one value."""
    count = len(values)
    if count == 0:
        raise ValueError("no values")
    mean = math.fsum(values) / count
    if count == 1:
        return mean, math.nan
    # Equal values have no spread. Floating-point rounding may give one, and a t test would rely on it.
    if values[0] == values[-1] and min(values) == max(values):
        return values[0], least_spread / math.sqrt(count)
    spread = math.dist(values, [mean] * count) / math.sqrt(count - 1)
    return mean, max(spread, least_spread) / math.sqrt(count)


@cache
def _relative_half_widths(alpha: float) -> NDArray[np.float64]:
    """Half-widths of the one-sided interval over the standard deviation, for 2 to `MOST_SEEDS` seeds."""
    sizes = np.arange(2, MOST_SEEDS + 1)
    return np.asarray(special.stdtrit(sizes - 1, 1 - alpha) / np.sqrt(sizes))


@cache
def _t_quantile(level: float, degrees: float) -> float:
    return float(special.stdtrit(degrees, level)) if degrees > 0 else math.nan


def seeds_to_decide(comparison: Comparison, tests: int, level: float = LEVEL) -> int | None:
    """Number of seeds at which this difference and spread would be decided, corrected for `tests` tests.

    None if the difference is 0, the spread is unknown, or more than a thousand seeds are needed.
    """
    interval = comparison.interval
    if interval.size < 2:
        return None
    error = interval.half_width / _t_quantile((1 + level) / 2, interval.size - 1)
    difference = MeanDifference(interval.mean, error, interval.size - 1, interval.size)
    return difference.seeds_for(0.0, alpha=(1 - level) / max(1, tests) / 2)


def minimum_detectable_effect(
    spread: float, pairs: int, tests: int = 1, power: float = 0.8, level: float = LEVEL
) -> float:
    """Minimum detectable effect (MDE): the smallest true difference that is decided with probability `power`.

    Args:
        spread: standard deviation of the paired differences.
        pairs: number of pairs, at least 2.
        tests: number of tests in the table. The correction is Bonferroni's, the strictest that Holm applies.
        power: probability of the decision.
        level: 1 minus the share of tables with a wrong decision.

    >>> round(minimum_detectable_effect(spread=1.0, pairs=5), 2)
    1.68
    """
    critical = _t_quantile(1 - (1 - level) / max(1, tests) / 2, pairs - 1)
    noncentrality = float(special.nctdtrinc(pairs - 1, 1 - power, critical))
    return noncentrality * spread / math.sqrt(pairs)
