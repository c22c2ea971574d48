"""Plain text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from harmbench.report.formats import Format, Report, Table


class Txt(Format):
    """Plain text for mails and terminals: summary, then each table with aligned columns."""

    name: ClassVar[str] = "txt"
    suffix: ClassVar[str] = ".txt"
    raw: ClassVar[bool] = False

    def render(self, report: Report) -> str:
        lines = [report.title, "=" * len(report.title), "", *map(_one_line, report.summary)]
        for section in report.sections:
            lines += ["", section.title, "-" * len(section.title)]
            for table in section.tables:
                lines += ["", *_aligned(table)]
        return "\n".join(lines) + "\n"


def _aligned(table: Table) -> Iterator[str]:
    """The table's lines: title, header and rows, with numbers aligned to the right."""
    yield _one_line(table.title)
    header = [f"{column.label} ({column.unit})" if column.unit else column.label for column in table.columns]
    rows = [[_one_line(cell) for cell in row] for row in (header, *table.rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.rjust(width) if column.numeric else cell.ljust(width)
            for cell, width, column in zip(row, widths, table.columns, strict=True)
        ]
        yield "  ".join(cells).rstrip()


def _one_line(text: str) -> str:
    return " ".join(text.split())
