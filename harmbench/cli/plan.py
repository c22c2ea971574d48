"""`harmbench plan`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harmbench.cli import _options as o
from harmbench.cli._estimate import show_estimate

if TYPE_CHECKING:
    from harmbench.planning.plan import Plan


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
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Predict time, energy and CO2 of the run from short trials.")
    ] = False,
    probe: Annotated[str, typer.Option("--probe", help="Most time those short trials may take.")] = "2m",
    as_json: Annotated[bool, typer.Option("--json", help="The estimate as JSON.")] = False,
    region: o.Region = "world",
    pue: o.Pue = 1.0,
) -> None:
    """Show the trials of a suite, and what is excluded and why. Nothing runs, except short trials with --estimate.

    Example: harmbench plan vision --metrics euclidean,cosine
    """
    from harmbench.errors import OptionError
    from harmbench.planning.make import make_plan

    if as_json and not estimate:
        raise OptionError("--json prints an estimate as JSON; write --estimate --json")
    overrides = o.overrides(metrics, backbones, losses, datasets, seeds, epochs, steps)
    chosen = o.resolved_devices(devices)
    made = make_plan(suite, overrides, chosen, data_dir)
    if not as_json:
        show_plan(made, data_dir)
    if estimate:
        show_estimate(made, chosen, data_dir, probe, region, pue, as_json)


def show_plan(plan: Plan, data_dir: Path) -> None:
    """Print a plan: its cells in groups, what is excluded, and expensive heads."""
    from rich.console import Console
    from rich.table import Table

    from harmbench.planning.expensive_heads import expensive_heads

    columns = ["dataset", "backbone", "loss", "heads"]
    if plan.suite.vary:
        columns.insert(2, "setting")
    table = Table(*columns, title=f"{plan.suite.name}: {len(plan.trials)} trials")
    heads: dict[tuple[str, ...], list[str]] = {}
    for dataset, backbone, head, loss, setting in plan.cells:
        row: tuple[str, ...] = (dataset, backbone, loss)
        if plan.suite.vary:
            row = (dataset, backbone, setting, loss)
        heads.setdefault(row, []).append(head)
    for row, names in heads.items():
        table.add_row(*row, f"{len(names)}: {', '.join(names)}")
    console = Console(highlight=False, markup=False, width=None if Console().is_terminal else 200)
    console.print(table)
    console.print(
        f"{len(plan.cells)} cells x {plan.suite.seeds} seeds on {plan.trials[0].device_kind}, run key {plan.key}"
    )
    for entry in plan.excluded:
        console.print(f"excluded: {entry.what}: {entry.reason}")
    for line in expensive_heads(plan, data_dir):
        console.print(f"expensive: {line}")
