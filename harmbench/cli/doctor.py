"""`harmbench doctor`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from harmbench.cli import _options as o


def doctor(
    data_dir: o.DataDir = Path("data"),
    devices: o.Devices = None,
    seconds: Annotated[float, typer.Option(min=0, help="Seconds for which the energy sources are tested.")] = 2.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as one JSON object.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with code 1 if energy is modelled or not available.")
    ] = False,
) -> None:
    """Show what this machine can and cannot run and measure, and why.

    Example: harmbench doctor
    """
    from harmbench.cli._options import resolved_devices
    from harmbench.energy.doctor import diagnose, instruments_for
    from harmbench.report import doctor as texts

    facts = texts.machine_facts(data_dir, resolved_devices(devices))
    if not as_json:
        _show(texts.machine_lines(facts))
    typer.echo("starting the energy sources ...", err=True)
    with instruments_for(facts["devices"]) as instruments:
        diagnosis = diagnose(facts["devices"], instruments, seconds, lambda line: typer.echo(line, err=True))
    if as_json:
        whole = {**facts, "energy": diagnosis.model_dump(mode="json"), "not_measured": diagnosis.not_measured}
        typer.echo(json.dumps(whole, indent=1))
    else:
        _show(texts.energy_lines(diagnosis))
    if strict and diagnosis.not_measured:
        raise typer.Exit(1)


def _show(lines: Iterator[str]) -> None:
    for line in lines:
        typer.echo(line)
