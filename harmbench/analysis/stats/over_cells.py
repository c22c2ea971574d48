"""Aggregates over cells with a stratified bootstrap, as Agarwal et al. (2021, arXiv 2108.13264) define them.

Seeds are resampled within each cell and the cells stay, so an interval is about other seeds and not about other data
sets. With few seeds the plain percentile interval is too narrow: a sample of n shows (n - 1) / n of the variance, and
a bootstrap ignores Student's t. The interval here is wider by the root of that factor and by t / z.
benchmarks/statistics.md compares both by simulation.
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
_CHUNK = 2**16  # values per chunk; larger chunks would be allocated anew by the system each time


class BootstrapInterval(NamedTuple):
    """A statistic with the bounds of its bootstrap interval. Bounds are NaN with one seed in each cell."""

    value: float
    low: float
    high: float


class Profile(NamedTuple):
    """Share of trials above each threshold, with the bounds of its bootstrap interval, point by point."""

    thresholds: Array
    share: Array
    low: Array
    high: Array


class BootstrapIndices:
    """Random indices of a bootstrap, which start over at each reset, so that all heads share one resampling.

    Indices are cached, so each is drawn once.

    >>> rng = BootstrapIndices(0)
    >>> aggregate([[0.9, 0.8, 0.7]], rng.reset()) == aggregate([[0.9, 0.8, 0.7]], rng.reset())
    True
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._position = 0
        self._indices_by_key: dict[tuple[int, int, int], NDArray[np.intp]] = {}
        self._counts_by_key: dict[tuple[int, int, int], NDArray[np.float32]] = {}

    def reset(self) -> BootstrapIndices:
        """Start over and return the object itself."""
        self._position = 0
        return self

    def indices(self, size: int, repetitions: int) -> NDArray[np.intp]:
        """Return indices (repetitions, size) below `size`, drawn with replacement.

        They depend on the number of earlier draws, not on the size of these.
        """
        return self._indices(self._next(size, repetitions))

    def counts(self, size: int, repetitions: int) -> NDArray[np.float32]:
        """Return the number of times that each index is drawn, (repetitions, size), as an alternative to `indices`."""
        key = self._next(size, repetitions)
        if key not in self._counts_by_key:
            self._counts_by_key[key] = _counted(self._indices(key))
        return self._counts_by_key[key]

    def _next(self, size: int, repetitions: int) -> tuple[int, int, int]:
        self._position += 1
        return self._position - 1, size, repetitions

    def _indices(self, key: tuple[int, int, int]) -> NDArray[np.intp]:
        position, size, repetitions = key
        if key not in self._indices_by_key:
            rng = np.random.default_rng([self._seed, position, size])
            self._indices_by_key[key] = rng.integers(size, size=(repetitions, size))
        return self._indices_by_key[key]


Generator = np.random.Generator | BootstrapIndices


def interquartile_mean(values: ArrayLike) -> Array:
    """Mean of the middle half along the last axis. A quarter of the values, rounded down, is cut off at each end.

    >>> float(interquartile_mean([0.0, 1.0, 2.0, 30.0]))
    1.5
    """
    return _middle_mean(np.sort(np.asarray(values, dtype=float), axis=-1))


def _middle_mean(ranked: Array) -> Array:
    """Interquartile mean of sorted values."""
    cut = ranked.shape[-1] // 4
    return np.asarray(ranked[..., cut : ranked.shape[-1] - cut].mean(-1))


def aggregate(
    cells: Sequence[ArrayLike],
    rng: Generator,
    statistic: Callable[[Array], Array] = _middle_mean,
    repetitions: int = 2000,
    level: float = LEVEL,
) -> BootstrapInterval:
    """Return a statistic of all trials of all cells, with its interval.

    Args:
        cells: the values of each cell, on a scale that cells share, such as accuracy.
        rng: resamples the seeds.
        statistic: reduces the last axis, where values are sorted. Default: the interquartile mean.
        repetitions: number of bootstrap samples.
        level: confidence level of the interval.

    >>> rng = np.random.default_rng(0)
    >>> mean = aggregate([[0.90, 0.91, 0.92], [0.80, 0.82, 0.84]], rng)
    >>> round(mean.value, 4), mean.low <= mean.value <= mean.high
    (0.8675, True)
    """
    value = statistic(np.sort(np.concatenate(_arrays(cells))))
    low, high = _bounds(value, _resampled(statistic, cells, rng, repetitions), cells, level)
    return BootstrapInterval(float(value), float(low), float(high))


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
    low, high = _bounds(share, _resampled(share_above, cells, rng, repetitions), cells, level)
    return Profile(marks, share, np.clip(low, 0, 1), np.clip(high, 0, 1))


def probability_of_improvement(
    ours: Sequence[ArrayLike],
    theirs: Sequence[ArrayLike],
    rng: Generator,
    repetitions: int = 2000,
    level: float = LEVEL,
) -> BootstrapInterval:
    """Mean over cells of the probability that a trial of ours is above one of theirs. Ties count half.

    Args:
        ours: our values in each cell.
        theirs: their values in the same cells.
        rng: resamples the seeds of both, independently.
        repetitions: number of bootstrap samples.
        level: confidence level of the interval.

    >>> probability_of_improvement([[2.0, 3.0]], [[1.0, 2.0]], np.random.default_rng(0)).value
    0.875
    """
    above = [_superiority(x, y) for x, y in zip(_arrays(ours), _arrays(theirs), strict=True)]
    value = np.mean([pairs.mean() for pairs in above])
    redrawn = np.zeros(repetitions)
    for pairs in above:
        redrawn += _superiorities(pairs, rng, repetitions)
    low, high = _bounds(value, redrawn / len(above), [*ours, *theirs], level)
    return BootstrapInterval(float(value), float(np.clip(low, 0, 1)), float(np.clip(high, 0, 1)))


def _superiority(x: Array, y: Array) -> Array:
    """Matrix (len(x), len(y)) of 1 where x is above y and 0.5 for ties.

    Its mean is the U statistic over its greatest value.
    """
    difference = x[:, None] - y[None, :]
    return np.asarray((difference > 0) + 0.5 * (difference == 0))


def _arrays(cells: Sequence[ArrayLike]) -> list[Array]:
    return [np.asarray(cell, dtype=float) for cell in cells]


def _resampled(
    statistic: Callable[[Array], Array], cells: Sequence[ArrayLike], rng: Generator, repetitions: int
) -> Array:
    """Statistic (repetitions, ...) of all sorted values, with each cell resampled from itself with replacement.

    Ranks are resampled and sorted instead of values, because small integers sort several times as fast.
    """
    arrays = _arrays(cells)
    values = np.concatenate(arrays)
    order = np.argsort(values)
    ranks = np.empty(len(values), dtype=np.min_scalar_type(len(values)))
    ranks[order] = np.arange(len(values))
    ranks_by_cell = np.split(ranks, np.cumsum([len(array) for array in arrays])[:-1])
    resampled = np.concatenate(
        [cell_ranks.take(_indices(len(cell_ranks), rng, repetitions)) for cell_ranks in ranks_by_cell], axis=1
    )
    resampled.sort(axis=1)
    ranked = values[order]
    chunks = np.array_split(resampled, math.ceil(resampled.size / _CHUNK))
    return np.concatenate([statistic(ranked.take(chunk)) for chunk in chunks])


def _superiorities(pairs: Array, rng: Generator, repetitions: int) -> Array:
    """Mean (repetitions,) of `pairs` (x, y), with rows and columns resampled independently.

    Single precision is exact here, since all terms are sums of halves.
    """
    of_rows, of_columns = (_counts(size, rng, repetitions) for size in pairs.shape)
    summed = np.einsum("rc,rc->r", of_rows @ pairs.astype(np.float32), of_columns)
    return np.asarray(summed / np.float64(pairs.size))


def _indices(size: int, rng: Generator, repetitions: int) -> NDArray[np.intp]:
    """Indices (repetitions, size) drawn with replacement."""
    if isinstance(rng, BootstrapIndices):
        return rng.indices(size, repetitions)
    return rng.integers(size, size=(repetitions, size))


def _counts(size: int, rng: Generator, repetitions: int) -> NDArray[np.float32]:
    """Number of times that each index is drawn, (repetitions, size)."""
    if isinstance(rng, BootstrapIndices):
        return rng.counts(size, repetitions)
    return _counted(_indices(size, rng, repetitions))


def _counted(indices: NDArray[np.intp]) -> NDArray[np.float32]:
    """Number of times that each index occurs in each row."""
    rows, size = indices.shape
    flat = (indices + size * np.arange(rows)[:, None]).ravel()
    return np.bincount(flat, minlength=indices.size).reshape(rows, size).astype(np.float32)


def _bounds(value: ArrayLike, resampled: Array, cells: Sequence[ArrayLike], level: float) -> tuple[Array, Array]:
    """Percentiles of resampled values, moved away from the statistic to correct for the number of seeds."""
    size = sum(map(len, _arrays(cells)))
    degrees = size - len(cells)
    tail = (1 + level) / 2
    stretch = math.sqrt(size / degrees) * special.stdtrit(degrees, tail) / special.ndtri(tail) if degrees else math.nan
    low, high = np.quantile(resampled, [1 - tail, tail], axis=0)
    return value + (low - value) * stretch, value + (high - value) * stretch
