"""`harmbench ls`."""

from __future__ import annotations

from typing import Annotated

import typer

from harmbench.cli._rooms import OLD_WORDS, addresses, rooms


def ls(
    kinds: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KIND]...",
            help="metrics, losses, backbones, datasets, meters, formats, plots, executors or suites.",
        ),
    ] = None,
) -> None:
    """List components and suites, with one line on each.

    Example: harmbench ls metrics losses
    """
    from rich.console import Console
    from rich.table import Table

    from harmbench.errors import UnknownNameError
    from harmbench.planning.suite import load, shipped
    from harmbench.registry import split_names

    words = [*rooms(), "suites"]
    chosen = [OLD_WORDS.get(kind, kind) for kind in split_names(kinds or words)]
    for kind in chosen:
        if kind not in words:
            raise UnknownNameError("kind of component", kind, words)
    table = Table(box=None, header_style="bold")
    for column in ("kind", "name", "description"):
        table.add_column(column, no_wrap=column != "description")
    for word, room in rooms().items():
        if word in chosen:
            for cls in room.members.values():
                table.add_row(word, ", ".join(addresses(cls)), cls.summary())
    if "suites" in chosen:
        for name in shipped():
            table.add_row("suites", name, load(name).question)
    Console(markup=False, highlight=False, width=None if Console().is_terminal else 160).print(table)
