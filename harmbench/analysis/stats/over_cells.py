"""Aggregates over cells with a stratified bootstrap, as Agarwal et al. (2021, arXiv 2108.13264) define them.

Seeds are drawn again within each cell and cells stay, so an interval is about other seeds, not other data sets. With
few seeds the plain percentile interval is too narrow: a sample of n shows (n - 1) / n of the variance, and a bootstrap
knows no Student. Ours is wider by the root of that and by t over z; benchmarks/statistics.md has both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from harmbench.analysis.stats.student import LEVEL

Array = NDArray[np.float64]
_AT_ONCE = 2**16  # values; more would be fetched from the system anew each time


class Bracket(NamedTuple):
    """A statistic with the bounds of its bootstrap interval; NaN with one seed in each cell."""

    value: float
    low: float
    high: float


class Profile(NamedTuple):
    """Share of trials above each threshold, with the bounds of its bootstrap interval, point by point."""

    thresholds: Array
    share: Array
    low: Array
    high: Array


class Draws:
    """Draws a bootstrap's seeds, and the same ones again for the next: so heads are drawn alike, and but once.

    >>> draws = Draws(0)
    >>> aggregate([[0.9, 0.8, 0.7]], draws.again()) == aggregate([[0.9, 0.8, 0.7]], draws.again())
    True
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._place = 0
        self._drawn: dict[tuple[int, int, int], NDArray[np.intp]] = {}
        self._counted: dict[tuple[int, int, int], NDArray[np.float32]] = {}

    def again(self) -> Draws:
        """From the start."""
        self._place = 0
        return self

    def places(self, size: int, repetitions: int) -> NDArray[np.intp]:
        """(repetitions, size): places drawn with replacement from so many.

        What comes depends on how many draws came before, not on how large they were.
        """
        return self._of(self._next(size, repetitions))

    def times(self, size: int, repetitions: int) -> NDArray[np.float32]:
        """(repetitions, size): how many times each place is drawn, in place of `places`."""
        key = self._next(size, repetitions)
        if key not in self._counted:
            self._counted[key] = _counted(self._of(key))
        return self._counted[key]

    def _next(self, size: int, repetitions: int) -> tuple[int, int, int]:
        self._place += 1
        return self._place - 1, size, repetitions

    def _of(self, key: tuple[int, int, int]) -> NDArray[np.intp]:
        place, size, repetitions = key
        if key not in self._drawn:
            rng = np.random.default_rng([self._seed, place, size])
            self._drawn[key] = rng.integers(size, size=(repetitions, size))
        return self._drawn[key]


Generator = np.random.Generator | Draws


def interquartile_mean(values: ArrayLike) -> Array:
    """Mean of the middle half along the last axis: a quarter of the values, rounded down, is cut off at each end.

    >>> float(interquartile_mean([0.0, 1.0, 2.0, 30.0]))
    1.5
    """
    return _middle_mean(np.sort(np.asarray(values, dtype=float), axis=-1))


def _middle_mean(ranked: Array) -> Array:
    """The same of values in order."""
    cut = ranked.shape[-1] // 4
    return np.asarray(ranked[..., cut : ranked.shape[-1] - cut].mean(-1))


def aggregate(
    cells: Sequence[ArrayLike],
    rng: Generator,
    statistic: Callable[[Array], Array] = _middle_mean,
    repetitions: int = 2000,
    level: float = LEVEL,
) -> Bracket:
    """A statistic of all trials of all cells, with its interval.

    Args:
        cells: the values of each cell, on a scale that cells share, such as accuracy.
        rng: draws the seeds.
        statistic: of the last axis, on which values come in order, the least first; the interquartile mean unless
            given.
        repetitions: of the bootstrap.
        level: of the interval.

    >>> rng = np.random.default_rng(0)
    >>> found = aggregate([[0.90, 0.91, 0.92], [0.80, 0.82, 0.84]], rng)
    >>> round(found.value, 4), found.low <= found.value <= found.high
    (0.8675, True)
    """
    value = statistic(np.sort(np.concatenate(_arrays(cells))))
    low, high = _bounds(value, _redrawn(statistic, cells, rng, repetitions), cells, level)
    return Bracket(float(value), float(low), float(high))


def performance_profile(
    cells: Sequence[ArrayLike],
    thresholds: Sequence[float],
    rng: Generator,
    repetitions: int = 2000,
    level: float = LEVEL,
) -> Profile:
    """Share of trials of all cells whose value is above each threshold.

    >>> profile = performance_profile([[1.0, 2.0], [3.0, 4.0]], [0.0, 2.5, 9.0], np.random.default_rng(0))
    >>> profile.share.tolist()
    [1.0, 0.5, 0.0]
    """
    marks = np.asarray(thresholds, dtype=float)

    def share_above(values: Array) -> Array:
        return np.stack([(values > mark).mean(-1) for mark in marks], axis=-1)

    share = share_above(np.concatenate(_arrays(cells)))
    low, high = _bounds(share, _redrawn(share_above, cells, rng, repetitions), cells, level)
    return Profile(marks, share, np.clip(low, 0, 1), np.clip(high, 0, 1))


def probability_of_improvement(
    ours: Sequence[ArrayLike],
    theirs: Sequence[ArrayLike],
    rng: Generator,
    repetitions: int = 2000,
    level: float = LEVEL,
) -> Bracket:
    """Mean over cells of the probability that a trial of ours is above one of theirs, ties half.

    Args:
        ours: the values of each cell.
        theirs: of the same cells in the same order.
        rng: draws the seeds of both, independently.
        repetitions: of the bootstrap.
        level: of the interval.

    >>> probability_of_improvement([[2.0, 3.0]], [[1.0, 2.0]], np.random.default_rng(0)).value
    0.875
    """
    above = [_superiority(x, y) for x, y in zip(_arrays(ours), _arrays(theirs), strict=True)]
    value = np.mean([pairs.mean() for pairs in above])
    redrawn = np.zeros(repetitions)
    for pairs in above:
        redrawn += _superiorities(pairs, rng, repetitions)
    low, high = _bounds(value, redrawn / len(above), [*ours, *theirs], level)
    return Bracket(float(value), float(np.clip(low, 0, 1)), float(np.clip(high, 0, 1)))


def _superiority(x: Array, y: Array) -> Array:
    """(len(x), len(y)): 1 where x is above y, a half for ties; its mean is the U statistic over its greatest value."""
    difference = x[:, None] - y[None, :]
    return np.asarray((difference > 0) + 0.5 * (difference == 0))


def _arrays(cells: Sequence[ArrayLike]) -> list[Array]:
    return [np.asarray(cell, dtype=float) for cell in cells]


def _redrawn(
    statistic: Callable[[Array], Array], cells: Sequence[ArrayLike], rng: Generator, repetitions: int
) -> Array:
    """(repetitions, ...): a statistic of all values in order, each cell drawn from itself with replacement.

    Ranks are drawn and sorted, and stand for values until the end: small integers are sorted several times as fast.
    """
    arrays = _arrays(cells)
    values = np.concatenate(arrays)
    order = np.argsort(values)
    ranks = np.empty(len(values), dtype=np.min_scalar_type(len(values)))
    ranks[order] = np.arange(len(values))
    own = np.split(ranks, np.cumsum([len(array) for array in arrays])[:-1])
    drawn = np.concatenate([of.take(_places(len(of), rng, repetitions)) for of in own], axis=1)
    drawn.sort(axis=1)
    ranked = values[order]
    parts = np.array_split(drawn, math.ceil(drawn.size / _AT_ONCE))
    return np.concatenate([statistic(ranked.take(part)) for part in parts])


def _superiorities(pairs: Array, rng: Generator, repetitions: int) -> Array:
    """(repetitions,): the mean of `pairs` (x, y), rows and columns drawn with replacement, independently.

    In single precision, which loses nothing: all are sums of halves.
    """
    of_rows, of_columns = (_times(size, rng, repetitions) for size in pairs.shape)
    summed = np.einsum("rc,rc->r", of_rows @ pairs.astype(np.float32), of_columns)
    return np.asarray(summed / np.float64(pairs.size))


def _places(size: int, rng: Generator, repetitions: int) -> NDArray[np.intp]:
    """(repetitions, size): places drawn with replacement."""
    if isinstance(rng, Draws):
        return rng.places(size, repetitions)
    return rng.integers(size, size=(repetitions, size))


def _times(size: int, rng: Generator, repetitions: int) -> NDArray[np.float32]:
    """(repetitions, size): how many times each place is drawn."""
    return rng.times(size, repetitions) if isinstance(rng, Draws) else _counted(_places(size, rng, repetitions))


def _counted(places: NDArray[np.intp]) -> NDArray[np.float32]:
    """How many times each place comes in each row of as many."""
    rows, size = places.shape
    flat = (places + size * np.arange(rows)[:, None]).ravel()
    return np.bincount(flat, minlength=places.size).reshape(rows, size).astype(np.float32)


def _bounds(value: ArrayLike, draws: Array, cells: Sequence[ArrayLike], level: float) -> tuple[Array, Array]:
    """Percentiles of the draws, pulled away from the value as far as so few seeds ask for."""
    size, degrees = sum(map(len, _arrays(cells))), sum(map(len, _arrays(cells))) - len(cells)
    tail = (1 + level) / 2
    stretch = math.sqrt(size / degrees) * special.stdtrit(degrees, tail) / special.ndtri(tail) if degrees else math.nan
    low, high = np.quantile(draws, [1 - tail, tail], axis=0)
    return value + (low - value) * stretch, value + (high - value) * stretch
