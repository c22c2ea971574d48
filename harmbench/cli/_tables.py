"""Tables on a terminal, in color and at its width, or plain and wide in a pipe."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from harmbench.report.formats import Table

PIPE = 200  # characters of a line if the width is unknown
STYLES = {
    "supported": "green",
    "better": "green",
    "refuted": "red",
    "worse": "red",
    "MISSED": "bold red",
    "not decided": "yellow",
    "not testable here": "dim",
}


def show(table: Table) -> None:
    """Print a table without its empty columns."""
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(title=table.title, title_justify="left", pad_edge=False, box=None, padding=(0, 2, 0, 0))
    filled = [i for i in range(len(table.columns)) if any(row[i] for row in table.rows)]
    for column in [table.columns[i] for i in filled]:
        label = column.label
        if column.unit:
            label = f"{label} ({column.unit})"
        drawn.add_column(Text(label, "bold"), justify="right" if column.numeric else "left", overflow="fold")
    for row in table.rows:
        drawn.add_row(*(Text(row[i], STYLES.get(row[i], "")) for i in filled))
    page = console()
    page.print(drawn)
    if table.caption:
        page.print(table.caption, style="dim")


def console(widest: int = 0) -> Console:
    """Return a console as wide as the terminal or COLUMNS, or 200 characters in a pipe, and at most `widest`.

    Text is printed unchanged, without colors in a pipe.
    """
    from rich.console import Console

    default = Console(highlight=False, markup=False, emoji=False)
    width = PIPE
    if default.is_terminal or os.environ.get("COLUMNS"):
        width = default.width
    return Console(highlight=False, markup=False, emoji=False, width=min(width, widest or width))
