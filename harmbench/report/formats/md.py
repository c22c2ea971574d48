"""Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from harmbench.report.formats._base import Column, Format, Report, Section, Table


class Markdown(Format):
    """Markdown as GitHub renders it, readable as plain text too."""

    name: ClassVar[str] = "md"
    suffix: ClassVar[str] = ".md"
    raw: ClassVar[bool] = False
    plots: ClassVar[str] = ".svg"

    def render(self, report: Report) -> str:
        return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    yield from (f"# {report.title}", "", report.subtitle, "", "## Summary")
    if report.overview:
        yield from table_lines(report.overview, captioned_after=True)
    yield ""
    yield from (f"- {sentence}" for sentence in report.summary)
    yield from _sections(report.leading)
    if report.figures:
        yield from ("", "## Figures")
    for figure in report.figures:
        yield from ("", f"![{figure.caption}]({figure.name}{Markdown.plots})", "", figure.caption)
    yield from _sections(report.following)
    yield from ("", "## How to read this", "")
    yield from (f"- {note}" for note in report.notes)
    yield from ("", "## Environment", "", "| | |", "|---|---|")
    yield from (f"| {label} | {_escape(text)} |" for label, text in report.environment)


def _sections(sections: Sequence[Section]) -> Iterator[str]:
    for section in sections:
        yield from ("", f"## {section.title}")
        for table in section.tables:
            yield from table_lines(table)


def table_lines(table: Table, captioned_after: bool = False) -> Iterator[str]:
    """Yield the lines of a table with its title and caption."""
    yield from ("", f"### {table.title}", "")
    if table.caption and not captioned_after:
        yield from (table.caption, "")
    header = [_header(column) for column in table.columns]
    cells = [[_escape(cell) for cell in row] for row in table.rows]
    widths = [max(len(row[i]) for row in [header, *cells]) for i in range(len(header))]
    yield _row(header, widths, table.columns)
    yield (
        "|"
        + "|".join(
            ("-" * (w + 1) + ":") if c.numeric else ("-" * (w + 2)) for w, c in zip(widths, table.columns, strict=True)
        )
        + "|"
    )
    yield from (_row(row, widths, table.columns) for row in cells)
    if table.caption and captioned_after:
        yield from ("", table.caption)


def _header(column: Column) -> str:
    return f"{column.label} ({column.unit})" if column.unit else column.label


def _row(cells: list[str], widths: list[int], columns: tuple[Column, ...]) -> str:
    padded = (
        cell.rjust(width) if column.numeric else cell.ljust(width)
        for cell, width, column in zip(cells, widths, columns, strict=True)
    )
    return "| " + " | ".join(padded) + " |"


def _escape(text: str) -> str:
    return " ".join(text.replace("\\", "\\\\").replace("|", "\\|").splitlines())
