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


def show(table: Table, widths: dict[str, int] | None = None, spaced: bool = False) -> None:
    """Print a table.

    Args:
        table: as formats have it.
        widths: least widths of columns, by label.
        spaced: whether a blank line sets rows of several lines apart.
    """
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(
        title=table.title,
        title_justify="left",
        show_lines=False,
        pad_edge=False,
        box=None,
        padding=(0, 2, int(spaced), 0),
    )
    for column in table.columns:
        label = f"{column.label} ({column.unit})" if column.unit else column.label
        drawn.add_column(
            Text(label, "bold"),
            justify="right" if column.numeric else "left",
            min_width=(widths or {}).get(column.label),
            overflow="fold",
        )
    for row in table.rows:
        drawn.add_row(*(Text(cell, _STYLES.get(cell, "")) for cell in row))
    is_terminal = Console().is_terminal
    console = Console(highlight=False, markup=False, width=None if is_terminal else 200)
    console.print(drawn)
    if table.caption:
        console.print(table.caption, style="dim" if is_terminal else None)
