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
    "Linear CKA (Kornblith et al. 2019), with the unbiased estimator of HSIC (Song et al. 2012), of features of the "
    "same "
    "held-out samples. 1: equal up to rotation and scale. 0: unrelated. With the baseline: at the same seed, so "
    "from the "
    "same initial backbone, mean ± half of the t interval. Between seeds: mean over every two seeds of one head, which "
    "differ in initial weights and data order. It shows how similar two models are that differ by chance only."
)


def tables(conditions: Mapping[str, Sequence[Cell]], features: Mapping[str, NDArray[Any]]) -> Iterator[Table]:
    """Yield a table for each condition with comparable features.

    Args:
        conditions: cells by name of their condition.
        features: features (M, N) by trial id.
    """
    for condition, cells in conditions.items():
        members = similarities(cells, features)
        if members:
            yield Table(
                title=f"Similarity of features: {condition}",
                caption=CAPTION,
                columns=(
                    Column(label="head", numeric=False),
                    Column(label="loss", numeric=False),
                    Column(label="CKA with the baseline"),
                    Column(label="seeds"),
                    Column(label="CKA between seeds"),
                    Column(label="least to most"),
                ),
                rows=tuple(_row(similarity) for similarity in members),
            )


def _row(similarity: CellSimilarity) -> tuple[str, ...]:
    interval, yardstick = similarity.interval, similarity.yardstick
    spread = "" if interval is None or math.isnan(interval.half_width) else f" ± {interval.half_width:.3f}"
    return (
        similarity.cell.head,
        similarity.cell.loss,
        "" if interval is None else f"{interval.mean:.3f}{spread}",
        "" if interval is None else str(interval.size),
        "" if yardstick is None else f"{yardstick:.3f}",
        "" if yardstick is None else f"{min(similarity.between_seeds):.3f} to {max(similarity.between_seeds):.3f}",
    )
