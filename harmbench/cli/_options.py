"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from harmbench.errors import UsageError


def _complete(field: str) -> Callable[[str], list[str]]:
    """Shell completion of a comma-separated list of names."""

    def names(incomplete: str) -> list[str]:
        from harmbench.cli.listing import addresses, rooms

        done, comma, started = incomplete.rpartition(",")
        known = [address for cls in rooms()[field].members.values() for address in addresses(cls)]
        return [f"{done}{comma}{name}" for name in known if name.startswith(started)]

    return names


def _complete_suite(incomplete: str) -> list[str]:
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
Idle = Annotated[
    float | None,
    typer.Option(
        "--idle", min=0, help="Seconds of idle power before the trials and after; the suite's number unless given."
    ),
]
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
    """What the command line replaces in a suite file."""
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


class OwnProcess:
    """A context's object where the process is there for one command alone, and ends with it."""
