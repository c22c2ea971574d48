"""The first table that a reader sees: a row for each place, with what is decided, at what cost, and how sure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harmbench.analysis.cells import Cell
from harmbench.analysis.primary import ACCURACY
from harmbench.analysis.stats import SURE, Interval
from harmbench.report.aggregates import sight
from harmbench.report.formats import Column, Table
from harmbench.report.groups import Group, relative_to
from harmbench.report.numbers import MISSING, plain, scaled

COLUMNS = (
    Column(label="where", numeric=False),
    Column(label="heads", unit="better / worse / open", numeric=False),
    Column(label="baseline"),
    Column(label="best mean"),
    Column(label="of", numeric=False),
    Column(label="to baseline"),
    Column(label="verdict", numeric=False),
    Column(label="its speed", unit="x baseline"),
    Column(label="its energy", unit="x baseline, measured"),
    Column(label="detectable"),
)


def overview(groups: Sequence[Group]) -> Table | None:
    """What holds in each place; None where nothing was run."""
    if not groups:
        return None
    return Table(
        title="What holds, at what cost, how sure",
        caption="Heads of each place against linear + cross_entropy, by test accuracy, of text by test loss: how many "
        "are better or worse, and how many are open. Then the head with the best mean, which may be luck: its verdict "
        f"says. Means ± half of the {SURE} t interval; pt: points. Detectable: the true difference that these "
        "seeds decide four times in five; smaller ones stay open.",
        columns=COLUMNS,
        rows=tuple(_row(group) for group in groups),
    )


def headline(groups: Sequence[Group]) -> Iterator[str]:
    """How many comparisons are decided; nothing where none was made."""
    counts = _counts(groups)
    if total := sum(counts.values()):
        yield (
            f"Of {total} comparisons with the baseline, **{counts['better']} better, {counts['worse']} worse, "
            f"{counts['not decided'] + counts[MISSING]} not decided**"
            + (f" ({counts[MISSING]} could not be made)." if counts[MISSING] else ".")
        )


def best_of(group: Group) -> Cell | None:
    """The cell with the best mean of those of which no trial went wrong."""
    return next((cell for cell in group.cells if cell.interval(group.lead.measure) and not cell.unsound), None)


def _counts(groups: Sequence[Group]) -> dict[str, int]:
    """Of the verdicts on all heads but the baseline."""
    verdicts = [group.verdict(c).split(" (")[0] for group in groups for c in group.cells if not c.is_baseline]
    return {verdict: verdicts.count(verdict) for verdict in ("better", "worse", "not decided", MISSING)}


def _row(group: Group) -> tuple[str, ...]:
    counts, best, seen = _counts([group]), best_of(group), sight(group)
    start = (
        group.title,
        f"{counts['better']} / {counts['worse']} / {counts['not decided'] + counts[MISSING]}",
        _quality(group, group.baseline) if group.baseline else MISSING,
    )
    last = f"{group.lead.factor * seen.detectable:.2g} {_step(group)}" if seen else MISSING
    if best is None:
        return (*start, MISSING, "no head is sound", "", MISSING, MISSING, MISSING, last)
    quality, verdict = _quality(group, best), group.verdict(best)
    compared = group.comparisons.get(best.label)
    return (
        *start,
        f"**{quality}**" if verdict == "better" else quality,
        best.label,
        f"{_number(group, compared[0].interval, sign=True)} {_step(group)}" if compared else "",
        verdict,
        *(("", "") if best.is_baseline else (_ratio(group, best, "throughput"), _energy(group, best))),
        last,
    )


def _quality(group: Group, cell: Cell) -> str:
    interval = cell.interval(group.lead.measure)
    return f"{_number(group, interval)} {group.lead.unit}" if interval else MISSING


def _number(group: Group, interval: Interval, sign: bool = False) -> str:
    return plain(scaled(interval, group.lead.factor), sign)


def _step(group: Group) -> str:
    """Unit of a difference, short enough for a narrow column."""
    return "pt" if group.lead is ACCURACY else group.lead.step


def _ratio(group: Group, cell: Cell, measure: str) -> str:
    ratio = relative_to(cell, group.baseline, measure) if group.baseline else None
    return f"{ratio:.2f}" if ratio else MISSING


def _energy(group: Group, cell: Cell) -> str:
    """Of processor and accelerator, where both are measured: a model follows time, and says no more than speed."""
    is_modelled = any(one.modelled("joules") for one in (cell, group.baseline) if one)
    return MISSING if is_modelled else _ratio(group, cell, "joules")
