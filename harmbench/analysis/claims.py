"""Claims and results -> verdicts. The rules and their statistics are explained in docs/explanation/verdicts.md.

A claim compares heads with a baseline in one measure, in every condition of its scope. Each comparison gives two
one-sided p-values, for the claim and against it. A rule says in how many comparisons the claim must hold. Holm corrects
over the claims.

    better              beyond the margin in every cell
    better_on_average   beyond the margin on the mean over the cells, seed by seed
    no_worse            not behind by more than the margin in any cell
    equivalent          within the margin on both sides in every cell
    share_of_cells      beyond the margin in at least this share of the cells

Claims that the run cannot answer are `not testable here`, with the reason. Modelled joules never decide a verdict.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from harmbench.analysis.cells import Cell, cells_of
from harmbench.analysis.comparisons import Difference, difference, mean_difference
from harmbench.analysis.measures import Measure, find_measure, is_time, missing_measure
from harmbench.analysis.primary import ACCURACY, LOSS, PrimaryMetric
from harmbench.analysis.stats import LEVEL, MeanDifference, Signs, at_least, holm, two_sided
from harmbench.errors import UsageError
from harmbench.planning import suite as suites
from harmbench.planning.suite import Claim, matches
from harmbench.results._rows import Record
from harmbench.results.records import TrialRecord

Answer = Literal["supported", "refuted", "not decided", "not testable here"]
ANSWERS: tuple[Answer, ...] = ("supported", "refuted", "not decided", "not testable here")


class ClaimComparison(Record):
    """One comparison of a claim.

    Attributes:
        head: label of the candidate.
        condition: backbone, data set and setting.
        change: candidate against baseline: the difference for a measure of unit 1, otherwise the ratio minus 1. None
            if only signs are known.
        low, high: bounds of its 95 % interval, not corrected.
        text: the change with its interval, for people.
        pairs: number of common seeds.
        note: why there is no change, or why it cannot decide.
    """

    head: str
    condition: str
    change: float | None = None
    low: float | None = None
    high: float | None = None
    text: str = ""
    pairs: int = 0
    note: str = ""


class Verdict(Record):
    """Verdict on a claim.

    Attributes:
        claim: the claim as the suite states it.
        verdict: supported, refuted, not decided or not testable here.
        reason: the reason, and the next step.
        decisive: the comparison that decides: the weakest one, or the one that refutes.
        comparisons: all comparisons.
        p_value: p-value corrected over the claims. None if nothing was tested.
        seeds_needed: estimated number of seeds that would decide. None if decided or unknown.
    """

    claim: Claim
    verdict: Answer
    reason: str
    decisive: ClaimComparison | None = None
    comparisons: tuple[ClaimComparison, ...] = ()
    p_value: float | None = None
    seeds_needed: int | None = None


@dataclass(frozen=True)
class _Tested:
    """One comparison with its p-values for and against the claim. A p-value is NaN if the comparison cannot decide."""

    comparison: ClaimComparison
    difference: Difference
    supports: float
    refutes: float


@dataclass(frozen=True)
class _Draft:
    """A claim with all its comparisons, before the correction over the claims."""

    claim: Claim
    tested: tuple[_Tested, ...] = ()
    untestable: str = ""
    direction: str = ""

    @property
    def needed(self) -> int:
        """Number of comparisons in which the claim must hold."""
        return math.ceil((self.claim.share or 1.0) * len(self.tested) - 1e-9)

    @property
    def supports(self) -> float:
        return at_least(self.needed, [t.supports for t in self.tested])

    @property
    def refutes(self) -> float:
        return at_least(len(self.tested) - self.needed + 1, [t.refutes for t in self.tested])

    @property
    def p_value(self) -> float:
        """Two-sided p-value. NaN if nothing was tested."""
        return math.nan if self.untestable else two_sided(self.supports, self.refutes)


def claims_of(header: Mapping[str, Any], suite: str | None = None) -> tuple[tuple[Claim, ...], str]:
    """Return the claims to judge, and their source.

    Args:
        header: header of the run.
        suite: suite with the claims. Default: the run's own claims, or those of the shipped suite of the same name.

    Raises:
        UsageError: if the source makes no claims.
    """
    name = header["suite"]["name"]
    claims = suites.check_claims(header["suite"].get("claims", ()), f"{name}'s run.json")
    source = "the run"
    if suite:
        claims, source = suites.load(suite).claims, f"the suite {suite}"
    elif not claims and name in suites.shipped():
        claims, source = suites.load(name).claims, f"the suite {name} as shipped"
    if not claims:
        raise UsageError(f"{source} makes no claims; `--suite SUITE` names one that does, such as vision")
    return claims, source


def judge(claims: Sequence[Claim], trials: Sequence[TrialRecord]) -> tuple[Verdict, ...]:
    """Return a verdict on each claim, in the order given.

    At most 5 % of runs have any wrong verdict by chance. Holm corrects over the claims that could be tested, and each
    claim's own p-value is corrected for its comparisons.

    Args:
        claims: claims of a suite.
        trials: trials of a run, in any order.
    """
    cells = sorted(cells_of(trials), key=lambda cell: cell.key)
    drafts = [_draft(claim, cells) for claim in claims]
    adjusted = holm([draft.p_value for draft in drafts])
    tests = sum(not draft.untestable for draft in drafts)
    return tuple(_conclude(draft, p, tests) for draft, p in zip(drafts, adjusted, strict=True))


# --- one claim -------------------------------------------------------------------------------------------------


def _draft(claim: Claim, cells: Sequence[Cell]) -> _Draft:
    pairs, untestable = _pairs(claim, cells)
    trials = [t for pair in pairs for cell in pair for t in cell.trials]
    measure = find_measure(trials, claim.measure)
    untestable = untestable or _unmeasured(claim, pairs, trials, measure)
    if untestable or measure is None:
        return _Draft(claim, untestable=untestable)
    direction = claim.direction or measure.better
    if direction == "neither":
        return _Draft(claim, untestable=f"{measure.name} has no better direction; give the claim one")
    if claim.rule == "better_on_average":
        tested: tuple[_Tested, ...] = (_test_mean(claim, pairs, measure, direction),)
    else:
        tested = tuple(_test(claim, candidate, baseline, measure, direction) for candidate, baseline in pairs)
    if all(one.difference.evidence is None for one in tested):
        return _Draft(claim, untestable=tested[0].comparison.note)
    return _Draft(claim, tested, direction=direction)


def _pairs(claim: Claim, cells: Sequence[Cell]) -> tuple[list[tuple[Cell, Cell]], str]:
    """Return each candidate in the claim's scope with its baseline, and a reason if there is none."""
    datasets = _matching(claim.datasets, {cell.dataset for cell in cells})
    backbones = _matching(claim.backbones, {cell.backbone for cell in cells})
    settings = _matching(claim.settings, {cell.setting for cell in cells})
    in_scope = [c for c in cells if c.dataset in datasets and c.backbone in backbones and c.setting in settings]
    if not in_scope:
        setting = "" if claim.settings == ("*",) else f" at {' or '.join(claim.settings)}"
        return [], f"the run has no {' or '.join(claim.backbones)} on {' or '.join(claim.datasets)}{setting}"
    heads = _matching(claim.heads, {cell.label for cell in in_scope}) - {claim.baseline}
    candidates = [cell for cell in in_scope if cell.label in heads]
    if not candidates:
        return [], f"the run has no {' or '.join(claim.heads)} there"
    baselines = {cell.condition: cell for cell in in_scope if cell.label == claim.baseline}
    pairs = [
        (candidate, baselines[candidate.condition]) for candidate in candidates if candidate.condition in baselines
    ]
    return pairs, "" if pairs else f"the run has no {claim.baseline} there to compare with"


def _matching(patterns: Sequence[str], names: Iterable[str]) -> set[str]:
    """Return the names that match any of the patterns."""
    return {name for name in names if any(matches(pattern, name) for pattern in patterns)}


def _unmeasured(
    claim: Claim, pairs: Sequence[tuple[Cell, Cell]], trials: Sequence[TrialRecord], measure: Measure | None
) -> str:
    """Return the reason why the run has no measured values, or an empty text."""
    if measure is None:
        return missing_measure(trials, claim.measure)
    modelled = next((part for pair in pairs for cell in pair if (part := cell.modelled(measure.name))), "")
    return f"{modelled} is modelled, not measured, so it decides no verdict" if modelled else ""


def _test(claim: Claim, candidate: Cell, baseline: Cell, measure: Measure, direction: str) -> _Tested:
    comparison = difference(candidate, baseline, measure)
    supports, refutes = _p_values(claim, comparison, direction)
    note = comparison.reason
    if behind := _too_far_behind(claim, candidate, baseline):
        note = f"{behind} behind, beyond the claim's limit, so this comparison is not counted"
        supports = refutes = math.nan
    if candidate.count("failed") or (candidate.ended_badly and not is_time(measure.name)):
        note = note or f"{candidate.ended_badly} of its trials ended badly"
        supports = math.nan  # the remaining seeds may be the easy ones
    if baseline.ended_badly and not is_time(measure.name):
        note = note or f"{baseline.ended_badly} of the baseline's trials ended badly"
        refutes = math.nan
    if candidate.collapsed:
        note = note or f"{candidate.collapsed} of its trials collapsed"
        supports = math.nan  # a collapsed model is cheap and has a perfect geometry
    if baseline.collapsed:
        note = note or f"{baseline.collapsed} of the baseline's trials collapsed"
        refutes = math.nan
    return _Tested(
        _describe(comparison, measure, candidate.label, candidate.condition, note, direction),
        comparison,
        supports,
        refutes,
    )


def _test_mean(claim: Claim, pairs: Sequence[tuple[Cell, Cell]], measure: Measure, direction: str) -> _Tested:
    tested = [_test(claim, candidate, baseline, measure, direction) for candidate, baseline in pairs]
    comparison = mean_difference(pairs, measure)
    supports, refutes = _p_values(claim, comparison, direction)
    blocked = [
        test for test in tested if test.comparison.note
    ]  # a cell that cannot decide keeps the mean from deciding
    if any(math.isnan(test.supports) for test in blocked):
        supports = math.nan
    if any(math.isnan(test.refutes) for test in blocked):
        refutes = math.nan
    note = comparison.reason or next((test.comparison.note for test in blocked), "")
    heads = " or ".join(dict.fromkeys(candidate.label for candidate, _ in pairs))
    condition = f"mean of {len(pairs)} cells" if len(pairs) > 1 else pairs[0][0].condition
    return _Tested(_describe(comparison, measure, heads, condition, note, direction), comparison, supports, refutes)


def _p_values(claim: Claim, comparison: Difference, direction: str) -> tuple[float, float]:
    """Return the one-sided p-values for and against the claim in one comparison."""
    if claim.rule == "equivalent":
        return (
            max(comparison.p_above(-claim.margin), comparison.p_below(claim.margin)),
            two_sided(comparison.p_above(claim.margin), comparison.p_below(-claim.margin)),
        )
    change = _change_to_beat(claim, direction)
    above, below = comparison.p_above(change), comparison.p_below(change)
    return (above, below) if direction == "higher" else (below, above)


def _change_to_beat(claim: Claim, direction: str) -> float:
    ahead = -claim.margin if claim.rule == "no_worse" else claim.margin
    return ahead if direction == "higher" else -ahead


def _too_far_behind(claim: Claim, candidate: Cell, baseline: Cell) -> str:
    """Return by how much the candidate is behind if that exceeds the claim's limit, or an empty text."""
    accuracy, loss = (_behind(candidate, baseline, primary) for primary in (ACCURACY, LOSS))
    if claim.accuracy_within is not None and accuracy > claim.accuracy_within:
        return f"accuracy is {100 * accuracy:.3g} points"
    if claim.loss_within is not None and loss > claim.loss_within:
        return f"test loss is {loss:.3g} nat"
    return ""


def _behind(candidate: Cell, baseline: Cell, primary: PrimaryMetric) -> float:
    """Return how much worse the candidate's mean is than the baseline's. Infinite if either has none."""
    ours, theirs = candidate.interval(primary.measure), baseline.interval(primary.measure)
    return primary.sign * (theirs.mean - ours.mean) if ours and theirs else math.inf


def _describe(
    comparison: Difference, measure: Measure, head: str, condition: str, note: str, direction: str
) -> ClaimComparison:
    if isinstance(comparison.evidence, Signs):
        ahead = sum(low > 0 for low in comparison.evidence.low)
        behind = sum(high < 0 for high in comparison.evidence.high)
        count = ahead if direction == "higher" else behind
        text = f"{direction} in {count} of {comparison.evidence.size} pairs; some trials did not reach the target"
        return ClaimComparison(head=head, condition=condition, text=text, pairs=comparison.evidence.size, note=note)
    if not isinstance(comparison.evidence, MeanDifference):
        return ClaimComparison(head=head, condition=condition, note=note)
    interval = comparison.evidence.interval()
    change = comparison.change(interval.mean)
    has_interval = not math.isnan(interval.half_width)
    low, high = (comparison.change(interval.low), comparison.change(interval.high)) if has_interval else (None, None)
    text = measure.interval(change, low, high)
    return ClaimComparison(
        head=head, condition=condition, change=change, low=low, high=high, text=text, pairs=interval.size, note=note
    )


# --- conclusions -----------------------------------------------------------------------------------------------


def _conclude(draft: _Draft, p_value: float, tests: int) -> Verdict:
    if draft.untestable:
        return Verdict(claim=draft.claim, verdict="not testable here", reason=draft.untestable)
    is_decided, leans = p_value < 1 - LEVEL, draft.supports <= draft.refutes
    ranked = sorted(draft.tested, key=lambda t: (_as_one(t.supports), -_as_one(t.refutes)))
    decisive = ranked[draft.needed - 1]
    if is_decided and not leans:
        decisive = min(draft.tested, key=lambda t: _as_one(t.refutes))
    seeds = None if is_decided else _seeds_needed(draft, tests)
    answer: Answer = ("supported" if leans else "refuted") if is_decided else "not decided"
    return Verdict(
        claim=draft.claim,
        verdict=answer,
        reason=_reason(draft, decisive, answer, seeds),
        decisive=decisive.comparison,
        comparisons=tuple(t.comparison for t in draft.tested),
        p_value=p_value,
        seeds_needed=seeds,
    )


def _as_one(p_value: float) -> float:
    return 1.0 if math.isnan(p_value) else p_value


def _reason(draft: _Draft, decisive: _Tested, answer: Answer, seeds: int | None) -> str:
    count = len(draft.tested)
    label = (
        decisive.comparison.condition if count == 1 else f"{decisive.comparison.head}, {decisive.comparison.condition}"
    )
    agree = sum(_as_one(t.supports) < _as_one(t.refutes) for t in draft.tested)
    opening = label if count == 1 else f"{agree} of {count} comparisons lean that way; the weakest: {label}"
    if answer == "supported":
        return opening
    if answer == "refuted":
        return opening.replace("the weakest:", "clearly not:") if count > 1 else f"the opposite: {label}"
    notes = [
        t.comparison.note
        for t in draft.tested
        if t.comparison.note and (math.isnan(t.supports) or math.isnan(t.refutes))
    ]
    if decisive.comparison.pairs == 1:
        return f"{opening}; one seed cannot decide"
    if notes:
        return f"{opening}; {notes[0]}"
    return f"{opening}; about {seeds} seeds would decide" if seeds else f"{opening}; too close to the margin to decide"


def _seeds_needed(draft: _Draft, tests: int) -> int | None:
    """Return the number of seeds that would decide the claim at the present means and spreads.

    The decision would be for the claim if enough comparisons lean that way, otherwise against it.
    """
    alpha = (1 - LEVEL) / 2 / tests
    known = [t for t in draft.tested if not (math.isnan(t.supports) or math.isnan(t.refutes))]
    leaning = [t for t in known if t.supports < t.refutes]
    opposed = [t for t in known if t.supports >= t.refutes]
    few = len(draft.tested) - draft.needed + 1  # number of comparisons against the claim that refute it
    agreeing, count, looks = (
        (leaning, draft.needed, few) if len(leaning) >= draft.needed else (opposed, few, draft.needed)
    )
    seeds = sorted(n for t in agreeing if (n := _seeds_for(draft, t, alpha / looks)))
    return seeds[count - 1] if len(seeds) >= count else None


def _seeds_for(draft: _Draft, tested: _Tested, alpha: float) -> int | None:
    claim = draft.claim
    if claim.rule != "equivalent":
        return tested.difference.seeds_for(_change_to_beat(claim, draft.direction), alpha)
    both = [tested.difference.seeds_for(change, alpha) for change in (-claim.margin, claim.margin)]
    known = [n for n in both if n is not None]
    return max(known) if len(known) == 2 else None
