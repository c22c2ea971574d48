"""`harmbench plan --estimate`: short trials, and what they say of the whole run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harmbench.energy.carbon import Grid
    from harmbench.planning.estimate import Estimate, Group, Range
    from harmbench.planning.plan import Plan
    from harmbench.results.records import TrialSpec


def show_estimate(
    plan: Plan, devices: list[str], data_dir: Path, probe: str, region: str, pue: float, as_json: bool
) -> None:
    """Run the probes, and print what they predict of the trials that are still to be run.

    Args:
        plan: of the run.
        devices: that it would use; the probes run on the first.
        data_dir: folder of data sets.
        probe: most time the probes may take, such as `2m`.
        region, pue: for CO2.
        as_json: whether to print an object in place of text.
    """
    from harmbench.energy import carbon
    from harmbench.energy.doctor import charged
    from harmbench.errors import OptionError
    from harmbench.planning import budget
    from harmbench.planning.estimate import estimate
    from harmbench.runner import RunOptions
    from harmbench.runner.probe import run_probes

    limit, grid = budget.parse(probe, "--probe"), carbon.grid(region, pue)
    if limit.unit != "s":
        raise OptionError(f"--probe '{probe}' is an energy; give a time, such as 2m")
    folder = Path("reports") / f"{plan.suite.name}-{plan.key[:6]}"
    todo, stored = _to_run(plan, folder)
    if not todo:
        typer.echo(f"nothing to estimate: all {len(plan.trials)} trials are stored in {folder}", err=as_json)
        return
    groups = _groups(todo, data_dir)
    cells: dict[Group, dict[tuple[str, ...], TrialSpec]] = {}
    for spec, group in groups:
        cells.setdefault(group, {}).setdefault(spec.cell, spec)
    members = {group: list(its.values()) for group, its in cells.items()}
    options = RunOptions(folder, tuple(devices), data_dir, idle_seconds=plan.suite.idle_seconds)
    probes, around = run_probes(plan, options, members, limit.limit, _say_progress)
    if sys.stderr.isatty():
        typer.echo("\r\x1b[K", err=True, nl=False)
    found = estimate(groups, probes, around, charged(devices))
    took = around.start + sum(each.seconds for each in probes)
    typer.echo(
        json.dumps(_as_object(found, grid, stored, len(probes), took), indent=1, ensure_ascii=False)
        if as_json
        else "\n".join(_lines(found, grid, stored, len(probes), took))
    )


def _to_run(plan: Plan, folder: Path) -> tuple[list[TrialSpec], str]:
    """The trials without a record in the run's own folder, and a sentence on the others."""
    from harmbench.results import store

    if not (folder / "run.json").exists():
        return list(plan.trials), ""
    done = {trial.id: trial for trial in store.read(folder).trials if trial.status != "failed"}
    todo = [spec for spec in plan.trials if spec.id not in done]
    took = [done[spec.id].wall_seconds or 0.0 for spec in plan.trials if spec.id in done]
    if not took:
        return todo, ""
    return todo, f"{len(took)} trials are stored in {folder} ({sum(took):.0f} s); the estimate is of the others"


def _groups(todo: Sequence[TrialSpec], data_dir: Path) -> list[tuple[TrialSpec, Group]]:
    from harmbench.backbones import BACKBONES
    from harmbench.cli.planning import has_kernels
    from harmbench.datasets import DATASETS
    from harmbench.planning.estimate import group_of

    kernels = has_kernels(todo[0].device_kind)
    classes = {name: DATASETS.parse(name).known_classes(data_dir) for name in {spec.dataset for spec in todo}}
    features = {name: BACKBONES.parse(name).known_features() for name in {spec.backbone for spec in todo}}
    return [(spec, group_of(spec, features[spec.backbone], classes[spec.dataset], kernels)) for spec in todo]


def _say_progress(done: int, planned: int, what: str) -> None:
    line = f"probe {done + 1} of {planned}: {what}"
    if sys.stderr.isatty():
        typer.echo(f"\r\x1b[K{line[:100]}", err=True, nl=False)
    elif not done:
        typer.echo(f"{planned} short trials ...", err=True)


def _lines(found: Estimate, grid: Grid, stored: str, probes: int, took: float) -> list[str]:
    """The estimate for people: the whole first, then the groups."""
    from harmbench.planning.budget import say

    def span(values: Range, scale: float, digits: int = 3) -> str:
        low, middle, high = (f"{scale * value:.{digits}g}" for value in (values.low, values.middle, values.high))
        return f"{middle} [{low}, {high}]"

    seconds = found.seconds
    lines = [
        f"estimate of {found.trials} trials, from {probes} short ones in {took:.0f} s: medians [quartiles]",
        f"time: {say(seconds.middle, 's')} [{say(seconds.low, 's')}, {say(seconds.high, 's')}]",
    ]
    if found.joules is None:
        lines.append(f"energy and CO2: not known: {found.no_joules}")
    else:
        unit, joules_each = ("kWh", 3.6e6) if found.joules.middle >= 3600 else ("Wh", 3600.0)
        lines += [
            f"energy: {span(found.joules, 1 / joules_each)} {unit}, {_origin(found)}",
            f"CO2: {span(found.joules, grid.grams(1.0))} g CO2e, {_word(found)}: {grid}",
        ]
    lines += [
        f"  {part.group}: {part.trials} trial(s) of {span(part.trial, 1)} s; a step {span(part.step, 1000)} ms, "
        f"besides {span(part.fixed, 1)} s a trial"
        for part in found.parts
    ]
    return [*lines, *([stored] if stored else [])]


def _charged(found: Estimate) -> dict[str, str]:
    """How the joules of each charged component are come by."""
    from harmbench.results.records import CHARGED

    origins = {c: found.origins[c] for c in CHARGED if c in found.origins}
    return {c: f"{o.method}: {o.detail}" for c, o in origins.items() if o.method != "missing"}


def _word(found: Estimate) -> str:
    return "modelled" if any(said.startswith("model:") for said in _charged(found).values()) else "measured"


def _origin(found: Estimate) -> str:
    said = "; ".join(f"{component} by {how}" for component, how in _charged(found).items())
    return f"{_word(found)} ({said}; memory not counted)"


def _as_object(found: Estimate, grid: Grid, stored: str, probes: int, took: float) -> dict[str, Any]:
    """The estimate for machines: seconds, joules, kWh and grams, unrounded."""
    joules = found.joules
    return {
        **found.model_dump(mode="json"),
        "kwh": (joules * (1 / 3.6e6)).model_dump() if joules else None,
        "co2_grams": (joules * grid.grams(1.0)).model_dump() if joules else None,
        "energy_origin": _word(found) if joules else "missing",
        "grid": grid.model_dump(),
        "probes": probes,
        "probe_seconds": took,
        "stored": stored,
    }
