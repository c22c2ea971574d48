"""Claims and results -> verdicts. Pure; the rules and what they rest on are in docs/explanation/verdicts.md.

A claim compares heads with a baseline in one measure, in every place of its scope. Each comparison gives two one-sided
p-values, for the claim and against it; a rule says in how many comparisons it must hold; Holm corrects over the claims.

    better              beyond the margin in every cell
    better_on_average   beyond the margin on the mean over the cells, seed by seed
    no_worse            not behind by more than the margin in any cell
    equivalent          within the margin on both sides in every cell
    share_of_cells      beyond the margin in at least this share of the cells

What the run cannot answer is `not testable here`, with the reason: a modelled joule decides nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from harmbench.analysis.cells import (
    ACCURACY,
    LOSS,
    Cell,
    Measure,
    PrimaryMetric,
    cells_of,
    find_measure,
    is_time,
    missing_measure,
)
from harmbench.analysis.comparisons import Difference, difference, mean_difference
from harmbench.analysis.stats import LEVEL, Estimate, Signs, at_least, holm, two_sided
from harmbench.planning.suite import Claim, matches
from harmbench.results.records import Record, TrialRecord

Answer = Literal["supported", "refuted", "not decided", "not testable here"]
ANSWERS: tuple[Answer, ...] = ("supported", "refuted", "not decided", "not testable here")


class Found(Record):
    """One comparison of a claim.

    Attributes:
        head: label of the candidate.
        place: backbone and data set.
        change: candidate against baseline: their difference for a measure of unit 1, else their ratio less 1; None
            where only signs are known.
        low, high: of its 95 % interval, not corrected.
        text: the change with its interval, for people.
        pairs: number of seeds both have.
        note: why there is no change, or what keeps it from deciding.
    """

    head: str
    place: str
    change: float | None = None
    low: float | None = None
    high: float | None = None
    text: str = ""
    pairs: int = 0
    note: str = ""


class Verdict(Record):
    """What became of a claim.

    Attributes:
        claim: as the suite has it.
        verdict: supported, refuted, not decided or not testable here.
        reason: why, and what to do next.
        decisive: the comparison on which the verdict hangs: the weakest, or the one that refutes.
        found: all comparisons.
        p_value: corrected over the claims; None where nothing was tested.
        seeds_needed: an estimate of how many would decide; None where decided or unknown.
    """

    claim: Claim
    verdict: Answer
    reason: str
    decisive: Found | None = None
    found: tuple[Found, ...] = ()
    p_value: float | None = None
    seeds_needed: int | None = None


@dataclass(frozen=True)
class _Tested:
    """One comparison with its p-values for the claim and against it; NaN where it can say nothing."""

    found: Found
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
        """In how many comparisons the claim must hold."""
        return math.ceil((self.claim.share or 1.0) * len(self.tested) - 1e-9)

    @property
    def supports(self) -> float:
        return at_least(self.needed, [t.supports for t in self.tested])

    @property
    def refutes(self) -> float:
        return at_least(len(self.tested) - self.needed + 1, [t.refutes for t in self.tested])

    @property
    def p_value(self) -> float:
        """Two-sided; NaN where nothing was tested."""
        return math.nan if self.untestable else two_sided(self.supports, self.refutes)


def judge(claims: Sequence[Claim], trials: Sequence[TrialRecord]) -> tuple[Verdict, ...]:
    """A verdict on each claim, in the order given.

    Taken together, verdicts that are no more than luck come in at most 5 % of runs: Holm corrects over the claims that
    could be tested, and each claim's own p-value is corrected for its comparisons.

    Args:
        claims: of a suite.
        trials: of a run, in any order.
    """
    cells = sorted(cells_of(trials), key=lambda cell: cell.key)
    drafts = [_examine(claim, cells) for claim in claims]
    adjusted = holm([draft.p_value for draft in drafts])
    tests = sum(not draft.untestable for draft in drafts)
    return tuple(_conclude(draft, p, tests) for draft, p in zip(drafts, adjusted, strict=True))


# --- one claim -------------------------------------------------------------------------------------------------


def _examine(claim: Claim, cells: Sequence[Cell]) -> _Draft:
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
        return _Draft(claim, untestable=tested[0].found.note)
    return _Draft(claim, tested, direction=direction)


def _pairs(claim: Claim, cells: Sequence[Cell]) -> tuple[list[tuple[Cell, Cell]], str]:
    """Each candidate of the claim's scope with its baseline; or why there is none."""
    datasets = _matching(claim.datasets, {cell.dataset for cell in cells})
    backbones = _matching(claim.backbones, {cell.backbone for cell in cells})
    settings = _matching(claim.settings, {cell.setting for cell in cells})
    here = [c for c in cells if c.dataset in datasets and c.backbone in backbones and c.setting in settings]
    if not here:
        where = "" if claim.settings == ("*",) else f" at {' or '.join(claim.settings)}"
        return [], f"the run has no {' or '.join(claim.backbones)} on {' or '.join(claim.datasets)}{where}"
    heads = _matching(claim.heads, {cell.label for cell in here}) - {claim.baseline}
    candidates = [cell for cell in here if cell.label in heads]
    if not candidates:
        return [], f"the run has no {' or '.join(claim.heads)} there"
    baselines = {cell.place: cell for cell in here if cell.label == claim.baseline}
    pairs = [(candidate, baselines[candidate.place]) for candidate in candidates if candidate.place in baselines]
    return pairs, "" if pairs else f"the run has no {claim.baseline} there to compare with"


def _matching(patterns: Sequence[str], names: Iterable[str]) -> set[str]:
    """The names that fit any of the patterns."""
    return {name for name in names if any(matches(pattern, name) for pattern in patterns)}


def _unmeasured(
    claim: Claim, pairs: Sequence[tuple[Cell, Cell]], trials: Sequence[TrialRecord], measure: Measure | None
) -> str:
    """Why the run has no measured values; empty where it has."""
    if measure is None:
        return missing_measure(trials, claim.measure)
    modelled = next((part for pair in pairs for cell in pair if (part := cell.modelled(measure.name))), "")
    return f"{modelled} is modelled, not measured: no verdict rests on it" if modelled else ""


def _test(claim: Claim, candidate: Cell, baseline: Cell, measure: Measure, direction: str) -> _Tested:
    found = difference(candidate, baseline, measure)
    supports, refutes = _p_values(claim, found, direction)
    note = found.reason
    if behind := _too_far_behind(claim, candidate, baseline):
        note = f"{behind} behind, so this counts for nothing"
        supports = refutes = math.nan
    if candidate.count("failed") or (candidate.ended_badly and not is_time(measure.name)):
        note = note or f"{candidate.ended_badly} of its trials ended badly"
        supports = math.nan  # the seeds that are left may be the easy ones
    if baseline.ended_badly and not is_time(measure.name):
        note = note or f"{baseline.ended_badly} of the baseline's trials ended badly"
        refutes = math.nan
    if candidate.collapsed:
        note = note or f"{candidate.collapsed} of its trials collapsed"
        supports = math.nan  # what does not learn is not to win by being cheap, or by a geometry that looks perfect
    if baseline.collapsed:
        note = note or f"{baseline.collapsed} of the baseline's trials collapsed"
        refutes = math.nan
    return _Tested(
        _describe(found, measure, candidate.label, candidate.place, note, direction), found, supports, refutes
    )


def _test_mean(claim: Claim, pairs: Sequence[tuple[Cell, Cell]], measure: Measure, direction: str) -> _Tested:
    alone = [_test(claim, candidate, baseline, measure, direction) for candidate, baseline in pairs]
    found = mean_difference(pairs, measure)
    supports, refutes = _p_values(claim, found, direction)
    blocked = [one for one in alone if one.found.note]  # what keeps one cell from deciding keeps the mean
    if any(math.isnan(one.supports) for one in blocked):
        supports = math.nan
    if any(math.isnan(one.refutes) for one in blocked):
        refutes = math.nan
    note = found.reason or next((one.found.note for one in blocked), "")
    heads = " or ".join(dict.fromkeys(candidate.label for candidate, _ in pairs))
    place = f"mean of {len(pairs)} cells" if len(pairs) > 1 else pairs[0][0].place
    return _Tested(_describe(found, measure, heads, place, note, direction), found, supports, refutes)


def _p_values(claim: Claim, found: Difference, direction: str) -> tuple[float, float]:
    """One-sided p-values for the claim and against it, in one comparison."""
    if claim.rule == "equivalent":
        return (
            max(found.p_above(-claim.margin), found.p_below(claim.margin)),
            two_sided(found.p_above(claim.margin), found.p_below(-claim.margin)),
        )
    change = _change_to_beat(claim, direction)
    above, below = found.p_above(change), found.p_below(change)
    return (above, below) if direction == "higher" else (below, above)


def _change_to_beat(claim: Claim, direction: str) -> float:
    ahead = -claim.margin if claim.rule == "no_worse" else claim.margin
    return ahead if direction == "higher" else -ahead


def _too_far_behind(claim: Claim, candidate: Cell, baseline: Cell) -> str:
    """By how much the candidate is behind, where that is more than the claim allows; else empty."""
    accuracy, loss = (_behind(candidate, baseline, lead) for lead in (ACCURACY, LOSS))
    if claim.accuracy_within is not None and accuracy > claim.accuracy_within:
        return f"accuracy is {100 * accuracy:.3g} points"
    if claim.loss_within is not None and loss > claim.loss_within:
        return f"test loss is {loss:.3g} nat"
    return ""


def _behind(candidate: Cell, baseline: Cell, lead: PrimaryMetric) -> float:
    """By how much the candidate's mean is worse than the baseline's; infinite where one has none."""
    ours, theirs = candidate.interval(lead.measure), baseline.interval(lead.measure)
    return lead.sign * (theirs.mean - ours.mean) if ours and theirs else math.inf


def _describe(found: Difference, measure: Measure, head: str, place: str, note: str, direction: str) -> Found:
    if isinstance(found.evidence, Signs):
        ahead = sum(low > 0 for low in found.evidence.low)
        behind = sum(high < 0 for high in found.evidence.high)
        count = ahead if direction == "higher" else behind
        text = f"{direction} in {count} of {found.evidence.size} pairs; some trials never get there"
        return Found(head=head, place=place, text=text, pairs=found.evidence.size, note=note)
    if not isinstance(found.evidence, Estimate):
        return Found(head=head, place=place, note=note)
    interval = found.evidence.interval()
    change = found.change(interval.mean)
    is_known = not math.isnan(interval.half_width)
    low, high = (found.change(interval.low), found.change(interval.high)) if is_known else (None, None)
    text = measure.interval(change, low, high)
    return Found(head=head, place=place, change=change, low=low, high=high, text=text, pairs=interval.size, note=note)


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
        decisive=decisive.found,
        found=tuple(t.found for t in draft.tested),
        p_value=p_value,
        seeds_needed=seeds,
    )


def _as_one(p_value: float) -> float:
    return 1.0 if math.isnan(p_value) else p_value


def _reason(draft: _Draft, decisive: _Tested, answer: Answer, seeds: int | None) -> str:
    count = len(draft.tested)
    where = decisive.found.place if count == 1 else f"{decisive.found.head}, {decisive.found.place}"
    agree = sum(_as_one(t.supports) < _as_one(t.refutes) for t in draft.tested)
    lead = where if count == 1 else f"{agree} of {count} comparisons lean that way; the weakest: {where}"
    if answer == "supported":
        return lead
    if answer == "refuted":
        return lead.replace("the weakest:", "clearly not:") if count > 1 else f"the opposite: {where}"
    notes = [t.found.note for t in draft.tested if t.found.note and (math.isnan(t.supports) or math.isnan(t.refutes))]
    if decisive.found.pairs == 1:
        return f"{lead}; one seed decides nothing"
    if notes:
        return f"{lead}; {notes[0]}"
    return f"{lead}; about {seeds} seeds would decide" if seeds else f"{lead}; too close to the margin to tell"


def _seeds_needed(draft: _Draft, tests: int) -> int | None:
    """Seeds that would decide the claim, were means and spreads to stay: for it where enough comparisons lean so, else
    against it."""
    alpha = (1 - LEVEL) / 2 / tests
    known = [t for t in draft.tested if not (math.isnan(t.supports) or math.isnan(t.refutes))]
    leaning = [t for t in known if t.supports < t.refutes]
    opposed = [t for t in known if t.supports >= t.refutes]
    few = len(draft.tested) - draft.needed + 1  # so many against it refute it
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
