"""`harmbench ls` and `harmbench show`."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from harmbench.registry import Component, Room


def rooms() -> dict[str, Room[Any]]:
    """All rooms, by the word users know them by."""
    from harmbench.planning.suite import ROOMS
    from harmbench.report.formats import FORMATS
    from harmbench.report.plots import PLOTS

    return {**ROOMS, "formats": FORMATS, "plots": PLOTS}


def ls(
    kinds: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KIND]...", help="metrics, losses, backbones, datasets, meters, formats, plots or suites."
        ),
    ] = None,
) -> None:
    """List what there is, with one line on each.

    Example: harmbench ls metrics losses
    """
    from rich.console import Console
    from rich.table import Table

    from harmbench.errors import UnknownNameError
    from harmbench.planning.suite import shipped
    from harmbench.registry import split_names

    known = rooms()
    chosen = split_names(kinds or [*known, "suites"])
    for kind in chosen:
        if kind not in {*known, "suites"}:
            raise UnknownNameError("kind of thing", kind, {*known, "suites"})
    table = Table(box=None, header_style="bold")
    for column in ("kind", "name", "what it is"):
        table.add_column(column, no_wrap=column != "what it is")
    for word, room in known.items():
        if word in chosen:
            for cls in room.members.values():
                table.add_row(word, ", ".join(addresses(cls)), cls.summary())
    if "suites" in chosen:
        for name in shipped():
            table.add_row("suites", name, _question(name))
    Console(markup=False, highlight=False, width=None if Console().is_terminal else 160).print(table)


def addresses(cls: type[Component]) -> list[str]:
    """How the variants of a component are addressed."""
    if cls.argument:
        return [f"{cls.name}:{cls.argument.upper()}"]
    return [str(cls.from_options(variant)) for variant in cls.variants]


def _question(suite: str) -> str:
    from harmbench.planning.suite import load

    return load(suite).question


def show(name: Annotated[str, typer.Argument(help="A component's name, such as canberra, or a suite's.")]) -> None:
    """Explain one component: what it computes, its options, its facts; or show a suite's file.

    Example: harmbench show minkowski
    """
    from harmbench.errors import UnknownNameError
    from harmbench.planning.suite import shipped

    bare = name.split("[")[0].split(":")[0]
    for word, room in rooms().items():
        if bare in room.members:
            cls = room.members[bare]
            chosen = room.parse(name) if name != bare or cls.argument is None else None
            _explain(word, cls)
            if word == "datasets" and chosen is not None:
                _count(chosen)
            return
    if name in shipped():
        typer.echo(shipped()[name].read_text(), nl=False)
        return
    everything = [member for room in rooms().values() for member in room.members] + list(shipped())
    near = difflib.get_close_matches(bare, everything, n=5, cutoff=0.4) or everything
    raise UnknownNameError("name", name, near, see="harmbench ls", partial=True)


def _explain(word: str, cls: type[Component]) -> None:
    typer.echo(f"{cls.name}  ({word})\n")
    typer.echo(f"{_prose(cls)}\n")
    typer.echo(f"addresses: {', '.join(addresses(cls))}")
    for option, field in cls.model_fields.items():
        if option != cls.argument:
            bounds = "".join(f", {bound}" for bound in _bounds(field))
            typer.echo(f"option {option}: default {field.default}{bounds}")
    if hasattr(cls, "facts"):
        for variant in cls.variants:
            distance: Any = cls.from_options(variant)
            facts = ", ".join(f"{fact}={value}" for fact, value in distance.facts._asdict().items())
            typer.echo(f"facts of {distance}: {facts}")
            typer.echo(f"computed here by: {_form(distance)}")
            typer.echo(f"computed on CUDA by: {_form_on_cuda(distance)}")


def _count(dataset: Any) -> None:
    """The parts of a data set that needs no files, and what its test part shares with its training part."""
    from pathlib import Path

    from harmbench.datasets import leaked_share

    nowhere = Path("nowhere")
    if dataset.available(nowhere):
        return
    splits = dataset.splits(nowhere, download=False)
    sizes = (len(splits.train_targets), len(splits.validation_targets), len(splits.test_targets))
    typer.echo("parts of {}: {} train, {} validation, {} test".format(dataset, *sizes))
    typer.echo(f"test inputs that are training inputs too: {leaked_share(splits):.1%}")


def _form(distance: Any) -> str:
    """Which form computes a distance on this machine's CPU at a common size, and why."""
    import torch

    from harmbench.nn.kernels import choice

    chosen = choice.choose(distance.operator, torch.device("cpu"), torch.float32, 256, 100, 512)
    return f"{chosen.form} ({chosen.reason})"


def _form_on_cuda(distance: Any) -> str:
    from harmbench.nn.kernels import choice

    return choice.on_cuda(distance.operator)


def _prose(cls: type[Component]) -> str:
    """The docstring, up to its examples."""
    import inspect

    return (inspect.getdoc(cls) or "").partition("\n>>>")[0].strip()


def _bounds(field: Any) -> list[str]:
    """An option's range, as its field states it."""
    from typing import Literal, get_args, get_origin

    if get_origin(field.annotation) is Literal:
        return ["one of " + ", ".join(map(str, get_args(field.annotation)))]
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    return [
        f"{sign} {getattr(rule, name):g}"
        for rule in field.metadata
        for name, sign in signs.items()
        if hasattr(rule, name)
    ]
