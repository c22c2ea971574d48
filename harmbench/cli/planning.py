"""`harmbench plan` and `harmbench validate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from harmbench.cli import _options as o

if TYPE_CHECKING:
    from harmbench.planning.plan import Plan


def make_plan(suite: str, overrides: dict[str, Any], devices: list[str], data_dir: Path) -> Plan:
    """The plan of a suite on devices."""
    from harmbench.backbones import BACKBONES
    from harmbench.datasets import DATASETS
    from harmbench.planning import plan as planning
    from harmbench.planning import suite as suites
    from harmbench.planning.environment import result_versions

    spec = suites.load(suite, overrides)
    kind = cast(Literal["cpu", "cuda"], devices[0].split(":")[0])
    contents = {address: DATASETS.parse(address).content(data_dir) for address in spec.datasets}
    contents |= {address: BACKBONES.parse(address).content() for address in spec.backbones}
    return planning.expand(spec, kind, result_versions(), contents)


def resolve_devices(devices: list[str] | None) -> list[str]:
    """Devices from the command line; `auto` unless given."""
    from harmbench._devices import resolve
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
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Predict time, energy and CO2 of the run from short trials.")
    ] = False,
    probe: Annotated[str, typer.Option("--probe", help="Most time those short trials may take.")] = "2m",
    as_json: Annotated[bool, typer.Option("--json", help="The estimate as JSON.")] = False,
    region: o.Region = "world",
    pue: o.Pue = 1.0,
) -> None:
    """Show the trials of a suite, and what is left out and why; runs nothing but the short trials of --estimate.

    Example: harmbench plan vision --metrics euclidean,cosine
    """
    from harmbench.errors import OptionError

    if as_json and not estimate:
        raise OptionError("--json is the form of an estimate; write --estimate --json")
    overrides = o.overrides(metrics, backbones, losses, datasets, seeds, epochs, steps)
    chosen = resolve_devices(devices)
    made = make_plan(suite, overrides, chosen, data_dir)
    if not as_json:
        show_plan(made, data_dir)
    if estimate:
        from harmbench.cli.estimating import show_estimate

        show_estimate(made, chosen, data_dir, probe, region, pue, as_json)


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
    """What the plan's distance heads cost, where that is much; see `harmbench.planning.head_cost`."""
    from harmbench.backbones import BACKBONES
    from harmbench.datasets import DATASETS
    from harmbench.planning import head_cost
    from harmbench.planning.plan import rows_of_step

    settings, device = plan.suite.settings, plan.trials[0].device_kind
    cells = [
        head_cost.Cell(
            backbone,
            dataset,
            head,
            rows_of_step(dataset, backbone, settings[setting].batch_size),
            BACKBONES.parse(backbone).known_features(),
            DATASETS.parse(dataset).known_classes(data_dir),
        )
        for dataset, backbone, head, _, setting in plan.cells
        if head != "linear"
    ]
    return head_cost.warnings(cells, device, has_kernels(device))


def has_kernels(device: str) -> bool:
    """Whether compiled kernels are to be had for a kind of device."""
    import importlib.util
    import os
    import shutil

    if device != "cpu":
        return importlib.util.find_spec("triton") is not None
    asked = os.environ.get("CXX", "")
    return any(map(shutil.which, [asked] if asked else ["g++", "c++", "clang++"]))


def validate(suite: o.Suite) -> None:
    """Check a suite file; lists every problem with its path.

    Example: harmbench validate my-suite.yaml
    """
    plan = make_plan(suite, {}, ["cpu"], Path("data"))
    typer.echo(f"{suite}: fine, {len(plan.cells)} cells x {plan.suite.seeds} seeds = {len(plan.trials)} trials")
