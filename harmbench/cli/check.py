"""`harmbench check`."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harmbench.cli import _options as o

if TYPE_CHECKING:
    from harmbench.registry import Component, Room
    from harmbench.testing import Result


def check(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A component, such as euclidean, minkowski[p=3] or timm:resnet18.")
    ],
    room: Annotated[
        str | None,
        typer.Option("--room", help="metrics, losses, ...: which component is meant, where several have the name."),
    ] = None,
    data_dir: o.DataDir = Path("data"),
    show_all: Annotated[bool, typer.Option("--all", help="List the contracts that passed as well.")] = False,
) -> None:
    """Check a component, yours or one of harmbench, against the contracts of its room.

    A bare name stands for all named variants. The exit code is 1 where a contract is broken.

    Example: harmbench check minkowski
    """
    word, components = _chosen(name, room)
    results: list[Result] = []
    for component in components:
        results += _judge(word, component, data_dir)
    _show(results, show_all)
    counts = Counter(result.status for result in results)
    addresses = {result.component for result in results}
    subject = name
    if len(addresses) > 1:
        subject = f"{name} ({len(addresses)} variants)"
    typer.echo(
        f"{subject} in {word}: {counts['passed']} passed, {counts['skipped']} do not apply, {counts['failed']} failed"
    )
    if counts["failed"]:
        raise typer.Exit(1)


def _chosen(name: str, room: str | None) -> tuple[str, Sequence[Component]]:
    """The word for the room that has a component of that name, and the component with each of its named variants.

    Raises:
        UnknownNameError: for a name, or a room, that does not exist.
        UsageError: for a name that several rooms have.
    """
    from harmbench.cli._rooms import rooms
    from harmbench.errors import UnknownNameError, UsageError

    known: dict[str, Room[Any]] = rooms()
    if room is not None and room not in known:
        raise UnknownNameError("room", room, known)
    searched = known
    if room is not None:
        searched = {room: known[room]}
    bare = name.strip().split("[")[0].split(":")[0]
    words = [word for word, members in searched.items() if bare in members.members]
    if not words:
        names = [member for members in searched.values() for member in members.members]
        nearest = difflib.get_close_matches(bare, names, n=5, cutoff=0.4) or names
        raise UnknownNameError("component", bare, nearest, see="harmbench ls", partial=True)
    if len(words) > 1:
        options = " or ".join(f"--room {word}" for word in words)
        raise UsageError(f"'{bare}' is in {len(words)} rooms; add {options}")
    members = searched[words[0]]
    cls = members.members[bare]
    if name.strip() != bare or cls.argument is not None:
        return words[0], [members.parse(name)]
    return words[0], [cls.from_options(variant) for variant in cls.variants]


def _judge(word: str, component: Any, data_dir: Path) -> Sequence[Result]:
    """The results of all contracts of the component's room."""
    from harmbench import testing

    judges: dict[str, Callable[[Any], Sequence[Result]]] = {
        "metrics": testing.judge_distance,
        "losses": testing.judge_loss,
        "backbones": testing.judge_backbone,
        "datasets": lambda dataset: testing.judge_dataset(dataset, data_dir),
        "meters": testing.judge_meter,
        "formats": testing.judge_format,
        "plots": testing.judge_plot,
        "executors": testing.judge_executor,
    }
    return judges[word](component)


def _show(results: Sequence[Result], show_all: bool) -> None:
    """Print a table of the contracts, with one row for a contract that passed on all variants."""
    from rich.table import Table
    from rich.text import Text

    from harmbench.cli._tables import console

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("contract", "result", "component", "reason"):
        table.add_column(Text(column, "bold"), overflow="fold")
    colors = {"passed": "green", "failed": "red", "skipped": "dim"}
    for contract in dict.fromkeys(result.contract for result in results):
        of_contract = [result for result in results if result.contract == contract]
        shown = [result for result in of_contract if show_all or result.status == "failed"]
        for result in shown:
            table.add_row(contract, Text(result.status, colors[result.status]), result.component, result.reason)
        if shown:
            continue
        if any(result.status == "passed" for result in of_contract):
            table.add_row(contract, Text("passed", colors["passed"]), "", "")
        else:
            table.add_row(contract, Text("skipped", colors["skipped"]), "", of_contract[0].reason)
    console().print(table)
