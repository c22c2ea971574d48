"""Tables for the template: columns with values, cells as HTML, and sort keys."""

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
_SIGNS = {"good": "▲", "bad": "▼"}  # a second sign besides the color
_ORDER = ("good", "open", "bad", "mute")
_NUMBER = re.compile(r"(?:[<>≤≥~]\s*)?([+\-]?\d[\d,]*(?:\.\d+)?(?:e[+\-]?\d+)?)(?![\w.])")
_STRONG = re.compile(r"\*\*(.+?)\*\*")
_CODE = re.compile(r"`(.+?)`")
_WIDEST = 12  # of what may follow a number, in characters; the style sheet has a class for each


class View(NamedTuple):
    """A table as the template shows it.

    Attributes:
        table: the table with its title and caption.
        columns: columns with any value.
        rows: cells as HTML. The first cell of a row is its header.
        empty: names of the columns without any value.
    """

    table: Table
    columns: tuple[Column, ...]
    rows: tuple[Markup, ...]
    empty: tuple[str, ...]


def view(table: Table) -> View:
    """Return a table as the page shows it."""
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
    """Yield cells as HTML. Tags are joined as plain text for speed, and callers escape the contents."""
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
    """Return a number and its suffix, which is lighter and, in aligned columns, of fixed width."""
    is_strong = text.startswith("**") and text.endswith("**")
    value, digits, tail = _split(text[2:-2] if is_strong else text)
    width = width if digits else 0  # missing values stand at the right
    aligned = f" w{width}" if width else ""
    digits, tail = str(escape(digits)), str(escape(tail))
    content = f"<strong>{digits}</strong>" if is_strong else digits
    aside = f'<span class="u">{tail}</span>' if tail or width else ""
    return f'<td class="n{aligned}"{_key(value)}>{content}{aside}</td>'


def _breakable(content: str) -> str:
    """A head's name may be broken before its options."""
    return str.replace(content, "[", "<wbr>[")  # a Markup's own would escape the tag


def _key(value: float | None) -> str:
    return "" if value is None else f' data-v="{value:.12g}"'


# --- contents of cells ------------------------------------------------------------------------------------------


def number(text: str) -> float | None:
    """Return the number at the start of a cell, by which its column is sorted. None sorts last.

    >>> number("43,104 ± 7,083"), number("**98.2 ± 1.1**"), number("- (0/3)"), number("n/a")
    (43104.0, 98.2, None, None)
    """
    return _split(text.removeprefix("**"))[0]


def _split(text: str) -> tuple[float | None, str, str]:
    """Return a cell's number as value and as text, and the rest. A dash and n/a are missing numbers."""
    if match := _NUMBER.match(text):
        return float(match[1].replace(",", "")), match[0], text[match.end() :]
    if text.startswith("- "):
        return None, "-", text[1:]
    return (None, "", text) if text in MISSING else (None, text, "")


def verdict_key(text: str) -> float:
    """Return a sort key of a verdict: good, not decided (fewest seeds first), bad, none."""
    look = CHIPS.get(_verdict(text), "mute")
    seeds = re.search(r"\((\d+) seeds", text)
    return _ORDER.index(look) + (1 - 1 / (1 + int(seeds[1])) if seeds else 0.0)


def _verdict(text: str) -> str:
    return text.partition(" (")[0]


def chip(text: str) -> Markup:
    """Return a verdict as a chip, followed by its text in brackets."""
    verdict = _verdict(text)
    look = CHIPS.get(verdict, "")
    if not look:
        return rich(text)
    sign = Markup('<span aria-hidden="true">{}</span> ').format(_SIGNS[look]) if look in _SIGNS else ""
    rest = text[len(verdict) :].strip().removeprefix("(").removesuffix(")")
    aside = Markup(' <span class="u">{}</span>').format(rest) if rest else ""
    return Markup('<span class="chip {}">{}{}</span>{}').format(look, sign, verdict, aside)


def rich(text: str) -> Markup:
    """Return text with the two marks of reports, bold and code, as HTML.

    >>> rich("**a** < `b`")
    Markup('<strong>a</strong> &lt; <code>b</code>')
    """
    escaped = str(escape(text))
    if "*" not in escaped and "`" not in escaped:
        return Markup(escaped)  # escaped in the line above
    return Markup(_CODE.sub(r"<code>\1</code>", _STRONG.sub(r"<strong>\1</strong>", escaped)))


def _tail_width(texts: Sequence[str]) -> int:
    """Return the width of suffixes in a column, in characters, which aligns its numbers."""
    tails = {len(_split(text.replace("**", ""))[2]) for text in texts if text not in MISSING}
    return min(max(tails), _WIDEST) if len(tails) > 1 else 0
