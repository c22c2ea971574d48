"""A table for the template: columns that say something, cells as HTML, the numbers they are sorted by."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

from harmbench.formats._base import Column, Table

MISSING = frozenset({"", "n/a"})
CHIPS = {  # verdict -> how it looks
    "better": "good",
    "supported": "good",
    "worse": "bad",
    "refuted": "bad",
    "not decided": "open",
    "not testable here": "mute",
    "baseline": "mute",
    "n/a": "mute",
}
_SIGNS = {"good": "▲", "bad": "▼"}  # the same once more, for those who do not see the colour
_ORDER = ("good", "open", "bad", "mute")
_NUMBER = re.compile(r"(?:[<>≤≥~]\s*)?(?P<value>[+\-]?\d[\d,]*(?:\.\d+)?(?:e[+\-]?\d+)?)(?![\w.])")
_STRONG = re.compile(r"\*\*(.+?)\*\*")
_CODE = re.compile(r"`(.+?)`")
_WIDEST = 12  # of what may follow a number, in characters; the style sheet has a class for each


class View(NamedTuple):
    """What the template shows of a table.

    Attributes:
        table: whose title and caption are shown.
        columns: those that have a value.
        rows: cells, the first of each row its header.
        empty: names of the columns without any value.
    """

    table: Table
    columns: tuple[Column, ...]
    rows: tuple[Markup, ...]
    empty: tuple[str, ...]


def view(table: Table) -> View:
    """A table as the page shows it."""
    shown = [i for i in range(len(table.columns)) if _has_value(table, i)]
    columns = [table.columns[i] for i in shown]
    widths = [_tail_width([row[i] for row in table.rows]) if table.columns[i].numeric else 0 for i in shown]
    return View(
        table,
        tuple(columns),
        tuple(_row([row[i] for i in shown], columns, widths) for row in table.rows),
        tuple(_full_name(column) for i, column in enumerate(table.columns) if i not in shown),
    )


def _has_value(table: Table, index: int) -> bool:
    return index == 0 or not table.rows or any(row[index] not in MISSING for row in table.rows)


def _full_name(column: Column) -> str:
    return f"{column.label} ({column.unit})" if column.unit else column.label


def _row(cells: Sequence[str], columns: Sequence[Column], widths: Sequence[int]) -> Markup:
    return Markup("").join(_cells(cells, columns, widths))


def _cells(cells: Sequence[str], columns: Sequence[Column], widths: Sequence[int]) -> Iterator[Markup]:
    for i, (text, column, width) in enumerate(zip(cells, columns, widths, strict=True)):
        if i == 0:
            content, key = (chip(text), verdict_key(text)) if column.label == "verdict" else (rich(text), None)
            yield Markup('<th scope="row"{}>{}</th>').format(_key(key), content)
        elif column.label == "verdict":
            yield Markup("<td{}>{}</td>").format(_key(verdict_key(text)), chip(text))
        elif not column.numeric:
            yield Markup("<td>{}</td>").format(rich(text))
        else:
            yield Markup('<td class="n{}"{}>{}</td>').format(
                f" w{width}" if width else "", _key(number(text)), _numeric(text, bool(width))
            )


def _key(value: float | None) -> Markup:
    return Markup("") if value is None else Markup(' data-v="{:.12g}"').format(value)


# --- what a cell says ------------------------------------------------------------------------------------------


def number(text: str) -> float | None:
    """The number that a cell begins with, by which its column is sorted; None for those that go last.

    >>> number("43,104 ± 7,083"), number("**98.2 ± 1.1**"), number("- (0/3)"), number("n/a")
    (43104.0, 98.2, None, None)
    """
    match = _NUMBER.match(text.removeprefix("**"))
    return float(match["value"].replace(",", "")) if match else None


def verdict_key(text: str) -> float:
    """Where a verdict stands: good, open, bad, none; of the open ones, those that need fewer seeds first."""
    look = CHIPS.get(_verdict(text), "mute")
    seeds = re.search(r"\((\d+) seeds", text)
    return _ORDER.index(look) + (1 - 1 / (1 + int(seeds[1])) if seeds else 0.0)


def _verdict(text: str) -> str:
    return text.partition(" (")[0]


def chip(text: str) -> Markup:
    """A verdict; what stands behind it in brackets stays beside it."""
    verdict = _verdict(text)
    look = CHIPS.get(verdict, "")
    if not look:
        return rich(text)
    sign = Markup('<span aria-hidden="true">{}</span> ').format(_SIGNS[look]) if look in _SIGNS else ""
    rest = text[len(verdict) :].strip().removeprefix("(").removesuffix(")")
    aside = Markup(' <span class="u">{}</span>').format(rest) if rest else ""
    return Markup('<span class="chip {}">{}{}</span>{}').format(look, sign, verdict, aside)


def rich(text: str) -> Markup:
    """Text with the two marks that reports use: bold and code.

    >>> rich("**a** < `b`")
    Markup('<strong>a</strong> &lt; <code>b</code>')
    """
    escaped = str(escape(text))
    if "*" not in escaped and "`" not in escaped:
        return Markup(escaped)  # noqa: S704, RUF100  escaped in the line above
    return Markup(_CODE.sub(r"<code>\1</code>", _STRONG.sub(r"<strong>\1</strong>", escaped)))  # noqa: S704, RUF100


def _numeric(text: str, is_aligned: bool) -> Markup:
    """The number, and what follows it in a lighter tone; where columns are aligned, its place even if it is empty."""
    if text in MISSING:
        return Markup('<span class="u">{}</span>').format(text)
    is_strong = text.startswith("**") and text.endswith("**")
    head, tail = _split(text.removeprefix("**").removesuffix("**") if is_strong else text)
    lead = Markup("<strong>{}</strong>").format(head) if is_strong else rich(head)
    return lead + Markup('<span class="u"> {}</span>').format(tail) if tail or is_aligned else lead


def _split(text: str) -> tuple[str, str]:
    head, _, tail = text.partition(" ")
    return (head, tail) if number(head) is not None or head == "-" else (text, "")


def _tail_width(texts: Sequence[str]) -> int:
    """Characters to keep free behind the numbers of a column, so that they stand below each other."""
    tails = {len(_split(text.replace("**", ""))[1]) for text in texts if text not in MISSING}
    return min(max(tails), _WIDEST) if len(tails) > 1 else 0
