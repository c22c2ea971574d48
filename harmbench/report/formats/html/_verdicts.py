"""Counts of verdicts by section, and the decided rows of all sections."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from markupsafe import Markup

from harmbench.report.formats._base import Column, Section, Table
from harmbench.report.formats.html._tables import CHIPS, chip, rich

_NO_COMPARISON = {"baseline", ""}


class Share(NamedTuple):
    """Number of one verdict. `start` and `width` are its position in a bar of length 100."""

    verdict: str
    look: str
    number: int
    start: float
    width: float


class VerdictCounts(NamedTuple):
    """Numbers of all verdicts of one or more tables."""

    total: int
    shares: tuple[Share, ...]


def states_verdicts(table: Table) -> bool:
    """Whether the table's first column holds verdicts, as with claims."""
    return bool(table.columns) and table.columns[0].label == "verdict"


def compares(section: Section) -> Table | None:
    """Return the first table of a section that compares rows with a baseline."""
    return next((t for t in section.tables if not states_verdicts(t) and _verdict_index(t) is not None), None)


def tally(tables: Sequence[Table]) -> VerdictCounts:
    """Return the numbers of verdicts in tables, which are of claims if the tables state verdicts."""
    counts: Counter[str] = Counter()
    for table in tables:
        counts.update(verdict for row in table.rows if (verdict := _verdict(table, row)) not in _NO_COMPARISON)
    total = sum(counts.values())
    family = ("supported", "refuted") if any(map(states_verdicts, tables)) else ("better", "worse")
    return VerdictCounts(total, tuple(_shares(counts, total, family)))


def _shares(counts: Counter[str], total: int, family: tuple[str, str]) -> Iterator[Share]:
    """Yield shares in the order good, bad, not decided, none. Verdicts of the family appear even with a count of 0."""
    known = [v for v in CHIPS if v in counts or v in family]
    start = 0.0
    for verdict in known:
        width = 100 * counts[verdict] / total if total else 0.0
        yield Share(verdict, CHIPS[verdict], counts[verdict], start, width)
        start += width


def decided(sections: Sequence[Section]) -> tuple[Table, ...]:
    """Return the decided rows with their section and the columns before the verdict.

    Sections with different columns give separate tables.
    """
    by_columns: dict[tuple[Column, ...], list[tuple[str, ...]]] = defaultdict(list)
    for section in sections:
        table = compares(section)
        index = _verdict_index(table) if table else None
        if table is None or index is None:
            continue
        columns = (table.columns[index], *table.columns[:index], Column(label="condition", numeric=False))
        for row in table.rows:
            if CHIPS.get(_verdict(table, row)) in ("good", "bad"):
                by_columns[columns].append((row[index], *row[:index], section.title))
    return tuple(
        Table(title="Decided heads", columns=columns, rows=tuple(sorted(rows, key=lambda row: row[0])))
        for columns, rows in by_columns.items()
    )


class DecidedClaim(NamedTuple):
    """A decided claim: its verdict, its text, and the result."""

    chip: Markup
    text: Markup
    found: Markup


def decided_claims(tables: Sequence[Table]) -> Iterator[DecidedClaim]:
    """Yield the decided rows of tables that state verdicts."""
    for table in tables:
        for verdict, *texts in table.rows:
            if CHIPS.get(verdict) in ("good", "bad"):
                text, found = (*texts, "", "")[:2]
                yield DecidedClaim(chip(verdict), rich(text), rich(found))


def _verdict_index(table: Table) -> int | None:
    """Return the index of the column with verdicts, or None."""
    return next((i for i, column in enumerate(table.columns) if column.label == "verdict"), None)


def _verdict(table: Table, row: Sequence[str]) -> str:
    index = _verdict_index(table)
    return "" if index is None else row[index].partition(" (")[0]
