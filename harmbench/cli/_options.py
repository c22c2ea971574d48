"""Options that several commands share, and how they are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from harmbench.errors import UsageError


def _complete(field: str) -> Callable[[str], list[str]]:
    """Shell completion of a comma-separated list of names."""

    def names(incomplete: str) -> list[str]:
        from harmbench.cli._rooms import addresses, rooms

        done, comma, started = incomplete.rpartition(",")
        candidates = [address for cls in rooms()[field].members.values() for address in addresses(cls)]
        return [f"{done}{comma}{name}" for name in candidates if name.startswith(started)]

    return names


def _complete_suite(incomplete: str) -> list[str]:
    """Shell completion of a suite's name."""
    from harmbench.planning.suite import shipped

    return [name for name in shipped() if name.startswith(incomplete)]


Suite = Annotated[
    str,
    typer.Argument(
        metavar="SUITE",
        help="A shipped suite's name (harmbench ls suites) or a YAML file.",
        autocompletion=_complete_suite,
    ),
]
Metrics = Annotated[
    list[str] | None,
    typer.Option(help="Distances, comma-separated; `all` and `paper` are sets.", autocompletion=_complete("metrics")),
]
Backbones = Annotated[
    list[str] | None,
    typer.Option(help="Backbones, comma-separated, such as mlp,timm:resnet18.", autocompletion=_complete("backbones")),
]
Losses = Annotated[
    list[str] | None,
    typer.Option(help="Losses, comma-separated, such as harmonic,cross_entropy.", autocompletion=_complete("losses")),
]
Datasets = Annotated[
    list[str] | None,
    typer.Option(help="Data sets, comma-separated, such as digits,folder:PATH.", autocompletion=_complete("datasets")),
]
Seeds = Annotated[int | None, typer.Option("--seeds", help="Number of seeds; more than before adds only the new ones.")]
Epochs = Annotated[float | None, typer.Option("--epochs", help="Budget in passes over the training part.")]
Steps = Annotated[int | None, typer.Option("--steps", help="Budget in optimizer steps.")]
Devices = Annotated[list[str] | None, typer.Option("--devices", help="auto, cpu, cuda, cuda:INDEX; comma-separated.")]
Executor = Annotated[
    str,
    typer.Option(help="Where trials run (harmbench ls executors).", autocompletion=_complete("executors")),
]
IdleSeconds = Annotated[
    float | None,
    typer.Option(
        "--idle-seconds",
        min=0,
        help="How long idle power is measured before the trials and after them; default: the suite's value.",
    ),
]
Idle = Annotated[float | None, typer.Option("--idle", min=0, hidden=True)]  # as harmbench 0.1 calls --idle-seconds
DataDir = Annotated[
    Path, typer.Option("--data-dir", envvar="HARMBENCH_DATA", help="Folder of data sets.", file_okay=False)
]

Region = Annotated[
    str,
    typer.Option(
        "--region", envvar="HARMBENCH_REGION", help="ISO country code (FRA), zone (US-CA, CA-QC, CN-BJ, SE1), or world."
    ),
]
Pue = Annotated[float, typer.Option("--pue", help="Power usage effectiveness of the building.")]


def overrides(
    metrics: list[str] | None,
    backbones: list[str] | None,
    losses: list[str] | None,
    datasets: list[str] | None,
    seeds: int | None,
    epochs: float | None,
    steps: int | None,
) -> dict[str, Any]:
    """The fields of a suite that the command line replaces."""
    if epochs is not None and steps is not None:
        raise UsageError("--epochs and --steps are both budgets; give one of them")
    protocol = {name: value for name, value in (("epochs", epochs), ("steps", steps)) if value is not None}
    chosen: dict[str, Any] = {
        "metrics": metrics,
        "backbones": backbones,
        "losses": losses,
        "datasets": datasets,
        "seeds": seeds,
        "protocol": protocol or None,
    }
    return {name: value for name, value in chosen.items() if value is not None}


def resolved_devices(devices: list[str] | None) -> list[str]:
    """Names of devices from the command line. The default is `auto`."""
    from harmbench._devices import resolve
    from harmbench.registry import split_names

    return resolve(split_names(devices or ["auto"]))


T = TypeVar("T")


def renamed_option(old: str, old_value: T | None, new: str, new_value: T | None) -> T | None:
    """The value of an option that may be given under its old name, with a warning.

    Raises:
        UsageError: if both names are given.
    """
    if old_value is None:
        return new_value
    if new_value is not None:
        raise UsageError(f"{old} is the old name of {new}; leave it out")
    typer.echo(f"{old} is now {new}; the old name goes away in the next release", err=True)
    return old_value


class OwnProcess:
    """Marks the context of a process that exists for one command and ends with it."""
