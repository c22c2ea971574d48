"""What is decided: verdicts counted by section, and the rows that are decided, gathered from all sections."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from markupsafe import Markup

from harmbench.report.formats._base import Column, Section, Table
from harmbench.report.formats.html._tables import CHIPS, chip, rich

_NO_COMPARISON = {"baseline", ""}


class Share(NamedTuple):
    """So many of a verdict; `start` and `width` are its place in a bar of length 100."""

    verdict: str
    look: str
    number: int
    start: float
    width: float


class Accumulator(NamedTuple):
    """Verdicts of one or more tables, as many as there are of each."""

    total: int
    shares: tuple[Share, ...]


def states_verdicts(table: Table) -> bool:
    """Whether verdicts are what the table is about, as with claims: they come first."""
    return bool(table.columns) and table.columns[0].label == "verdict"


def compares(section: Section) -> Table | None:
    """The first table of a section whose rows are compared with a baseline."""
    return next((t for t in section.tables if not states_verdicts(t) and _place(t) is not None), None)


def tally(tables: Sequence[Table]) -> Accumulator:
    """Verdicts counted; of claims, where they are what the tables state."""
    counts: Counter[str] = Counter()
    for table in tables:
        counts.update(verdict for row in table.rows if (verdict := _verdict(table, row)) not in _NO_COMPARISON)
    total = sum(counts.values())
    family = ("supported", "refuted") if any(map(states_verdicts, tables)) else ("better", "worse")
    return Accumulator(total, tuple(_shares(counts, total, family)))


def _shares(counts: Counter[str], total: int, family: tuple[str, str]) -> Iterator[Share]:
    """In the order of good, bad, open, none; those of the family are told even where there are none."""
    known = [v for v in CHIPS if v in counts or v in family]
    start = 0.0
    for verdict in known:
        width = 100 * counts[verdict] / total if total else 0.0
        yield Share(verdict, CHIPS[verdict], counts[verdict], start, width)
        start += width


def decided(sections: Sequence[Section]) -> tuple[Table, ...]:
    """Every row that is decided, with its section and all that stands before the verdict; sections whose columns differ
    make tables of their own."""
    found: dict[tuple[Column, ...], list[tuple[str, ...]]] = defaultdict(list)
    for section in sections:
        table = compares(section)
        place = _place(table) if table else None
        if table is None or place is None:
            continue
        columns = (table.columns[place], *table.columns[:place], Column(label="where", numeric=False))
        for row in table.rows:
            if CHIPS.get(_verdict(table, row)) in ("good", "bad"):
                found[columns].append((row[place], *row[:place], section.title))
    return tuple(
        Table(title="Heads that are decided", columns=columns, rows=tuple(sorted(rows, key=lambda row: row[0])))
        for columns, rows in found.items()
    )


class DecidedClaim(NamedTuple):
    """A claim that is decided: its verdict, its text, and what was found."""

    chip: Markup
    text: Markup
    found: Markup


def decided_claims(tables: Sequence[Table]) -> Iterator[DecidedClaim]:
    """The decided rows of tables that state verdicts."""
    for table in tables:
        for verdict, *texts in table.rows:
            if CHIPS.get(verdict) in ("good", "bad"):
                text, found = (*texts, "", "")[:2]
                yield DecidedClaim(chip(verdict), rich(text), rich(found))


def _place(table: Table) -> int | None:
    """Which column holds verdicts."""
    return next((i for i, column in enumerate(table.columns) if column.label == "verdict"), None)


def _verdict(table: Table, row: Sequence[str]) -> str:
    place = _place(table)
    return "" if place is None else row[place].partition(" (")[0]
