"""Similarity of heads' features."""

from __future__ import annotations

from typing import ClassVar, Final

from harmbench.analysis.similarity import CellSimilarity, similarities
from harmbench.report.charts import Dot, DotPanel, Dots
from harmbench.report.formats import Figure
from harmbench.report.plots._base import Plot, cells_by_condition, file_name, half_width, kept, lacking, not_kept
from harmbench.results.store import RunData

KIND: Final = "features"


class Cka(Plot):
    """Linear CKA of every head's features with the baseline's at the same seed, and between seeds of one head.

    The estimator is debiased (Kornblith et al. 2019, Song et al. 2012) and uses at most 512 held-out samples, the same
    for all. The dashed line is the similarity of two seeds of the baseline, for reference. The suite needs
    `artifacts: [features]`.
    """

    name: ClassVar[str] = "cka"

    def applies(self, run: RunData) -> str | None:
        if reason := not_kept(run, KIND, "features"):
            return reason
        return None if _found(run) else "features of one trial alone have nothing to be compared with"

    def figures(self, run: RunData) -> tuple[Figure, ...]:
        found = _found(run)
        with_features = kept(run, KIND)
        return tuple(
            Dots(
                name=file_name(self.name, condition, found),
                caption=f"Linear CKA, debiased, of the features of {condition} on the same held-out samples. Left: "
                "of a "
                "head with the baseline at the same seed, from the same initial backbone; mean with its 95 % t "
                "interval, a tick for each seed. Right: of every two seeds of one head. The dashed line is what two "
                "seeds of the baseline have in common."
                + lacking((each.cell for each in members), with_features, "features"),
                axis="linear CKA",
                limits=(-0.05, 1.05),
                panels=_panels(members),
            )
            for condition, members in found.items()
        )


def _found(run: RunData) -> dict[str, tuple[CellSimilarity, ...]]:
    features = {trial: arrays[KIND] for trial, arrays in kept(run, KIND).items()}
    found = {condition: similarities(cells, features) for condition, cells in cells_by_condition(run).items()}
    return {condition: members for condition, members in found.items() if members}


def _panels(members: tuple[CellSimilarity, ...]) -> tuple[DotPanel, ...]:
    yardstick = next((each.yardstick for each in members if each.cell.is_baseline), None)
    heads = tuple(
        Dot(
            head=each.cell.head,
            loss=each.cell.loss,
            mean=each.interval.mean,
            half_width=half_width(each.interval),
            values=tuple(each.with_baseline.values()),
        )
        for each in members
        if each.interval
    )
    seeds = tuple(
        Dot(
            head=each.cell.head,
            loss=each.cell.loss,
            mean=each.yardstick,
            half_width=None,
            values=each.between_seeds,
        )
        for each in members
        if each.yardstick is not None
    )
    panels = (
        DotPanel(title="with the baseline", dots=heads, reference=yardstick),
        DotPanel(title="between seeds", dots=seeds, reference=yardstick),
    )
    return tuple(panel for panel in panels if panel.dots)
