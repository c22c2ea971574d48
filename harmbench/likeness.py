"""How alike the features of two trials are, on the same held-out samples: heads with the baseline, and seeds.

    kept features of each trial --> linear CKA of a head with the baseline at the same seed
                               `--> linear CKA of every two seeds of one head, the yardstick

Pure, of arrays and trials; debiased (`harmbench.stats.linear_cka`). At one seed two heads have the same initial
backbone and order of the data, two seeds of one head do not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harmbench.cells import Cell
from harmbench.formats import Column, Table
from harmbench.stats import Interval, alignment, mean_interval
from harmbench.stats.cka import MIN_SAMPLES

CAPTION = (
    "Linear CKA (Kornblith et al. 2019), with the unbiased estimator of HSIC (Song et al. 2012), of the features of "
    "the same held-out samples: 1 for features that are the same but for a rotation and a scale, 0 for unrelated ones. "
    "With the baseline: at the same seed, so from the same initial backbone, mean ± half of the t interval. Between "
    "seeds: mean over every two seeds of one head, which start and see the data differently: the yardstick for how "
    "alike two models are that differ in nothing but luck."
)


class Likeness(NamedTuple):
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
        """Of the likeness with the baseline."""
        return mean_interval(list(self.with_baseline.values())) if self.with_baseline else None

    @property
    def yardstick(self) -> float | None:
        """Mean likeness of two seeds."""
        return float(np.mean(self.between_seeds)) if self.between_seeds else None


def likenesses(cells: Sequence[Cell], features: Mapping[str, NDArray[Any]]) -> tuple[Likeness, ...]:
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
        likeness = Likeness(
            cell,
            {seed: _cka(own[seed], baseline[seed]) for seed in shared if _same_samples(own[seed], baseline[seed])},
            tuple(_cka(one, other) for one, other in combinations(own.values(), 2) if _same_samples(one, other)),
        )
        if likeness.with_baseline or likeness.between_seeds:
            found.append(likeness)
    return tuple(found)


def _aligned(cell: Cell, features: Mapping[str, NDArray[Any]]) -> dict[int, NDArray[np.float64]]:
    """The centred Gram matrices of a cell's trials, by seed."""
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


def tables(places: Mapping[str, Sequence[Cell]], features: Mapping[str, NDArray[Any]]) -> Iterator[Table]:
    """A table for each place where there is something to compare.

    Args:
        places: cells by what to call their place.
        features: (M, N) by trial id.
    """
    for place, cells in places.items():
        found = likenesses(cells, features)
        if found:
            yield Table(
                title=f"Likeness of features: {place}",
                caption=CAPTION,
                columns=(
                    Column(label="head", numeric=False),
                    Column(label="loss", numeric=False),
                    Column(label="CKA with the baseline"),
                    Column(label="seeds"),
                    Column(label="CKA between seeds"),
                    Column(label="least to most"),
                ),
                rows=tuple(_row(each) for each in found),
            )


def _row(each: Likeness) -> tuple[str, ...]:
    interval, yardstick = each.interval, each.yardstick
    spread = "" if interval is None or math.isnan(interval.half_width) else f" ± {interval.half_width:.3f}"
    return (
        each.cell.head,
        each.cell.loss,
        "" if interval is None else f"{interval.mean:.3f}{spread}",
        "" if interval is None else str(interval.size),
        "" if yardstick is None else f"{yardstick:.3f}",
        "" if yardstick is None else f"{min(each.between_seeds):.3f} to {max(each.between_seeds):.3f}",
    )
