"""Means and differences over seeds: Student's t, and the sign test where some values are bounds only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

LEVEL = 0.95
SURE = f"{100 * LEVEL:.0f} %"  # the same as text
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


class Estimate(NamedTuple):
    """A mean difference that is t-distributed around the true one.

    Attributes:
        mean: of the differences.
        error: its standard error; NaN for fewer than two values.
        degrees: of freedom.
        size: number of differences, or of values on the smaller side where there are no pairs.

    >>> found = Estimate.paired([0.9, 1.1, 1.0])
    >>> found.p_above(0.0) < 0.01 < found.p_above(0.9)
    True
    """

    mean: float
    error: float
    degrees: float
    size: int

    @classmethod
    def paired(cls, differences: Sequence[float], resolution: float = 0.0) -> Estimate:
        """Of differences, one for each pair.

        Values that come in steps, as an accuracy on 359 images does, agree by chance: three equal differences have no
        spread, and a t test that took this for certainty would find a winner in up to 40 % of tables without one. So
        the spread is taken to be at least that of the rounding itself, resolution / sqrt(6).

        Args:
            differences: at least one.
            resolution: the step in which both values come; 0 for none.
        """
        return _estimate(differences, resolution / math.sqrt(6))

    @classmethod
    def unpaired(cls, ours: Sequence[float], theirs: Sequence[float], resolution: float = 0.0) -> Estimate:
        """Of the means of two samples, by Welch; each spread at least that of the rounding, resolution / sqrt(12)."""
        one, other = (_estimate(values, resolution / math.sqrt(12)) for values in (ours, theirs))
        variance = one.error**2 + other.error**2
        weights = one.error**4 / max(one.degrees, 1) + other.error**4 / max(other.degrees, 1)
        degrees = variance**2 / weights if weights else one.degrees + other.degrees
        return cls(one.mean - other.mean, math.sqrt(variance), degrees, min(one.size, other.size))

    def interval(self, level: float = LEVEL) -> Interval:
        """Two-sided."""
        return Interval(self.mean, _t_quantile((1 + level) / 2, self.degrees) * self.error, self.size)

    def p_above(self, margin: float) -> float:
        """One-sided p-value against "the true difference is at most the margin"; NaN without a spread."""
        if math.isnan(self.error):
            return math.nan
        if self.error == 0:  # a constant gap between continuous values says all they can
            return float(self.mean <= margin)
        return float(special.stdtr(self.degrees, (margin - self.mean) / self.error))

    def p_below(self, margin: float) -> float:
        """One-sided p-value against "the true difference is at least the margin"."""
        return self._replace(mean=-self.mean).p_above(-margin)

    def seeds_for(self, margin: float, alpha: float) -> int | None:
        """Pairs at which this mean and spread would lie beyond the margin, one-sided at `alpha`.

        None where the mean is on the margin, the spread unknown or 0, or more than a thousand would be needed.
        """
        gap = abs(self.mean - margin)
        if not self.error > 0 or gap == 0:
            return None
        sizes = np.arange(2, MOST_SEEDS + 1)
        enough = sizes[_relative_half_widths(alpha) * self.error * math.sqrt(self.size) < gap]
        return int(enough[0]) if len(enough) else None


class Signs(NamedTuple):
    """Pairs of which some are not known exactly, such as a time that one side never reached: the sign test.

    Attributes:
        low: the least that each pair's difference can be.
        high: the most.

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
        """Of `count` or more heads in as many throws of a coin as there are pairs."""
        return float(special.bdtrc(count - 1, self.size, 0.5)) if count else 1.0

    def seeds_for(self, margin: float, alpha: float) -> int | None:
        """Pairs at which the test would decide, were all to agree; None where those at hand do not."""
        agree = all(low > margin for low in self.low) or all(high < margin for high in self.high)
        return max(2, math.ceil(-math.log2(alpha))) if agree else None


def mean_interval(values: Sequence[float], level: float = LEVEL) -> Interval:
    """Student t interval of a mean.

    >>> mean_interval([1.0, 2.0, 3.0]).mean, round(mean_interval([1.0, 2.0, 3.0]).half_width, 3)
    (2.0, 2.484)
    """
    mean, error = _mean_with_error(values, 0.0)
    return Interval(mean, _t_quantile((1 + level) / 2, len(values) - 1) * error, len(values))


def paired_difference(
    candidate: dict[int, float], baseline: dict[int, float], resolution: float = 0.0, level: float = LEVEL
) -> Comparison | None:
    """Difference of two heads over the seeds both have; None where they share none.

    Args:
        candidate: value by seed.
        baseline: value by seed.
        resolution: the step in which both values come; 0 for none. See `Estimate.paired`.
        level: of the interval.

    >>> paired_difference({0: 2.0, 1: 4.0}, {0: 1.0, 1: 1.0}).interval.mean
    2.0
    """
    shared = sorted(candidate.keys() & baseline.keys())
    if not shared:
        return None
    found = Estimate.paired([candidate[seed] - baseline[seed] for seed in shared], resolution)
    return Comparison(found.interval(level), two_sided(found.p_above(0.0), found.p_below(0.0)))


def two_sided(above: float, below: float) -> float:
    """The two-sided p-value of two one-sided ones; NaN where they are."""
    return min(1.0, 2 * min(above, below)) if not math.isnan(above) else math.nan


def _estimate(values: Sequence[float], least_spread: float) -> Estimate:
    return Estimate(*_mean_with_error(values, least_spread), len(values) - 1, len(values))


def _mean_with_error(values: Sequence[float], least_spread: float) -> tuple[float, float]:
    """The mean, and its standard error: NaN for one value."""
    count = len(values)
    if count == 0:
        raise ValueError("no values")
    mean = math.fsum(values) / count
    if count == 1:
        return mean, math.nan
    # Equal values have no spread; arithmetic may find rounding there, and a t test would believe it.
    if values[0] == values[-1] and min(values) == max(values):
        return values[0], least_spread / math.sqrt(count)
    spread = math.dist(values, [mean] * count) / math.sqrt(count - 1)
    return mean, max(spread, least_spread) / math.sqrt(count)


@cache
def _relative_half_widths(alpha: float) -> NDArray[np.float64]:
    """Of the one-sided interval, over the standard deviation, for 2 to the most seeds."""
    sizes = np.arange(2, MOST_SEEDS + 1)
    return np.asarray(special.stdtrit(sizes - 1, 1 - alpha) / np.sqrt(sizes))


@cache
def _t_quantile(level: float, degrees: float) -> float:
    return float(special.stdtrit(degrees, level)) if degrees > 0 else math.nan


def seeds_to_decide(comparison: Comparison, tests: int, level: float = LEVEL) -> int | None:
    """Seeds at which this difference and spread would be decided after correction for `tests` tests.

    None where the difference is 0, the spread unknown, or more than a thousand would be needed.
    """
    interval = comparison.interval
    if interval.size < 2:
        return None
    error = interval.half_width / _t_quantile((1 + level) / 2, interval.size - 1)
    found = Estimate(interval.mean, error, interval.size - 1, interval.size)
    return found.seeds_for(0.0, alpha=(1 - level) / max(1, tests) / 2)


def detectable_difference(spread: float, pairs: int, tests: int = 1, power: float = 0.8, level: float = LEVEL) -> float:
    """Smallest true difference that this many pairs would decide with probability `power`.

    Args:
        spread: standard deviation of the paired differences.
        pairs: number of them, at least 2.
        tests: in the table; the correction is the hardest that Holm can ask, Bonferroni's.
        power: probability of the decision.
        level: 1 - the share of tables in which something is decided wrongly.

    >>> round(detectable_difference(spread=1.0, pairs=5), 2)
    1.68
    """
    critical = _t_quantile(1 - (1 - level) / max(1, tests) / 2, pairs - 1)
    noncentrality = float(special.nctdtrinc(pairs - 1, 1 - power, critical))
    return noncentrality * spread / math.sqrt(pairs)
