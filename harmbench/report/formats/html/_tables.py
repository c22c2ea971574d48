"""A table for the template: columns that say something, cells as HTML, the numbers they are sorted by."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

from harmbench.report.formats._base import Column, Table

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
_SIGNS = {"good": "▲", "bad": "▼"}  # the same once more, for those who do not see the color
_ORDER = ("good", "open", "bad", "mute")
_NUMBER = re.compile(r"(?:[<>≤≥~]\s*)?([+\-]?\d[\d,]*(?:\.\d+)?(?:e[+\-]?\d+)?)(?![\w.])")
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
    return Markup("".join(_cells(cells, columns, widths)))  # of escaped cells


def _cells(cells: Sequence[str], columns: Sequence[Column], widths: Sequence[int]) -> Iterator[str]:
    """Tags put together as plain text, for speed; what stands between them is escaped by those who make it."""
    for i, (text, column, width) in enumerate(zip(cells, columns, widths, strict=True)):
        if column.label == "verdict":
            key, content = _key(verdict_key(text)), chip(text)
        elif column.numeric and i > 0:
            yield _numeric(text, width)
            continue
        else:
            key, content = "", rich(text)
        yield f'<th scope="row"{key}>{_breakable(content)}</th>' if i == 0 else f"<td{key}>{content}</td>"


def _numeric(text: str, width: int) -> str:
    """A number, and what follows it in a lighter tone and, where the column is aligned, in a place of its width."""
    is_strong = text.startswith("**") and text.endswith("**")
    value, lead, tail = _split(text[2:-2] if is_strong else text)
    width = width if lead else 0  # what is missing stands at the right
    aligned = f" w{width}" if width else ""
    lead, tail = str(escape(lead)), str(escape(tail))
    content = f"<strong>{lead}</strong>" if is_strong else lead
    aside = f'<span class="u">{tail}</span>' if tail or width else ""
    return f'<td class="n{aligned}"{_key(value)}>{content}{aside}</td>'


def _breakable(content: str) -> str:
    """A head's name may be broken before its options."""
    return str.replace(content, "[", "<wbr>[")  # a Markup's own would escape the tag


def _key(value: float | None) -> str:
    return "" if value is None else f' data-v="{value:.12g}"'


# --- what a cell says ------------------------------------------------------------------------------------------


def number(text: str) -> float | None:
    """The number that a cell begins with, by which its column is sorted; None for those that go last.

    >>> number("43,104 ± 7,083"), number("**98.2 ± 1.1**"), number("- (0/3)"), number("n/a")
    (43104.0, 98.2, None, None)
    """
    return _split(text.removeprefix("**"))[0]


def _split(text: str) -> tuple[float | None, str, str]:
    """A cell's number, as value and as text, and the text behind it; a dash is a missing number, as is n/a."""
    if match := _NUMBER.match(text):
        return float(match[1].replace(",", "")), match[0], text[match.end() :]
    if text.startswith("- "):
        return None, "-", text[1:]
    return (None, "", text) if text in MISSING else (None, text, "")


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
        return Markup(escaped)  # escaped in the line above
    return Markup(_CODE.sub(r"<code>\1</code>", _STRONG.sub(r"<strong>\1</strong>", escaped)))


def _tail_width(texts: Sequence[str]) -> int:
    """Characters to keep free behind the numbers of a column, so that they stand below each other."""
    tails = {len(_split(text.replace("**", ""))[2]) for text in texts if text not in MISSING}
    return min(max(tails), _WIDEST) if len(tails) > 1 else 0
