"""Over all data sets and backbones: one table of heads, and one of what the seeds can show."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from statistics import fmean, median
from typing import NamedTuple

from scipy import special

from harmbench.analysis.cells import Cell
from harmbench.analysis.primary import ACCURACY, LOSS, PrimaryMetric
from harmbench.analysis.stats import (
    LEVEL,
    SURE,
    Bracket,
    Draws,
    aggregate,
    detectable_difference,
    probability_of_improvement,
)
from harmbench.analysis.stats.student import MOST_SEEDS
from harmbench.report.formats import Column, Section, Table
from harmbench.report.groups import Group
from harmbench.report.numbers import MISSING

NOTE = (
    "Over all data sets and backbones: only heads with a result in every group, or their groups would be compared. "
    "Rank: 1 is the best mean of a group, by test accuracy, of text by test loss; ties share. IQM: mean of the middle "
    "half of all trials' values. Probability of improvement: that a trial of the head is better than one of the "
    f"baseline in the same group, mean over groups. Brackets are {SURE} intervals of a stratified bootstrap over "
    "seeds (Agarwal et al. 2021), widened for few seeds: they are about other seeds, not other data sets, and are not "
    "corrected for the number of heads. Nothing is bold there, since nothing there is tested."
)
SIGHT_NOTE = (
    "What the seeds can show: the true difference from the baseline that has four chances in five to be decided, after "
    "correction for the heads of the group, at the median spread of their paired differences."
)


def aggregate_sections(groups: Sequence[Group]) -> Iterator[Section]:
    """At most one section: a table of heads where there are several groups, one of sight where heads were compared;
    apart for groups that are ranked by accuracy and by loss."""
    alike = [[group for group in groups if group.lead is lead] for lead in (ACCURACY, LOSS)]
    tables = [table for some in alike for table in (*_heads(some), *_sight(some))]
    if tables:
        yield Section(title="Over all data sets and backbones", tables=tuple(tables))


def aggregate_notes(groups: Sequence[Group]) -> Iterator[str]:
    """Definitions of what the section shows."""
    if any(True for _ in _complete(groups)):
        yield NOTE
    if any(group.comparisons for group in groups):
        yield SIGHT_NOTE


# --- heads -----------------------------------------------------------------------------------------------------


def _complete(groups: Sequence[Group]) -> Iterator[str]:
    """Labels of the heads that have a result in every group; none where there is but one group."""
    if len(groups) > 1:
        found = [{cell.label for cell in group.cells if cell.by_seed(group.lead.measure)} for group in groups]
        yield from sorted(set.intersection(*found))


def _heads(groups: Sequence[Group]) -> Iterator[Table]:
    labels = set(_complete(groups))
    if not labels:
        return
    lead = groups[0].lead
    cells = {label: [cell for group in groups for cell in group.cells if cell.label == label] for label in labels}
    baseline = next((label for label in labels if cells[label][0].is_baseline), None)
    ranks = _ranks(groups, labels)
    draws = Draws(0)
    rows = [_row(cells[label], ranks[label], cells[baseline] if baseline else None, lead, draws) for label in labels]
    left_out = len({cell.label for group in groups for cell in group.cells}) - len(labels)
    yield Table(
        title="Heads over all groups",
        caption=f"{len(groups)} groups; {len(labels)} heads have a result in each"
        + (f", {left_out} do not and are left out." if left_out else "."),
        columns=(
            Column(label="head", numeric=False),
            Column(label="loss", numeric=False),
            Column(label="mean rank", unit="least to most"),
            Column(label=f"IQM of {lead.label}", unit=lead.unit),
            Column(label="probability of improvement", unit="%"),
            Column(label="unsound", unit="cells"),
        ),
        rows=tuple(row for _, row in sorted(rows)),
    )


def _row(
    cells: Sequence[Cell], ranks: Sequence[float], baseline: Sequence[Cell] | None, lead: PrimaryMetric, draws: Draws
) -> tuple[tuple[bool, float, str, str], tuple[str, ...]]:
    """With what to sort by: heads of which trials ended badly or collapsed stand last, as in every table."""
    values = [_values(cell, lead) for cell in cells]
    if baseline is None or cells[0].is_baseline:
        improvement = "" if cells[0].is_baseline else MISSING
    else:
        sides = values, [_values(cell, lead) for cell in baseline]
        ours, theirs = ([[lead.sign * value for value in of] for of in side] for side in sides)
        improvement = _bracket(probability_of_improvement(ours, theirs, draws.again()), 100, 1)
    mean, unsound = fmean(ranks), sum(bool(cell.unsound) for cell in cells)
    return (unsound > 0, mean, cells[0].head, cells[0].loss), (
        cells[0].head,
        cells[0].loss,
        f"{mean:.1f} ({min(ranks):g} to {max(ranks):g})",
        _bracket(aggregate(values, draws.again()), lead.factor, 1 if lead is ACCURACY else 3),
        improvement,
        str(unsound),
    )


def _values(cell: Cell, lead: PrimaryMetric) -> Sequence[float]:
    return cell.values(lead.measure)


def _ranks(groups: Sequence[Group], labels: set[str]) -> dict[str, list[float]]:
    """The rank of each head in each group, by its mean; heads with the same mean share the mean of their places."""
    found: dict[str, list[float]] = {label: [] for label in labels}
    for group in groups:
        lead = group.lead
        means = {c.label: lead.sign * fmean(_values(c, lead)) for c in group.cells if c.label in labels}
        for label, mean in means.items():
            above = sum(other > mean for other in means.values())
            same = sum(other == mean for other in means.values())
            found[label].append(above + (same + 1) / 2)
    return found


def _bracket(bracket: Bracket, factor: float, decimals: int) -> str:
    told = f"{factor * bracket.value:.{decimals}f}"
    if math.isnan(bracket.low):
        return told
    return f"{told} [{factor * bracket.low:.{decimals}f}, {factor * bracket.high:.{decimals}f}]"


# --- sight -----------------------------------------------------------------------------------------------------


def _sight(groups: Sequence[Group]) -> Iterator[Table]:
    """The smallest difference that each group's seeds would decide, and the seeds that a point would need."""
    rows = [row for group in groups for row in _sight_row(group)]
    if rows:
        lead = groups[0].lead
        yield Table(
            title="What the seeds can show",
            columns=(
                Column(label="group", numeric=False),
                Column(label="heads compared"),
                Column(label="seeds"),
                Column(label="spread of differences", unit=lead.step),
                Column(label="smallest detectable difference", unit=lead.step),
                Column(label="seeds for 1 point" if lead is ACCURACY else f"seeds for {lead.worth:g} {lead.step}"),
            ),
            rows=tuple(rows),
        )


class Sight(NamedTuple):
    """What the seeds of a group can show, differences in its lead measure.

    Attributes:
        heads: that were compared with the baseline.
        seeds: the fewest that a head shares with it.
        spread: median standard deviation of the paired differences.
        detectable: the true difference that is decided four times in five.
        needed: seeds for the difference that matters, a point of accuracy; None for more than are looked at.
    """

    heads: int
    seeds: int
    spread: float
    detectable: float
    needed: int | None


def sight(group: Group) -> Sight | None:
    """What the group's seeds can show; None where no head was compared at two or more, or none differs."""
    found = [comparison.interval for comparison, _ in group.comparisons.values()]
    known = [interval for interval in found if interval.size > 1 and interval.half_width > 0]
    if not known:
        return None
    seeds, tests = min(interval.size for interval in known), len(group.comparisons)
    spread = median(
        i.half_width * math.sqrt(i.size) / float(special.stdtrit(i.size - 1, (1 + LEVEL) / 2)) for i in known
    )
    sizes = range(2, MOST_SEEDS + 1)
    enough = bisect_left(sizes, -group.lead.worth, key=lambda size: -detectable_difference(spread, size, tests))
    return Sight(
        tests,
        seeds,
        spread,
        detectable_difference(spread, seeds, tests),
        sizes[enough] if enough < len(sizes) else None,
    )


def _sight_row(group: Group) -> Iterator[tuple[str, ...]]:
    if seen := sight(group):
        lead = group.lead
        decimals = 2 if lead is ACCURACY else 4
        yield (
            group.title,
            str(seen.heads),
            str(seen.seeds),
            f"{lead.factor * seen.spread:.{decimals}f}",
            f"{lead.factor * seen.detectable:.{decimals}f}",
            str(seen.needed) if seen.needed else f"over {MOST_SEEDS}",
        )
