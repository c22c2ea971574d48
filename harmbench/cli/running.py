"""`harmbench run`."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harmbench.cli import _options as o
from harmbench.cli.planning import make_plan, resolve_devices, show_plan

if TYPE_CHECKING:
    from harmbench.planning.budget import Budget
    from harmbench.planning.plan import Plan
    from harmbench.runner import Summary


def run(
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
    download: Annotated[bool, typer.Option("--download", help="Fetch data sets that are missing.")] = False,
    idle: o.Idle = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse to run where energy could only be modelled; exit code 1.")
    ] = False,
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget",
            metavar="AMOUNT",
            help="What this call may spend: 2h, 30m, 0.5kWh. It stops between trials, whole seeds first; exit code 3 "
            "where trials are left.",
        ),
    ] = None,
    checkpoint: Annotated[
        float,
        typer.Option(
            "--checkpoint",
            metavar="MINUTES",
            min=0,
            help="Time between checkpoints of a trial, from which the same command goes on; 0 for none.",
        ),
    ] = 10.0,
    out: Annotated[Path | None, typer.Option("--out", help="Run folder; reports/SUITE-KEY unless given.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and end.")] = False,
) -> None:
    """Run a suite: every trial that its run folder does not hold yet. The same command again goes on.

    Example: harmbench run vision --metrics all
    """
    from harmbench.planning.budget import parse
    from harmbench.runner import RunOptions

    allowed = parse(budget) if budget is not None else None
    chosen = resolve_devices(devices)
    overrides = o.overrides(metrics, backbones, losses, datasets, seeds, epochs, steps)
    plan = make_plan(suite, overrides, chosen, data_dir)
    if dry_run:
        show_plan(plan, data_dir)
        return
    if strict:
        _refuse_models(plan, chosen)
    if allowed and allowed.unit == "J":
        _say_what_counts(allowed, chosen)
    idle_seconds = plan.suite.idle_seconds if idle is None else idle
    folder = out or Path("reports") / f"{plan.suite.name}-{plan.key[:6]}"
    options = RunOptions(folder, tuple(chosen), data_dir, download, idle_seconds, allowed, 60 * checkpoint)
    summary = _follow(plan, options)
    _say_how_it_went(summary, folder)


def _refuse_models(plan: Plan, devices: list[str]) -> None:
    """Fail where a meter of the suite reports joules that this machine can only model, or not know at all."""
    from harmbench.energy.doctor import instruments_for, not_measured
    from harmbench.errors import MeasurementError
    from harmbench.meters import METERS

    if not {METERS.parse(meter).name for meter in plan.suite.meters} & {"energy", "convergence"}:
        return
    with instruments_for(devices) as instruments:
        wanting = not_measured(instruments.origins(), devices)
    if wanting:
        said = "; ".join(f"{component} joules: {why}" for component, why in wanting.items())
        raise MeasurementError(f"--strict: energy cannot be measured here ({said}). `harmbench doctor` says why")


def _say_what_counts(budget: Budget, devices: list[str]) -> None:
    """Refuse a budget of energy that nothing here counts, and say where a model counts it."""
    from harmbench.energy.doctor import charged, instruments_for
    from harmbench.errors import MeasurementError

    with instruments_for(devices) as instruments:
        origins = instruments.origins()
    for component in charged(devices):
        origin = origins[component]
        if origin.method == "missing":
            raise MeasurementError(
                f"--budget {budget.text}: nothing counts the {component}'s joules here ({origin.detail}); "
                "give a time, such as --budget 2h. `harmbench doctor` says what is measured"
            )
        if origin.method == "model":
            typer.echo(
                f"--budget {budget.text}: joules of the {component} are modelled here ({origin.detail}), not measured; "
                "the budget ends by the model",
                err=True,
            )


def _follow(plan: Any, options: Any) -> Summary:
    """Run, and show progress; Ctrl-C ends the trials in flight and says how to go on."""
    from harmbench.cli._progress import progress_display
    from harmbench.results.records import TrialRecord
    from harmbench.runner import Summary, run

    summary = Summary(planned=len(plan.trials))
    try:
        with progress_display() as display, closing(run(plan, options)) as events:
            for event in events:
                if isinstance(event, Summary):
                    summary = event
                    display.begin(summary)
                elif isinstance(event, TrialRecord):
                    display.finished(event)
                else:
                    display.happened(event)
    except KeyboardInterrupt:
        done = summary.finished
        typer.echo(
            f"\nstopped: {done} of {summary.planned} trials are safe in {options.folder}; the same command goes on",
            err=True,
        )
        raise typer.Exit(130) from None
    return summary


def _say_how_it_went(summary: Summary, folder: Path) -> None:
    """One line, the next command; exit code 1 where trials failed, else 3 where the budget left some."""
    counts = ", ".join(f"{count} {status}" for status, count in sorted(summary.statuses.items()))
    counts = counts or ("nothing was run" if summary.finished < summary.planned else "nothing to do")
    reused = f", {summary.reused} done before" if summary.reused else ""
    typer.echo(f"{folder}: {counts}{reused}. Next: harmbench report {folder}")
    for line in _ending(summary):
        typer.echo(line, err=True)
    if summary.statuses["failed"]:
        typer.echo("some trials failed; the report names why, the same command tries them again", err=True)
        raise typer.Exit(1)
    if summary.budget and summary.budget.left:
        raise typer.Exit(3)


def _ending(summary: Summary) -> list[str]:
    """What a budget ended, and how to go on."""
    from harmbench.planning.budget import say

    end = summary.budget
    if end is None:
        return []
    spent = f"{say(end.spent, end.unit)} spent" if end.spent is not None else "what was spent is not known"
    if not end.left:
        return [f"budget {end.asked}: {spent}, nothing is left"]
    partly = [f"seed {seed} is incomplete ({left} trials left)" for seed, left in end.incomplete.items()]
    begun = "every seed begun is complete" if end.left < summary.planned else "none was run yet"
    balance = f"{' and '.join(partly)}: tables of this run are not balanced" if partly else begun
    about = f", about {say(summary.to_go, end.unit)}" if summary.to_go else ""
    return [
        f"budget {end.asked}: {spent}; stopped because {end.stopped}",
        f"{end.left} of {summary.planned} trials are left{about}; {balance}",
        "the same command goes on from here, with its budget anew; a larger one does more in one go",
    ]
