"""Similarity of features (CKA), as a table for each condition."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from harmbench.analysis.cells import Cell
from harmbench.analysis.similarity import CellSimilarity, similarities
from harmbench.report.formats import Column, Table

CAPTION = (
    "Linear CKA (Kornblith et al. 2019), with the unbiased estimator of HSIC (Song et al. 2012), of the features of "
    "the same held-out samples: 1 for features that are the same but for a rotation and a scale, 0 for unrelated ones. "
    "With the baseline: at the same seed, so from the same initial backbone, mean ± half of the t interval. Between "
    "seeds: mean over every two seeds of one head, which start and see the data differently: the yardstick for how "
    "alike two models are that differ in nothing but luck."
)


def tables(places: Mapping[str, Sequence[Cell]], features: Mapping[str, NDArray[Any]]) -> Iterator[Table]:
    """A table for each place where there is something to compare.

    Args:
        places: cells by what to call their place.
        features: (M, N) by trial id.
    """
    for place, cells in places.items():
        found = similarities(cells, features)
        if found:
            yield Table(
                title=f"Similarity of features: {place}",
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


def _row(each: CellSimilarity) -> tuple[str, ...]:
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
