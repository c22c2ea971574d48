"""Trials as groups: one table's cells, ranked and compared with the baseline."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harmbench.analysis.cells import Cell, cells_of
from harmbench.analysis.conditions import place
from harmbench.analysis.primary import ACCURACY, PrimaryMetric, primary_metric
from harmbench.analysis.stats import LEVEL, Comparison, holm, paired_difference, seeds_to_decide
from harmbench.report.numbers import MISSING
from harmbench.results.records import TrialRecord


@dataclass(frozen=True)
class Group:
    """The cells of one table: one dataset, backbone and setting, the best mean first, those of which a trial ended
    badly or collapsed after all others.

    Attributes:
        comparisons: of the lead measure with the baseline, by label; with Holm-adjusted p-values.
        lead: what the heads are ranked and compared by.
    """

    dataset: str
    backbone: str
    cells: tuple[Cell, ...]
    baseline: Cell | None
    comparisons: dict[str, tuple[Comparison, float]]
    setting: str = ""
    lead: PrimaryMetric = ACCURACY

    @property
    def title(self) -> str:
        return place(self.dataset, self.backbone, self.setting)

    def verdict(self, cell: Cell) -> str:
        """Better, worse or not decided against the baseline."""
        if cell.is_baseline:
            return "baseline"
        if cell.label not in self.comparisons:
            return MISSING
        comparison, p_value = self.comparisons[cell.label]
        if p_value < 1 - LEVEL:  # of the seeds that ended well; the others may have been the hard ones
            is_behind = self.lead.sign * comparison.interval.mean < 0
            ahead = self.baseline if is_behind else cell
            if ahead and ahead.unsound:
                return f"not decided ({'of the baseline ' if is_behind else ''}{ahead.unsound})"
            return "worse" if is_behind else "better"
        needed = seeds_to_decide(comparison, tests=len(self.comparisons))
        return f"not decided ({needed} seeds would)" if needed else "not decided"


def group_cells(trials: Sequence[TrialRecord]) -> Iterator[Group]:
    """Trials as groups of cells, in the order in which they first ran."""
    groups: dict[tuple[str, str, str], list[Cell]] = defaultdict(list)
    for cell in cells_of(trials):
        groups[cell.dataset, cell.backbone, cell.setting].append(cell)
    for (dataset, backbone, setting), found in groups.items():
        lead = primary_metric(found)
        ranked = sorted(found, key=lambda cell: _rank(cell, lead))
        baseline = next((cell for cell in ranked if cell.is_baseline), None)
        yield Group(dataset, backbone, tuple(ranked), baseline, _compare(ranked, baseline, lead), setting, lead)


def _rank(cell: Cell, lead: PrimaryMetric) -> tuple[bool, float]:
    quality = cell.interval(lead.measure)
    return bool(cell.unsound), -lead.sign * quality.mean if quality else math.inf


def _compare(cells: Sequence[Cell], baseline: Cell | None, lead: PrimaryMetric) -> dict[str, tuple[Comparison, float]]:
    if baseline is None:
        return {}
    reference = baseline.by_seed(lead.measure)
    sizes = [t.sizes["test"] for cell in cells for t in cell.trials if t.sizes.get("test")]
    resolution = 1 / min(sizes) if sizes and lead is ACCURACY else 0.0  # a loss does not come in steps
    found = {
        cell.label: comparison
        for cell in cells
        if not cell.is_baseline and (comparison := paired_difference(cell.by_seed(lead.measure), reference, resolution))
    }
    adjusted = holm([comparison.p_value for comparison in found.values()])
    return {label: (found[label], p) for label, p in zip(found, adjusted, strict=True)}


def relative_to(cell: Cell, baseline: Cell, name: str) -> float | None:
    """Mean over seeds of the ratio to the baseline at the same seed."""
    ours, theirs = cell.by_seed(name), baseline.by_seed(name)
    shared = ours.keys() & theirs.keys()
    return sum(ours[s] / theirs[s] for s in shared) / len(shared) if shared else None
