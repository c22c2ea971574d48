"""`harmbench plan --estimate`: prints the prediction of `harmbench.runner.predict`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from harmbench.energy.carbon import Grid
    from harmbench.planning.estimate import Estimate, Range
    from harmbench.planning.plan import Plan
    from harmbench.runner.predict import Prediction


def show_estimate(
    plan: Plan, devices: list[str], data_dir: Path, probe: str, region: str, pue: float, as_json: bool
) -> None:
    """Run the probes, and print the prediction for the trials that have no record.

    Args:
        plan: of the run.
        devices: of the run. The probes run on the first.
        data_dir: folder of data sets.
        probe: most time that the probes may take, such as `2m`.
        region, pue: for CO2.
        as_json: whether to print an object instead of text.
    """
    from harmbench.energy import carbon
    from harmbench.errors import OptionError
    from harmbench.planning import budget
    from harmbench.runner import RunOptions
    from harmbench.runner.predict import predict

    limit = budget.parse(probe, "--probe")
    grid = carbon.grid(region, pue)
    if limit.unit != "s":
        raise OptionError(f"--probe '{probe}' is an energy; give a time, such as 2m")
    folder = Path("reports") / plan.folder_name
    options = RunOptions(folder, tuple(devices), data_dir, idle_seconds=plan.suite.idle_seconds)
    prediction = predict(plan, options, limit.limit, _show_progress)
    if prediction.estimate is None:
        typer.echo(f"nothing to estimate: all {len(plan.trials)} trials are stored in {folder}", err=as_json)
        return
    if sys.stderr.isatty():
        typer.echo("\r\x1b[K", err=True, nl=False)
    stored = _stored_text(prediction, folder)
    if as_json:
        content = _as_object(prediction.estimate, prediction, grid, stored)
        typer.echo(json.dumps(content, indent=1, ensure_ascii=False))
    else:
        typer.echo("\n".join([*_lines(prediction.estimate, prediction, grid), *filter(None, [stored])]))


def _show_progress(done: int, planned: int, trial: str) -> None:
    line = f"probe {done + 1} of {planned}: {trial}"
    if sys.stderr.isatty():
        typer.echo(f"\r\x1b[K{line[:100]}", err=True, nl=False)
    elif not done:
        typer.echo(f"{planned} short trials ...", err=True)


def _stored_text(prediction: Prediction, folder: Path) -> str:
    if not prediction.stored:
        return ""
    seconds = f"{prediction.stored_seconds:.0f} s"
    return f"{prediction.stored} trials are stored in {folder} ({seconds}); the estimate is for the others"


def _lines(estimate: Estimate, prediction: Prediction, grid: Grid) -> list[str]:
    """The estimate as text: the whole run first, then the groups."""
    from harmbench.planning.budget import amount_text

    seconds = estimate.seconds
    low, middle, high = (amount_text(value, "s") for value in (seconds.low, seconds.middle, seconds.high))
    lines = [
        f"estimate of {estimate.trials} trials, from {prediction.probes} short ones in "
        f"{prediction.probe_seconds:.0f} s: medians [quartiles]",
        f"time: {middle} [{low}, {high}]",
    ]
    if estimate.joules is None:
        lines.append(f"energy and CO2: not available ({estimate.no_joules})")
    else:
        unit, joules = "Wh", 3600.0
        if estimate.joules.middle >= 3600:
            unit, joules = "kWh", 3.6e6
        lines += [
            f"energy: {_range_text(estimate.joules, 1 / joules)} {unit}, {_origin_text(estimate)}",
            f"CO2: {_range_text(estimate.joules, grid.grams(1.0))} g CO2e, {_origin(estimate)}: {grid}",
        ]
    for part in estimate.parts:
        step = _range_text(part.step, 1000)
        fixed = _range_text(part.fixed, 1)
        lines.append(
            f"  {part.group}: {part.trials} trial(s) of {_range_text(part.trial, 1)} s; {step} ms a step and {fixed} s "
            "outside the steps"
        )
    return lines


def _range_text(values: Range, scale: float) -> str:
    low, middle, high = (f"{scale * value:.3g}" for value in (values.low, values.middle, values.high))
    return f"{middle} [{low}, {high}]"


def _charged(estimate: Estimate) -> dict[str, str]:
    """The source of the joules of each charged component."""
    from harmbench.results.records import CHARGED

    origins = {c: estimate.origins[c] for c in CHARGED if c in estimate.origins}
    return {c: f"{origin.method}: {origin.detail}" for c, origin in origins.items() if origin.method != "missing"}


def _origin(estimate: Estimate) -> str:
    if any(text.startswith("model:") for text in _charged(estimate).values()):
        return "modelled"
    return "measured"


def _origin_text(estimate: Estimate) -> str:
    sources = "; ".join(f"{component} by {source}" for component, source in _charged(estimate).items())
    return f"{_origin(estimate)} ({sources}; memory is not counted)"


def _as_object(estimate: Estimate, prediction: Prediction, grid: Grid, stored: str) -> dict[str, Any]:
    """The estimate as an object: seconds, joules, kWh and grams, unrounded."""
    joules = estimate.joules
    kwh, co2_grams, origin = None, None, "missing"
    if joules:
        kwh = (joules * (1 / 3.6e6)).model_dump()
        co2_grams = (joules * grid.grams(1.0)).model_dump()
        origin = _origin(estimate)
    return {
        **estimate.model_dump(mode="json"),
        "kwh": kwh,
        "co2_grams": co2_grams,
        "energy_origin": origin,
        "grid": grid.model_dump(),
        "probes": prediction.probes,
        "probe_seconds": prediction.probe_seconds,
        "stored": stored,
    }
