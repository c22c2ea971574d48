"""Tables on a terminal: in colour and as wide as it is; plain and wide in a pipe."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harmbench.formats import Table

_STYLES = {
    "supported": "green",
    "better": "green",
    "refuted": "red",
    "worse": "red",
    "MISSED": "bold red",
    "not decided": "yellow",
    "not testable here": "dim",
}


def show(table: Table, spaced: bool = False) -> None:
    """Print a table without its empty columns.

    Args:
        table: as formats have it.
        spaced: whether a blank line sets rows of several lines apart.
    """
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(title=table.title, title_justify="left", pad_edge=False, box=None, padding=(0, 2, int(spaced), 0))
    filled = [i for i in range(len(table.columns)) if any(row[i] for row in table.rows)]
    for column in (table.columns[i] for i in filled):
        label = f"{column.label} ({column.unit})" if column.unit else column.label
        drawn.add_column(Text(label, "bold"), justify="right" if column.numeric else "left", overflow="fold")
    for row in table.rows:
        drawn.add_row(*(Text(row[i], _STYLES.get(row[i], "")) for i in filled))
    is_terminal = Console().is_terminal
    console = Console(highlight=False, markup=False, width=None if is_terminal else 200)
    console.print(drawn)
    if table.caption:
        console.print(table.caption, style="dim" if is_terminal else None)
