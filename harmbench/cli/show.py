"""`harmbench show`."""

from __future__ import annotations

import difflib
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import typer

from harmbench.cli._rooms import addresses, rooms

if TYPE_CHECKING:
    from harmbench.registry import Component


def show(name: Annotated[str, typer.Argument(help="A component's name, such as canberra, or a suite's.")]) -> None:
    """Explain a component, with its options and facts, or print a suite's file.

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
                _show_sizes(chosen)
            return
    if name in shipped():
        typer.echo(shipped()[name].read_text(), nl=False)
        return
    names = [member for room in rooms().values() for member in room.members] + list(shipped())
    near = difflib.get_close_matches(bare, names, n=5, cutoff=0.4) or names
    raise UnknownNameError("name", name, near, see="harmbench ls", partial=True)


def _explain(word: str, cls: type[Component]) -> None:
    description = (inspect.getdoc(cls) or "").partition("\n>>>")[0].strip()
    typer.echo(f"{cls.name}  ({word})\n")
    typer.echo(f"{description}\n")
    typer.echo(f"addresses: {', '.join(addresses(cls))}")
    for option, field in cls.model_fields.items():
        if option != cls.argument:
            bounds = "".join(f", {bound}" for bound in _bounds(field))
            typer.echo(f"option {option}: default {field.default}{bounds}")
    if hasattr(cls, "facts"):
        for variant in cls.variants:
            _show_facts(cls.from_options(variant))


def _show_facts(distance: Any) -> None:
    """Print the facts of a distance, and the form that computes it at a common size on the CPU and on CUDA."""
    import torch

    from harmbench.nn.kernels import choice

    facts = ", ".join(f"{fact}={value}" for fact, value in distance.facts._asdict().items())
    chosen = choice.choose(distance.operator, torch.device("cpu"), torch.float32, 256, 100, 512)
    typer.echo(f"facts of {distance}: {facts}")
    typer.echo(f"computed here by: {chosen.form} ({chosen.reason})")
    typer.echo(f"computed on CUDA by: {choice.on_cuda(distance.operator)}")


def _show_sizes(dataset: Any) -> None:
    """Print the sizes of a data set that needs no files, and how much its test part shares with its training part."""
    from harmbench.datasets import leaked_share

    no_folder = Path("nowhere")
    if dataset.available(no_folder):
        return
    splits = dataset.splits(no_folder, download=False)
    sizes = (len(splits.train_targets), len(splits.validation_targets), len(splits.test_targets))
    typer.echo("parts of {}: {} train, {} validation, {} test".format(dataset, *sizes))
    typer.echo(f"test inputs that are also training inputs: {leaked_share(splits):.1%}")


def _bounds(field: Any) -> list[str]:
    """An option's range, as its field declares it."""
    if get_origin(field.annotation) is Literal:
        return ["one of " + ", ".join(map(str, get_args(field.annotation)))]
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    return [
        f"{sign} {getattr(limit, name):g}"
        for limit in field.metadata
        for name, sign in signs.items()
        if hasattr(limit, name)
    ]
