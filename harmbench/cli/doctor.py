"""`harmbench doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from harmbench.cli import _options as o


def doctor(data_dir: o.DataDir = Path("data")) -> None:
    """Say what this machine can run and measure, and why not the rest.

    Example: harmbench doctor
    """
    from harmbench import environment

    here = environment.capture()
    typer.echo(f"harmbench {here['versions']['harmbench']} on Python {here['python']}, {here['platform']}")
    typer.echo(f"processor: {here['cpu']}, {here['cpu_count']} threads, {here['memory_bytes'] / 2**30:.0f} GiB")
    _devices(here)
    _energy()
    _datasets(data_dir)


def _devices(here: dict[str, Any]) -> None:
    from harmbench.devices import resolve, torch_has_cuda

    build = "with CUDA" if torch_has_cuda() else "CPU build"
    typer.echo(f"torch: {here['versions']['torch']} ({build}); --devices auto is {', '.join(resolve(['auto']))}")
    for gpu in here["gpus"]:
        typer.echo(f"GPU: {gpu['name']}, {gpu['memory_bytes'] / 2**30:.0f} GiB, driver {gpu['driver']}")
    if not here["gpus"]:
        typer.echo("GPU: none that NVML sees")


def _energy() -> None:
    """Start CodeCarbon for real and read it twice."""
    import time

    from harmbench.devices import nvidia_uuids
    from harmbench.energy import CodeCarbonSource, settings_from_outside

    with CodeCarbonSource(tuple(range(len(nvidia_uuids())))) as source:
        before = source.read()
        began = time.monotonic()
        time.sleep(1.0)
        after, seconds = source.read(), time.monotonic() - began
        for component, origin in source.origins().items():
            joules, start = after.joules[component], before.joules[component]
            watts = f", {(joules - start) / seconds:.1f} W now" if joules is not None and start is not None else ""
            typer.echo(f"energy, {component}: {origin.method} ({origin.detail}){watts}")
        if source.origins()["cpu"].method == "model":
            typer.echo(
                "  no readable energy counter for the processor (RAPL): its joules are modelled, and decide nothing"
            )
    outside = settings_from_outside()
    typer.echo(f"CodeCarbon settings from outside: {', '.join(outside) or 'none'}")
    if outside:
        typer.echo("  these can change energy figures; remove them, or keep them in mind")


def _datasets(data_dir: Path) -> None:
    from harmbench.datasets import DATASETS

    missing = {name: cls().available(data_dir) for name, cls in DATASETS.members.items() if cls.argument is None}
    typer.echo(f"data sets ready: {', '.join(name for name, reason in missing.items() if not reason)}")
    absent = [name for name, reason in missing.items() if reason]
    if absent:
        typer.echo(f"data sets not in {data_dir}: {', '.join(absent)} (run with --datasets NAME --download to get one)")
