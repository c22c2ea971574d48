"""The difference of two cells in one measure, with one-sided p-values for any margin.

A measure of unit 1 (an accuracy, a share) is compared by difference, any other measure by ratio. A change of 0.05 is
five points of an accuracy and five per cent of a time. The tests are in `harmbench.analysis.stats`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from harmbench.analysis.cells import Cell
from harmbench.analysis.measures import Measure, Scale, is_time, summands
from harmbench.analysis.stats import MeanDifference, Signs
from harmbench.results.records import TrialRecord
from harmbench.results.vocabulary import COMPONENTS


class Difference(NamedTuple):
    """Candidate against baseline in one measure.

    Attributes:
        evidence: the difference on the measure's scale, where ratios are natural logarithms. None if nothing can be
            compared.
        scale: scale of the evidence.
        reason: why there is no evidence.
    """

    evidence: MeanDifference | Signs | None
    scale: Scale
    reason: str = ""

    def p_above(self, change: float) -> float:
        """One-sided p-value for "more than `change` above the baseline": 0.05 is 5 points, or 5 % of a ratio."""
        return self.evidence.p_above(self._margin(change)) if self.evidence else math.nan

    def p_below(self, change: float) -> float:
        """One-sided p-value for "less than `change` above the baseline"."""
        return self.evidence.p_below(self._margin(change)) if self.evidence else math.nan

    def seeds_for(self, change: float, alpha: float) -> int | None:
        """Number of pairs that would decide on which side of `change` this difference lies."""
        return self.evidence.seeds_for(self._margin(change), alpha) if self.evidence else None

    def _margin(self, change: float) -> float:
        return math.log1p(change) if self.scale == "ratio" else change

    def change(self, value: float) -> float:
        """Return a value of the evidence as a change: a difference, or a ratio minus 1."""
        return math.expm1(value) if self.scale == "ratio" else value


def difference(candidate: Cell, baseline: Cell, measure: Measure) -> Difference:
    """Return the difference of two cells in pairs by seed, or of their means without two common seeds.

    A time to a target that some trial did not reach is known as a bound only. The pairs then count by their signs.
    Values of trials that ended badly are missing.
    """
    paired = _paired_values(candidate, baseline, measure)
    if isinstance(paired, str):
        return Difference(None, measure.scale, paired)
    bounds, ours, theirs = paired
    if any(low != high or math.isinf(low) for low, high in bounds.values()):
        lows, highs = zip(*bounds.values(), strict=True)
        return Difference(Signs(lows, highs), measure.scale)
    step = _resolution(candidate, baseline, measure)
    if len(bounds) < 2 and len(ours) > 1 and len(theirs) > 1:
        return Difference(MeanDifference.unpaired(ours, theirs, step), measure.scale)
    if not bounds:
        return Difference(None, measure.scale, "no common seed")
    return Difference(MeanDifference.paired([low for low, _ in bounds.values()], step), measure.scale)


def mean_difference(pairs: Sequence[tuple[Cell, Cell]], measure: Measure) -> Difference:
    """Return the mean difference over several pairs of cells, by seed, over the seeds that all cells share."""
    by_seed: list[dict[int, float]] = []
    for candidate, baseline in pairs:
        paired = _paired_values(candidate, baseline, measure)
        if isinstance(paired, str):
            return Difference(None, measure.scale, paired)
        bounds, _, _ = paired
        if any(low != high or math.isinf(low) for low, high in bounds.values()):
            return Difference(None, measure.scale, "a trial did not reach the target, so there is no mean")
        by_seed.append({seed: low for seed, (low, _) in bounds.items()})
    shared = sorted(set.intersection(*(set(values) for values in by_seed)))
    if not shared:
        return Difference(None, measure.scale, "no seed that all cells have")
    means = [math.fsum(values[seed] for values in by_seed) / len(by_seed) for seed in shared]
    # A mean over several baselines has a finer step than one value. Pairs with one baseline share its rounding.
    step = max(_resolution(candidate, baseline, measure) for candidate, baseline in pairs)
    baselines = {baseline.key for _, baseline in pairs}
    return Difference(MeanDifference.paired(means, step / math.sqrt(len(baselines))), measure.scale)


Bounds = tuple[float, float]


def _paired_values(
    candidate: Cell, baseline: Cell, measure: Measure
) -> tuple[dict[int, Bounds], list[float], list[float]] | str:
    """Return bounds of each pair's difference by seed and the values of both sides, on the scale, or a reason."""
    sides = [_bounds_by_seed(cell, measure) for cell in (candidate, baseline)]
    for cell, values in zip((candidate, baseline), sides, strict=True):
        if not values:
            return f"{cell.label}: {cell.why_missing(measure.name)}"
        if measure.scale == "ratio" and min(low for low, _ in values.values()) <= 0:
            return f"{measure.name} is not above 0 everywhere, so it has no ratios"
    ours, theirs = (_scaled(values) if measure.scale == "ratio" else values for values in sides)
    bounds = {}
    for seed in sorted(ours.keys() & theirs.keys()):
        (a_low, a_high), (b_low, b_high) = ours[seed], theirs[seed]
        low = -math.inf if b_high == math.inf else a_low - b_high
        bounds[seed] = low, math.inf if a_high == math.inf else a_high - b_low
    return bounds, [low for low, _ in ours.values()], [low for low, _ in theirs.values()]


def _bounds_by_seed(cell: Cell, measure: Measure) -> dict[int, Bounds]:
    """Return the least and greatest possible value of a measure by seed. Both are equal for a known value."""
    bounds: dict[int, Bounds] = {seed: (v, v) for seed, v in cell.by_seed(measure.name).items()}
    if is_time(measure.name):
        for trial in cell.trials:
            watched = watched_for(trial, measure.name)
            if trial.spec.seed not in bounds and watched is not None and (watched or measure.scale == "difference"):
                bounds[trial.spec.seed] = watched, math.inf
    return bounds


def watched_for(trial: TrialRecord, name: str) -> float | None:
    """Return how long a trial was observed without reaching the target, in the unit of the measure.

    A diverged trial gives infinity, since it never reaches the target, and a failed trial None. A grokking gap is
    observed from its first step. It can have any length if that step was not reached, which gives minus infinity.
    """
    if trial.status == "diverged":
        return math.inf
    if trial.status == "failed" or not trial.curve:
        return None
    last = trial.curve[-1]
    if name == "grokking_gap":
        start = trial.value("steps_to_lasting_train")
        return -math.inf if start is None else last.step - start
    if name == "steps_to_target" or name.startswith("steps_to_lasting_"):
        return float(last.step)
    if name == "seconds_to_target":
        return last.train_seconds
    joules = [last.train_joules[c] for c in COMPONENTS if f"{c}_joules_to_target" in summands([trial], name)]
    known = [value for value in joules if value is not None]
    return sum(known) if joules and len(known) == len(joules) else None


def _scaled(values: dict[int, Bounds]) -> dict[int, Bounds]:
    """Return the logarithms of the bounds."""
    lows = {seed: math.log(low) for seed, (low, _) in values.items()}
    return {seed: (lows[seed], lows[seed] if high == low else math.log(high)) for seed, (low, high) in values.items()}


_COUNTED_ON_TEST = {"test_accuracy", "test_balanced_accuracy", "test_macro_f1"}


def _resolution(candidate: Cell, baseline: Cell, measure: Measure) -> float:
    """Return the step between neighboring values of a measure, on its scale. 0 for a continuous measure.

    The step of an accuracy is one image or token, of a share of steps one step, and of a time one validation.
    """
    if measure.name in _COUNTED_ON_TEST:
        return max((1 / cell.answers for cell in (candidate, baseline) if cell.answers), default=0.0)
    trials = [t for cell in (candidate, baseline) for t in cell.trials if t.status == "ok"]
    if measure.name == "validation_accuracy":
        return max((1 / t.answers("validation") for t in trials if t.answers("validation")), default=0.0)
    if measure.unit == "1" and measure.name.endswith(("_share", "_rate")):
        return max((1 / t.curve[-1].step for t in trials if t.curve), default=0.0)
    if measure.name == "grokking_gap":
        return max((float(t.curve[0].step) for t in trials if t.curve), default=0.0)
    if is_time(measure.name):
        counted = measure.name if measure.name.startswith("steps_") else "steps_to_target"
        steps = [(v := t.value(counted)) and t.curve[0].step / v for t in trials if t.curve]
        known = [step for step in steps if step]
        return math.sqrt(math.fsum(step**2 for step in known) / len(known)) if known else 0.0
    return 0.0
