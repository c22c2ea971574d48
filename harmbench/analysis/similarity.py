"""Similarity (CKA) of the features of two trials on the same held-out samples.

    stored features of each trial --> linear CKA of a head with the baseline at the same seed
                                 `--> linear CKA of every two seeds of one head, for reference

The estimator is debiased (`analysis.stats.linear_cka`). Two heads at one seed share their initial backbone and data
order, while two seeds of one head do not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harmbench.analysis.cells import Cell
from harmbench.analysis.stats import Interval, alignment, mean_interval
from harmbench.analysis.stats.cka import MIN_SAMPLES


class CellSimilarity(NamedTuple):
    """CKA of one cell's trials.

    Attributes:
        cell: the cell.
        with_baseline: similarity with the baseline by seed. Empty for the baseline itself.
        between_seeds: similarity of every two seeds.
    """

    cell: Cell
    with_baseline: dict[int, float]
    between_seeds: tuple[float, ...]

    @property
    def interval(self) -> Interval | None:
        """Interval of the similarity with the baseline."""
        return mean_interval(list(self.with_baseline.values())) if self.with_baseline else None

    @property
    def yardstick(self) -> float | None:
        """Mean similarity of two seeds."""
        return float(np.mean(self.between_seeds)) if self.between_seeds else None


def similarities(cells: Sequence[Cell], features: Mapping[str, NDArray[Any]]) -> tuple[CellSimilarity, ...]:
    """Return the similarities of those cells of one condition whose trials stored features.

    Constant features are left out.

    Args:
        cells: cells of one condition.
        features: features (M, N) by trial id, of the same samples in the same order.
    """
    aligned = {cell.key: _aligned(cell, features) for cell in cells}
    baseline = next((aligned[cell.key] for cell in cells if cell.is_baseline), {})
    results = []
    for cell in cells:
        grams = aligned[cell.key]
        shared = () if cell.is_baseline else sorted(grams.keys() & baseline.keys())
        similarity = CellSimilarity(
            cell,
            {seed: _cka(grams[seed], baseline[seed]) for seed in shared if _same_samples(grams[seed], baseline[seed])},
            tuple(_cka(one, other) for one, other in combinations(grams.values(), 2) if _same_samples(one, other)),
        )
        if similarity.with_baseline or similarity.between_seeds:
            results.append(similarity)
    return tuple(results)


def _aligned(cell: Cell, features: Mapping[str, NDArray[Any]]) -> dict[int, NDArray[np.float64]]:
    """Return the centered Gram matrices of a cell's trials, by seed."""
    grams = {}
    for trial in cell.trials:
        array = features.get(trial.id)
        if trial.status == "ok" and array is not None and len(array) >= MIN_SAMPLES and np.isfinite(array).all():
            gram = alignment(array)
            if not math.isnan(gram[0, 0]):
                grams[trial.spec.seed] = gram
    return grams


def _same_samples(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    return one.shape == other.shape


def _cka(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float(np.vdot(one, other))
