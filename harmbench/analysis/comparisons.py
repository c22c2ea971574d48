"""The difference of two cells in one measure, with what is needed to say on which side of a margin it lies.

A measure of unit 1 (an accuracy, a share) is compared by difference, any other by ratio, so that a change of 0.05 is
five points of an accuracy and five per cent of a time. The tests are in `harmbench.analysis.stats`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from harmbench.analysis.cells import Cell, Measure, Scale, is_time, parts
from harmbench.analysis.stats import Estimate, Signs
from harmbench.results.records import COMPONENTS, TrialRecord


class Difference(NamedTuple):
    """Candidate against baseline in one measure.

    Attributes:
        evidence: on the measure's scale, natural logarithms of ratios; None where there is nothing to compare.
        scale: of the evidence.
        reason: why there is no evidence.
    """

    evidence: Estimate | Signs | None
    scale: Scale
    reason: str = ""

    def p_above(self, change: float) -> float:
        """One-sided p-value for "more than `change` above the baseline": 0.05 is 5 points, or 5 % of a ratio."""
        return self.evidence.p_above(self._margin(change)) if self.evidence else math.nan

    def p_below(self, change: float) -> float:
        """One-sided p-value for "less than `change` above the baseline"."""
        return self.evidence.p_below(self._margin(change)) if self.evidence else math.nan

    def seeds_for(self, change: float, alpha: float) -> int | None:
        """Pairs that would decide on which side of `change` this difference lies."""
        return self.evidence.seeds_for(self._margin(change), alpha) if self.evidence else None

    def _margin(self, change: float) -> float:
        return math.log1p(change) if self.scale == "ratio" else change

    def change(self, value: float) -> float:
        """A value of the evidence as a change: points over 1, or ratio - 1."""
        return math.expm1(value) if self.scale == "ratio" else value


def difference(candidate: Cell, baseline: Cell, measure: Measure) -> Difference:
    """Of two cells, in pairs by seed; without two common seeds, of their means.

    A time to a target that some trial never reached is known as a bound only: the pairs then count by their signs.
    Values of a trial that ended badly are missing, and say nothing of the head.
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
        return Difference(Estimate.unpaired(ours, theirs, step), measure.scale)
    if not bounds:
        return Difference(None, measure.scale, "no common seed")
    return Difference(Estimate.paired([low for low, _ in bounds.values()], step), measure.scale)


def mean_difference(pairs: Sequence[tuple[Cell, Cell]], measure: Measure) -> Difference:
    """Of the mean over several pairs of cells, seed by seed: over the seeds that all of them have."""
    by_seed: list[dict[int, float]] = []
    for candidate, baseline in pairs:
        paired = _paired_values(candidate, baseline, measure)
        if isinstance(paired, str):
            return Difference(None, measure.scale, paired)
        bounds, _, _ = paired
        if any(low != high or math.isinf(low) for low, high in bounds.values()):
            return Difference(None, measure.scale, "a trial never got there: a mean would be one of the others only")
        by_seed.append({seed: low for seed, (low, _) in bounds.items()})
    shared = sorted(set.intersection(*(set(values) for values in by_seed)))
    if not shared:
        return Difference(None, measure.scale, "no seed that all cells have")
    means = [math.fsum(values[seed] for values in by_seed) / len(by_seed) for seed in shared]
    # The rounding of a mean is finer than that of its parts, as far as these are not the same baseline again.
    step = max(_resolution(candidate, baseline, measure) for candidate, baseline in pairs)
    places = {baseline.key for _, baseline in pairs}
    return Difference(Estimate.paired(means, step / math.sqrt(len(places))), measure.scale)


Bounds = tuple[float, float]


def _paired_values(
    candidate: Cell, baseline: Cell, measure: Measure
) -> tuple[dict[int, Bounds], list[float], list[float]] | str:
    """Bounds of each pair's contrast by seed, and each side's own values, on the scale; or why there are none."""
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
    """The least and the most that a measure can be, by seed: equal where it is known."""
    found: dict[int, Bounds] = {seed: (v, v) for seed, v in cell.by_seed(measure.name).items()}
    if is_time(measure.name):
        for trial in cell.trials:
            watched = watched_for(trial, measure.name)
            if trial.spec.seed not in found and watched is not None and (watched or measure.scale == "difference"):
                found[trial.spec.seed] = watched, math.inf
    return found


def watched_for(trial: TrialRecord, name: str) -> float | None:
    """How long, in the unit of the measure, a trial was watched that never got there; one that diverged never will.

    Of a gap that is from the step that begins it; where nothing began it, nothing is known of it, and it may be of any
    length.
    """
    if trial.status == "diverged":
        return math.inf
    if trial.status == "failed" or not trial.curve:
        return None
    last = trial.curve[-1]
    if name == "grokking_gap":
        begun = trial.value("steps_to_lasting_train")
        return -math.inf if begun is None else last.step - begun
    if name == "steps_to_target" or name.startswith("steps_to_lasting_"):
        return float(last.step)
    if name == "seconds_to_target":
        return last.train_seconds
    joules = [last.train_joules[c] for c in COMPONENTS if f"{c}_joules_to_target" in parts([trial], name)]
    known = [value for value in joules if value is not None]
    return sum(known) if joules and len(known) == len(joules) else None


def _scaled(values: dict[int, Bounds]) -> dict[int, Bounds]:
    """The logarithms."""
    lows = {seed: math.log(low) for seed, (low, _) in values.items()}
    return {seed: (lows[seed], lows[seed] if high == low else math.log(high)) for seed, (low, high) in values.items()}


_OF_TEST_ANSWERS = {"test_accuracy", "test_balanced_accuracy", "test_macro_f1"}


def _resolution(candidate: Cell, baseline: Cell, measure: Measure) -> float:
    """The step in which values of a measure come, on its scale; 0 for a continuous one.

    Accuracies come in images or tokens, shares of steps in steps, times to a target in validations.
    """
    if measure.name in _OF_TEST_ANSWERS:
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
