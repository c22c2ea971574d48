"""Comma-separated values."""

from __future__ import annotations

import csv
import io
from typing import ClassVar

from harmbench.report.formats._base import Format, Report, Table


class Csv(Format):
    """Tidy rows, one for each trial and measure, raw and unrounded, with their units."""

    name: ClassVar[str] = "csv"
    suffix: ClassVar[str] = ".csv"

    def render(self, report: Report) -> str:
        text = io.StringIO()
        columns = list(report.measurements[0]) if report.measurements else []
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(report.measurements)
        return text.getvalue()


def table_text(table: Table) -> str:
    """Return a table as CSV: a header with units, and its cells."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([f"{column.label} ({column.unit})" if column.unit else column.label for column in table.columns])
    writer.writerows(table.rows)
    return text.getvalue()
