"""`harmbench doctor`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harmbench.cli import _options as o

if TYPE_CHECKING:
    from harmbench.energy.doctor import Diagnosis
    from harmbench.energy.selftest import SelfTest
    from harmbench.results.records import Component, EnergyOrigin


def doctor(
    data_dir: o.DataDir = Path("data"),
    devices: o.Devices = None,
    seconds: Annotated[float, typer.Option(min=0, help="How long to watch the energy sources.")] = 2.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as one JSON object.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit code 1 where energy could only be modelled, or not known.")
    ] = False,
) -> None:
    """Say what this machine can run and measure, and why not the rest.

    Example: harmbench doctor
    """
    from harmbench.energy.doctor import diagnose, instruments_for

    found = _machine(data_dir, devices)
    if not as_json:
        _show(_machine_lines(found))
    typer.echo("starting the energy sources ...", err=True)
    with instruments_for(found["devices"]) as instruments:
        diagnosis = diagnose(found["devices"], instruments, seconds, lambda line: typer.echo(line, err=True))
    if as_json:
        whole = {**found, "energy": diagnosis.model_dump(mode="json"), "not_measured": diagnosis.not_measured}
        typer.echo(json.dumps(whole, indent=1))
    else:
        _show(_energy_lines(diagnosis))
    if strict and diagnosis.not_measured:
        raise typer.Exit(1)


def _show(lines: Iterator[str]) -> None:
    for line in lines:
        typer.echo(line)


def _machine(data_dir: Path, devices: list[str] | None) -> dict[str, Any]:
    """What there is, apart from energy."""
    from harmbench._devices import torch_has_cuda
    from harmbench.datasets import DATASETS
    from harmbench.nn.kernels import status
    from harmbench.planning import environment

    return {
        "environment": environment.capture(),
        "torch_has_cuda": torch_has_cuda(),
        "devices": o.resolved_devices(devices),
        "kernels": status(),
        "datasets": {name: cls().available(data_dir) for name, cls in DATASETS.members.items() if cls.argument is None},
        "data_dir": str(data_dir),
    }


def _machine_lines(found: dict[str, Any]) -> Iterator[str]:
    here = found["environment"]
    yield f"harmbench {here['versions']['harmbench']} on Python {here['python']}, {here['platform']}"
    yield f"processor: {here['cpu']}, {here['cpu_count']} threads, {here['memory_bytes'] / 2**30:.0f} GiB"
    build = "with CUDA" if found["torch_has_cuda"] else "CPU build"
    yield f"torch: {here['versions']['torch']} ({build}); trials would run on {', '.join(found['devices'])}"
    for gpu in here["gpus"]:
        yield f"GPU: {gpu['name']}, {gpu['memory_bytes'] / 2**30:.0f} GiB, driver {gpu['driver']}"
    if not here["gpus"]:
        yield "GPU: none that NVML sees"
    kernels = dict(found["kernels"])
    yield f"kernels: {', '.join([kernels.pop('kernels'), *(f'{what} {value}' for what, value in kernels.items())])}"
    ready = [name for name, reason in found["datasets"].items() if not reason]
    absent = [name for name, reason in found["datasets"].items() if reason]
    yield f"data sets ready: {', '.join(ready)}"
    if absent:
        where = f"data sets not in {found['data_dir']}: {', '.join(absent)}"
        yield f"{where} (run with --datasets NAME --download to get one)"


def _energy_lines(diagnosis: Diagnosis) -> Iterator[str]:
    for component, origin in diagnosis.origins.items():
        scope = f", of the {origin.scope}" if origin.scope else ""
        yield f"energy, {component}: {origin.method}{scope} ({origin.detail})"
    for component, origin in diagnosis.direct_origins.items():
        what = f"a counter ({origin.detail})" if origin.method == "counter" else f"no counter: {origin.detail}"
        yield f"read directly, {component}: {what}"
    for test in diagnosis.tests:
        yield _test_line(test, diagnosis.origins)
    for component, ratio in diagnosis.agreement.items():
        yield f"agreement, {component}: CodeCarbon says {ratio:.3f} times what the counter says"
    start = diagnosis.instruments["codecarbon"]["start_s"]
    yield f"CodeCarbon took {start:.1f} s to start; settings from outside: {_outside(diagnosis)}"
    yield from (f"beware ({trap.name}): {trap.text}" for trap in diagnosis.traps)
    if wanting := ", ".join(diagnosis.not_measured):
        yield f"not measured here: {wanting}; `harmbench run --strict` would refuse"


def _outside(diagnosis: Diagnosis) -> str:
    return ", ".join(diagnosis.instruments["codecarbon"]["settings_from_outside"]) or "none"


def _test_line(test: SelfTest, origins: Mapping[Component, EnergyOrigin]) -> str:
    """What one source did while it was watched; a model's power has no noise and no steps but our own looks."""
    cost = f"a reading costs {test.read_microseconds:.0f} us (worst {test.read_microseconds_worst:.0f})"
    told = [f"{test.name}: {cost}"]
    for component, watts in test.watts.items():
        parts = [f"{component} {watts:.2f} W"]
        if test.name == "CodeCarbon" and origins[component].method == "model":
            told.append(f"{parts[0]} by its model")
            continue
        if component in test.noise:
            parts.append(f"±{test.noise[component]:.1%}")
        if component in test.renewal_s:
            step, period = test.step_joules[component], test.renewal_s[component]
            parts.append(f"steps of {step:.2g} J every {1000 * period:.0f} ms")
        told.append(" ".join(parts))
    told += [f"{component}: {gap}" for component, gap in test.gaps.items()]
    return "; ".join(told)
