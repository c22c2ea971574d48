"""The first table of a report: for each condition the verdicts, the costs and the minimum detectable effect."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harmbench.analysis.cells import Cell
from harmbench.analysis.primary import ACCURACY
from harmbench.analysis.stats import SURE, Interval
from harmbench.report.aggregates import mde_of
from harmbench.report.conditions import Condition, relative_to
from harmbench.report.formats import Column, Table
from harmbench.report.numbers import MISSING, plain, scaled

COLUMNS = (
    Column(label="condition", numeric=False),
    Column(label="heads", unit="better / worse / not decided", numeric=False),
    Column(label="baseline"),
    Column(label="best mean"),
    Column(label="best head", numeric=False),
    Column(label="to baseline"),
    Column(label="verdict", numeric=False),
    Column(label="relative throughput", unit="x baseline"),
    Column(label="relative energy", unit="x baseline, measured"),
    Column(label="MDE"),
)


def overview(conditions: Sequence[Condition]) -> Table | None:
    """Return the overview of all conditions, or None without any."""
    if not conditions:
        return None
    return Table(
        title="Overview",
        caption="Each row compares all heads with linear + cross_entropy on one data set and backbone, by test "
        "accuracy "
        "(test loss for text). The best head has the best mean. Its verdict says whether that can be chance. "
        f"Means ± half of the {SURE} t interval; pt: points. MDE: minimum detectable effect, the true difference that "
        "is decided with 80 % probability.",
        columns=COLUMNS,
        rows=tuple(_row(condition) for condition in conditions),
    )


def headline(conditions: Sequence[Condition]) -> Iterator[str]:
    """Yield the number of decided comparisons as a sentence, if there are comparisons."""
    counts = _counts(conditions)
    if total := sum(counts.values()):
        yield (
            f"Of {total} comparisons with the baseline, **{counts['better']} better, {counts['worse']} worse, "
            f"{counts['not decided'] + counts[MISSING]} not decided**"
            + (f" ({counts[MISSING]} could not be made)." if counts[MISSING] else ".")
        )


def best_of(condition: Condition) -> Cell | None:
    """Return the cell with the best mean that is not disqualified, or None."""
    return next(
        (cell for cell in condition.cells if cell.interval(condition.primary.measure) and not cell.disqualified), None
    )


def _counts(conditions: Sequence[Condition]) -> dict[str, int]:
    """Return the number of each verdict over all heads but the baseline."""
    verdicts = [
        condition.verdict(c).split(" (")[0] for condition in conditions for c in condition.cells if not c.is_baseline
    ]
    return {verdict: verdicts.count(verdict) for verdict in ("better", "worse", "not decided", MISSING)}


def _row(condition: Condition) -> tuple[str, ...]:
    counts, best, mde = _counts([condition]), best_of(condition), mde_of(condition)
    first_cells = (
        condition.title,
        f"{counts['better']} / {counts['worse']} / {counts['not decided'] + counts[MISSING]}",
        _quality(condition, condition.baseline) if condition.baseline else MISSING,
    )
    last_cell = f"{condition.primary.factor * mde.effect:.2g} {_step(condition)}" if mde else MISSING
    if best is None:
        return (*first_cells, MISSING, "no valid head", "", MISSING, MISSING, MISSING, last_cell)
    quality, verdict = _quality(condition, best), condition.verdict(best)
    comparison = condition.comparisons.get(best.label)
    return (
        *first_cells,
        f"**{quality}**" if verdict == "better" else quality,
        best.label,
        f"{_number(condition, comparison[0].interval, sign=True)} {_step(condition)}" if comparison else "",
        verdict,
        *(("", "") if best.is_baseline else (_ratio(condition, best, "throughput"), _energy(condition, best))),
        last_cell,
    )


def _quality(condition: Condition, cell: Cell) -> str:
    interval = cell.interval(condition.primary.measure)
    return f"{_number(condition, interval)} {condition.primary.unit}" if interval else MISSING


def _number(condition: Condition, interval: Interval, sign: bool = False) -> str:
    return plain(scaled(interval, condition.primary.factor), sign)


def _step(condition: Condition) -> str:
    """Return the unit of a difference, short enough for a narrow column."""
    return "pt" if condition.primary is ACCURACY else condition.primary.step


def _ratio(condition: Condition, cell: Cell, measure: str) -> str:
    ratio = relative_to(cell, condition.baseline, measure) if condition.baseline else None
    return f"{ratio:.2f}" if ratio else MISSING


def _energy(condition: Condition, cell: Cell) -> str:
    """Return relative energy of processor and accelerator if both are measured. Modelled energy only follows time."""
    is_modelled = any(one.modelled("joules") for one in (cell, condition.baseline) if one)
    return MISSING if is_modelled else _ratio(condition, cell, "joules")
