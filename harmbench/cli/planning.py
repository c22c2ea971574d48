"""`harmbench plan` and `harmbench validate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import typer

from harmbench.cli import _options as o

if TYPE_CHECKING:
    from harmbench.plan import Plan


def make_plan(suite: str, overrides: dict[str, Any], devices: list[str], data_dir: Path) -> Plan:
    """The plan of a suite on devices."""
    from harmbench import plan as planning
    from harmbench import suite as suites
    from harmbench.datasets import DATASETS
    from harmbench.environment import result_versions

    spec = suites.load(suite, overrides)
    kind = cast(Literal["cpu", "cuda"], devices[0].split(":")[0])
    contents = {address: DATASETS.parse(address).content(data_dir) for address in spec.datasets}
    return planning.expand(spec, kind, result_versions(), contents)


def resolve_devices(devices: list[str] | None) -> list[str]:
    """Devices from the command line; `auto` unless given."""
    from harmbench.devices import resolve
    from harmbench.registry import split_names

    return resolve(split_names(devices or ["auto"]))


def plan(
    suite: o.Suite,
    metrics: o.Metrics = None,
    backbones: o.Backbones = None,
    losses: o.Losses = None,
    datasets: o.Datasets = None,
    seeds: o.Seeds = None,
    epochs: o.Epochs = None,
    steps: o.Steps = None,
    devices: o.Devices = None,
    data_dir: o.DataDir = Path("data"),
) -> None:
    """Show the trials of a suite, and what is left out and why; runs nothing.

    Example: harmbench plan vision --metrics euclidean,cosine
    """
    overrides = o.overrides(metrics, backbones, losses, datasets, seeds, epochs, steps)
    show_plan(make_plan(suite, overrides, resolve_devices(devices), data_dir), data_dir)


def show_plan(plan: Plan, data_dir: Path) -> None:
    """Print a plan: its cells, grouped, what it leaves out, and heads that are dear."""
    from rich.console import Console
    from rich.table import Table

    varied = ("setting",) if plan.suite.vary else ()
    columns = ("dataset", "backbone", *varied, "loss", "heads")
    table = Table(*columns, title=f"{plan.suite.name}: {len(plan.trials)} trials")
    heads: dict[tuple[str, ...], list[str]] = {}
    for dataset, backbone, head, loss, setting in plan.cells:
        heads.setdefault((dataset, backbone, *((setting,) if varied else ()), loss), []).append(head)
    for row, names in heads.items():
        table.add_row(*row, f"{len(names)}: {', '.join(names)}")
    console = Console(highlight=False, markup=False, width=None if Console().is_terminal else 200)
    console.print(table)
    console.print(
        f"{len(plan.cells)} cells x {plan.suite.seeds} seeds on {plan.trials[0].device_kind}, run key {plan.key}"
    )
    for entry in plan.excluded:
        console.print(f"left out: {entry.what}: {entry.reason}")
    for line in dear_heads(plan, data_dir):
        console.print(f"dear: {line}")


def dear_heads(plan: Plan, data_dir: Path) -> list[str]:
    """What the plan's distance heads cost, where that is much; see `harmbench.cost`."""
    import importlib.util
    import os
    import shutil

    from harmbench import cost
    from harmbench.backbones import BACKBONES
    from harmbench.datasets import DATASETS

    settings, device = plan.suite.settings, plan.trials[0].device_kind
    cells = [
        cost.Cell(
            backbone,
            dataset,
            head,
            settings[setting].batch_size,
            BACKBONES.parse(backbone).known_features(),
            DATASETS.parse(dataset).known_classes(data_dir),
        )
        for dataset, backbone, head, _, setting in plan.cells
        if head != "linear"
    ]
    asked = os.environ.get("CXX", "")
    has_compiler = any(map(shutil.which, [asked] if asked else ["g++", "c++", "clang++"]))
    has_kernels = has_compiler if device == "cpu" else importlib.util.find_spec("triton") is not None
    return cost.warnings(cells, device, has_kernels)


def validate(suite: o.Suite) -> None:
    """Check a suite file; lists every problem with its path.

    Example: harmbench validate my-suite.yaml
    """
    plan = make_plan(suite, {}, ["cpu"], Path("data"))
    typer.echo(f"{suite}: fine, {len(plan.cells)} cells x {plan.suite.seeds} seeds = {len(plan.trials)} trials")
