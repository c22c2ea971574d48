"""`harmbench ls` and `harmbench show`."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from harmbench.registry import Component, Room


def rooms() -> dict[str, Room[Any]]:
    """All rooms, by the word users know them by."""
    from harmbench.formats import FORMATS
    from harmbench.suite import ROOMS

    return {**ROOMS, "formats": FORMATS}


def ls(
    kind: Annotated[
        str | None, typer.Argument(help="metrics, losses, backbones, datasets, meters, formats or suites.")
    ] = None,
) -> None:
    """List what there is, with one line on each.

    Example: harmbench ls metrics
    """
    from rich.console import Console
    from rich.table import Table

    from harmbench.errors import UnknownNameError
    from harmbench.suite import shipped

    known = rooms()
    if kind is not None and kind not in {*known, "suites"}:
        raise UnknownNameError("kind of thing", kind, {*known, "suites"})
    table = Table(box=None, header_style="bold")
    for column in ("kind", "name", "what it is"):
        table.add_column(column, no_wrap=column != "what it is")
    for word, room in known.items():
        if kind in (None, word):
            for cls in room.members.values():
                table.add_row(word, ", ".join(addresses(cls)), cls.summary())
    if kind in (None, "suites"):
        for name in shipped():
            table.add_row("suites", name, _question(name))
    Console(markup=False, highlight=False, width=None if Console().is_terminal else 160).print(table)


def addresses(cls: type[Component]) -> list[str]:
    """How the variants of a component are addressed."""
    if cls.argument:
        return [f"{cls.name}:{cls.argument.upper()}"]
    return [str(cls.from_options(variant)) for variant in cls.variants]


def _question(suite: str) -> str:
    from harmbench.suite import load

    return load(suite).question


def show(name: Annotated[str, typer.Argument(help="A component's name, such as canberra, or a suite's.")]) -> None:
    """Explain one component: what it computes, its options, its facts; or show a suite's file.

    Example: harmbench show minkowski
    """
    from harmbench.errors import UnknownNameError
    from harmbench.suite import shipped

    bare = name.split("[")[0].split(":")[0]
    for word, room in rooms().items():
        if bare in room.members:
            _explain(word, room.members[bare])
            return
    if name in shipped():
        typer.echo(shipped()[name].read_text(), nl=False)
        return
    everything = [member for room in rooms().values() for member in room.members] + list(shipped())
    near = difflib.get_close_matches(bare, everything, n=5, cutoff=0.4) or everything
    raise UnknownNameError("name", name, near, see="harmbench ls", partial=True)


def _explain(word: str, cls: type[Component]) -> None:
    import inspect

    typer.echo(f"{cls.name}  ({word})\n")
    typer.echo(f"{inspect.getdoc(cls)}\n")
    typer.echo(f"addresses: {', '.join(addresses(cls))}")
    for option, field in cls.model_fields.items():
        if option != cls.argument:
            typer.echo(f"option {option}: default {field.default}")
    if hasattr(cls, "facts"):
        for variant in cls.variants:
            distance = cls.from_options(variant)
            facts = ", ".join(f"{fact}={value}" for fact, value in distance.facts._asdict().items())
            typer.echo(f"facts of {distance}: {facts}")
