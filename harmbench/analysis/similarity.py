"""How alike the features of two trials are, on the same held-out samples: heads with the baseline, and seeds.

    kept features of each trial --> linear CKA of a head with the baseline at the same seed
                               `--> linear CKA of every two seeds of one head, the yardstick

Pure, of arrays and trials; debiased (`analysis.stats.linear_cka`). At one seed two heads have the same initial
backbone and order of the data, two seeds of one head do not.
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


class Similarity(NamedTuple):
    """CKA of one cell's trials.

    Attributes:
        cell: of which trials.
        with_baseline: by seed; none for the baseline itself.
        between_seeds: of every two seeds.
    """

    cell: Cell
    with_baseline: dict[int, float]
    between_seeds: tuple[float, ...]

    @property
    def interval(self) -> Interval | None:
        """Of the similarity with the baseline."""
        return mean_interval(list(self.with_baseline.values())) if self.with_baseline else None

    @property
    def yardstick(self) -> float | None:
        """Mean similarity of two seeds."""
        return float(np.mean(self.between_seeds)) if self.between_seeds else None


def similarities(cells: Sequence[Cell], features: Mapping[str, NDArray[Any]]) -> tuple[Similarity, ...]:
    """Of the cells of one place, those of which trials kept features; features that do not vary are left out.

    Args:
        cells: of one data set, backbone and setting.
        features: (M, N) by trial id, of the same samples in the same order.
    """
    aligned = {cell.key: _aligned(cell, features) for cell in cells}
    baseline = next((aligned[cell.key] for cell in cells if cell.is_baseline), {})
    found = []
    for cell in cells:
        own = aligned[cell.key]
        shared = () if cell.is_baseline else sorted(own.keys() & baseline.keys())
        similarity = Similarity(
            cell,
            {seed: _cka(own[seed], baseline[seed]) for seed in shared if _same_samples(own[seed], baseline[seed])},
            tuple(_cka(one, other) for one, other in combinations(own.values(), 2) if _same_samples(one, other)),
        )
        if similarity.with_baseline or similarity.between_seeds:
            found.append(similarity)
    return tuple(found)


def _aligned(cell: Cell, features: Mapping[str, NDArray[Any]]) -> dict[int, NDArray[np.float64]]:
    """The centered Gram matrices of a cell's trials, by seed."""
    found = {}
    for trial in cell.trials:
        kept = features.get(trial.id)
        if trial.status == "ok" and kept is not None and len(kept) >= MIN_SAMPLES and np.isfinite(kept).all():
            gram = alignment(kept)
            if not math.isnan(gram[0, 0]):
                found[trial.spec.seed] = gram
    return found


def _same_samples(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    return one.shape == other.shape


def _cka(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float(np.vdot(one, other))
