"""Conditions: cells of one data set, backbone and setting, ranked and compared with the baseline."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harmbench.analysis.cells import Cell, cells_of
from harmbench.analysis.conditions import condition_name
from harmbench.analysis.primary import ACCURACY, PrimaryMetric, primary_metric
from harmbench.analysis.stats import LEVEL, Comparison, holm, paired_difference, seeds_to_decide
from harmbench.report.numbers import MISSING
from harmbench.results.records import TrialRecord


@dataclass(frozen=True)
class Condition:
    """The cells of one data set, backbone and setting.

    Attributes:
        cells: cells with the best mean first. Disqualified cells come last.
        comparisons: comparisons of the primary metric with the baseline and Holm-adjusted p-values, by label.
        primary: the metric that heads are ranked and compared by.
    """

    dataset: str
    backbone: str
    cells: tuple[Cell, ...]
    baseline: Cell | None
    comparisons: dict[str, tuple[Comparison, float]]
    setting: str = ""
    primary: PrimaryMetric = ACCURACY

    @property
    def title(self) -> str:
        return condition_name(self.dataset, self.backbone, self.setting)

    def verdict(self, cell: Cell) -> str:
        """Return better, worse or not decided, against the baseline."""
        if cell.is_baseline:
            return "baseline"
        if cell.label not in self.comparisons:
            return MISSING
        comparison, p_value = self.comparisons[cell.label]
        if p_value < 1 - LEVEL:  # over the seeds that ended well, which may be the easy ones
            is_behind = self.primary.sign * comparison.interval.mean < 0
            ahead = self.baseline if is_behind else cell
            if ahead and ahead.disqualified:
                return f"not decided ({'of the baseline ' if is_behind else ''}{ahead.disqualified})"
            return "worse" if is_behind else "better"
        needed = seeds_to_decide(comparison, tests=len(self.comparisons))
        return f"not decided ({needed} seeds would)" if needed else "not decided"


def conditions_of(trials: Sequence[TrialRecord]) -> Iterator[Condition]:
    """Yield the conditions of trials, in the order in which they first ran."""
    by_condition: dict[tuple[str, str, str], list[Cell]] = defaultdict(list)
    for cell in cells_of(trials):
        by_condition[cell.dataset, cell.backbone, cell.setting].append(cell)
    for (dataset, backbone, setting), cells in by_condition.items():
        primary = primary_metric(cells)
        ranked = sorted(cells, key=lambda cell: _rank(cell, primary))
        baseline = next((cell for cell in ranked if cell.is_baseline), None)
        yield Condition(
            dataset, backbone, tuple(ranked), baseline, _compare(ranked, baseline, primary), setting, primary
        )


def _rank(cell: Cell, primary: PrimaryMetric) -> tuple[bool, float]:
    quality = cell.interval(primary.measure)
    return bool(cell.disqualified), -primary.sign * quality.mean if quality else math.inf


def _compare(
    cells: Sequence[Cell], baseline: Cell | None, primary: PrimaryMetric
) -> dict[str, tuple[Comparison, float]]:
    if baseline is None:
        return {}
    reference = baseline.by_seed(primary.measure)
    sizes = [t.sizes["test"] for cell in cells for t in cell.trials if t.sizes.get("test")]
    resolution = 1 / min(sizes) if sizes and primary is ACCURACY else 0.0  # a loss is continuous
    comparisons = {
        cell.label: comparison
        for cell in cells
        if not cell.is_baseline
        and (comparison := paired_difference(cell.by_seed(primary.measure), reference, resolution))
    }
    adjusted = holm([comparison.p_value for comparison in comparisons.values()])
    return {label: (comparisons[label], p) for label, p in zip(comparisons, adjusted, strict=True)}


def relative_to(cell: Cell, baseline: Cell, name: str) -> float | None:
    """Return the mean over seeds of the ratio to the baseline at the same seed."""
    ours, theirs = cell.by_seed(name), baseline.by_seed(name)
    shared = ours.keys() & theirs.keys()
    return sum(ours[s] / theirs[s] for s in shared) / len(shared) if shared else None
