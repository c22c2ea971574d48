"""Tables over all conditions: one of heads, and one of minimum detectable effects."""

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
    BootstrapIndices,
    BootstrapInterval,
    aggregate,
    minimum_detectable_effect,
    probability_of_improvement,
)
from harmbench.analysis.stats.student import MOST_SEEDS
from harmbench.report.conditions import Condition
from harmbench.report.formats import Column, Section, Table
from harmbench.report.numbers import MISSING

NOTE = (
    "Over all conditions: only heads with a result in every condition, so that all are averaged over the same ones. "
    "Rank: 1 is the best mean of a condition, by test accuracy (test loss for text). Ties share a rank. IQM: mean of "
    "the middle half of all trials' values. Probability of improvement: that a trial of the head is better than one of "
    f"the baseline in the same condition, mean over conditions. Brackets are {SURE} intervals of a stratified "
    "bootstrap "
    "over seeds (Agarwal et al. 2021), widened for few seeds. They are about other seeds, not other data sets, and are "
    "not corrected for the number of heads. Nothing is bold there, since nothing there is tested."
)
MDE_NOTE = (
    "Minimum detectable effect (MDE): the true difference from the baseline that is decided with 80 % probability, "
    "after "
    "correction for the heads of the condition, at the median spread of their paired differences."
)


def aggregate_sections(conditions: Sequence[Condition]) -> Iterator[Section]:
    """Yield at most one section, with separate tables for conditions that are ranked by accuracy and by loss.

    The table of heads needs several conditions. The table of MDEs needs heads that were compared.
    """
    by_metric = [
        [condition for condition in conditions if condition.primary is primary] for primary in (ACCURACY, LOSS)
    ]
    tables = [table for conditions in by_metric for table in (*_heads(conditions), *_mde_tables(conditions))]
    if tables:
        yield Section(title="Over all data sets and backbones", tables=tuple(tables))


def aggregate_notes(conditions: Sequence[Condition]) -> Iterator[str]:
    """Yield definitions of the section's terms."""
    if any(True for _ in _complete(conditions)):
        yield NOTE
    if any(condition.comparisons for condition in conditions):
        yield MDE_NOTE


# --- heads -----------------------------------------------------------------------------------------------------


def _complete(conditions: Sequence[Condition]) -> Iterator[str]:
    """Yield labels of heads that have a result in every condition. A single condition gives none."""
    if len(conditions) > 1:
        labels = [
            {cell.label for cell in condition.cells if cell.by_seed(condition.primary.measure)}
            for condition in conditions
        ]
        yield from sorted(set.intersection(*labels))


def _heads(conditions: Sequence[Condition]) -> Iterator[Table]:
    labels = set(_complete(conditions))
    if not labels:
        return
    primary = conditions[0].primary
    cells = {
        label: [cell for condition in conditions for cell in condition.cells if cell.label == label] for label in labels
    }
    baseline = next((label for label in labels if cells[label][0].is_baseline), None)
    ranks = _ranks(conditions, labels)
    rng = BootstrapIndices(0)
    rows = [_row(cells[label], ranks[label], cells[baseline] if baseline else None, primary, rng) for label in labels]
    left_out = len({cell.label for condition in conditions for cell in condition.cells}) - len(labels)
    yield Table(
        title="Heads over all conditions",
        caption=f"{len(conditions)} conditions; {len(labels)} heads have a result in each"
        + (f", {left_out} do not and are left out." if left_out else "."),
        columns=(
            Column(label="head", numeric=False),
            Column(label="loss", numeric=False),
            Column(label="mean rank", unit="least to most"),
            Column(label=f"IQM of {primary.label}", unit=primary.unit),
            Column(label="probability of improvement", unit="%"),
            Column(label="disqualified", unit="cells"),
        ),
        rows=tuple(row for _, row in sorted(rows)),
    )


def _row(
    cells: Sequence[Cell],
    ranks: Sequence[float],
    baseline: Sequence[Cell] | None,
    primary: PrimaryMetric,
    rng: BootstrapIndices,
) -> tuple[tuple[bool, float, str, str], tuple[str, ...]]:
    """Return a sort key and a row. Heads with failed, diverged or collapsed trials stand last."""
    values = [_values(cell, primary) for cell in cells]
    if baseline is None or cells[0].is_baseline:
        improvement = "" if cells[0].is_baseline else MISSING
    else:
        sides = values, [_values(cell, primary) for cell in baseline]
        ours, theirs = ([[primary.sign * value for value in of] for of in side] for side in sides)
        improvement = _interval(probability_of_improvement(ours, theirs, rng.reset()), 100, 1)
    mean, disqualified = fmean(ranks), sum(bool(cell.disqualified) for cell in cells)
    return (disqualified > 0, mean, cells[0].head, cells[0].loss), (
        cells[0].head,
        cells[0].loss,
        f"{mean:.1f} ({min(ranks):g} to {max(ranks):g})",
        _interval(aggregate(values, rng.reset()), primary.factor, 1 if primary is ACCURACY else 3),
        improvement,
        str(disqualified),
    )


def _values(cell: Cell, primary: PrimaryMetric) -> Sequence[float]:
    return cell.values(primary.measure)


def _ranks(conditions: Sequence[Condition], labels: set[str]) -> dict[str, list[float]]:
    """Return each head's rank in each condition, by its mean. Heads with equal means share their mean rank."""
    ranks: dict[str, list[float]] = {label: [] for label in labels}
    for condition in conditions:
        primary = condition.primary
        means = {c.label: primary.sign * fmean(_values(c, primary)) for c in condition.cells if c.label in labels}
        for label, mean in means.items():
            above = sum(other > mean for other in means.values())
            ties = sum(other == mean for other in means.values())
            ranks[label].append(above + (ties + 1) / 2)
    return ranks


def _interval(interval: BootstrapInterval, factor: float, decimals: int) -> str:
    text = f"{factor * interval.value:.{decimals}f}"
    if math.isnan(interval.low):
        return text
    return f"{text} [{factor * interval.low:.{decimals}f}, {factor * interval.high:.{decimals}f}]"


# --- minimum detectable effects ---------------------------------------------------------------------------------


def _mde_tables(conditions: Sequence[Condition]) -> Iterator[Table]:
    """Yield the MDE of each condition, and the number of seeds for a relevant difference."""
    rows = [row for condition in conditions for row in _mde_rows(condition)]
    if rows:
        primary = conditions[0].primary
        yield Table(
            title="Minimum detectable effects",
            columns=(
                Column(label="condition", numeric=False),
                Column(label="heads compared"),
                Column(label="seeds"),
                Column(label="spread of differences", unit=primary.step),
                Column(label="minimum detectable effect", unit=primary.step),
                Column(
                    label="seeds for 1 point"
                    if primary is ACCURACY
                    else f"seeds for {primary.relevant_difference:g} {primary.step}"
                ),
            ),
            rows=tuple(rows),
        )


class MinimumDetectableEffect(NamedTuple):
    """Minimum detectable effect (MDE) of a condition, in its primary metric.

    Attributes:
        heads: number of heads compared with the baseline.
        seeds: least number of seeds that a head shares with the baseline.
        spread: median standard deviation of the paired differences.
        effect: the true difference that is decided with 80 % probability.
        needed: number of seeds for the relevant difference, such as a point of accuracy. None above `MOST_SEEDS`.
    """

    heads: int
    seeds: int
    spread: float
    effect: float
    needed: int | None


def mde_of(condition: Condition) -> MinimumDetectableEffect | None:
    """Return the MDE of a condition, or None if no head was compared at two seeds or all differences are 0."""
    intervals = [comparison.interval for comparison, _ in condition.comparisons.values()]
    spreads = [interval for interval in intervals if interval.size > 1 and interval.half_width > 0]
    if not spreads:
        return None
    seeds, tests = min(interval.size for interval in spreads), len(condition.comparisons)
    spread = median(
        i.half_width * math.sqrt(i.size) / float(special.stdtrit(i.size - 1, (1 + LEVEL) / 2)) for i in spreads
    )
    sizes = range(2, MOST_SEEDS + 1)
    enough = bisect_left(
        sizes, -condition.primary.relevant_difference, key=lambda size: -minimum_detectable_effect(spread, size, tests)
    )
    return MinimumDetectableEffect(
        tests,
        seeds,
        spread,
        minimum_detectable_effect(spread, seeds, tests),
        sizes[enough] if enough < len(sizes) else None,
    )


def _mde_rows(condition: Condition) -> Iterator[tuple[str, ...]]:
    if mde := mde_of(condition):
        primary = condition.primary
        decimals = 2 if primary is ACCURACY else 4
        yield (
            condition.title,
            str(mde.heads),
            str(mde.seeds),
            f"{primary.factor * mde.spread:.{decimals}f}",
            f"{primary.factor * mde.effect:.{decimals}f}",
            str(mde.needed) if mde.needed else f"over {MOST_SEEDS}",
        )
