"""`harmbench run`."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harmbench.cli import _options as o
from harmbench.cli.plan import show_plan

if TYPE_CHECKING:
    from harmbench.planning.plan import Plan
    from harmbench.runner import RunOptions, Summary


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
    executor: o.Executor = "local",
    data_dir: o.DataDir = Path("data"),
    download: Annotated[bool, typer.Option("--download", help="Download data sets that are missing.")] = False,
    idle_seconds: o.IdleSeconds = None,
    idle: o.Idle = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse to run if energy can only be modelled here; exit code 1.")
    ] = False,
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget",
            metavar="AMOUNT",
            help="What this command may spend: 2h, 30m, 0.5kWh. It stops between trials, if possible after whole "
            "seeds; exit code 3 if trials are left.",
        ),
    ] = None,
    checkpoint: Annotated[
        float,
        typer.Option(
            "--checkpoint",
            metavar="MINUTES",
            min=0,
            help="Time between checkpoints of a trial. Running again resumes from the last one; 0 for none.",
        ),
    ] = 10.0,
    out: Annotated[Path | None, typer.Option("--out", help="Run folder; default: reports/SUITE-KEY.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")] = False,
) -> None:
    """Run all trials of a suite. Finished trials are skipped, so running again resumes.

    Example: harmbench run vision --metrics all
    """
    from harmbench.energy.doctor import energy_budget_warnings, require_measured
    from harmbench.executors import EXECUTORS
    from harmbench.planning.budget import parse
    from harmbench.planning.make import make_plan
    from harmbench.runner import RunOptions

    limit = None
    if budget is not None:
        limit = parse(budget)
    EXECUTORS.parse(executor)
    chosen = o.resolved_devices(devices)
    overrides = o.overrides(metrics, backbones, losses, datasets, seeds, epochs, steps)
    plan = make_plan(suite, overrides, chosen, data_dir)
    if dry_run:
        show_plan(plan, data_dir)
        return
    if strict and plan.reports_joules:
        require_measured(chosen)
    if limit and limit.unit == "J":
        for warning in energy_budget_warnings(limit.text, chosen):
            typer.echo(warning, err=True)
    window = o.renamed_option("--idle", idle, "--idle-seconds", idle_seconds)
    if window is None:
        window = plan.suite.idle_seconds
    options = RunOptions(
        folder=out or Path("reports") / plan.folder_name,
        devices=tuple(chosen),
        data_dir=data_dir,
        download=download,
        idle_seconds=window,
        budget=limit,
        checkpoint_seconds=60 * checkpoint,
        executor=executor,
    )
    _show_end(_follow(plan, options), options.folder)


def _follow(plan: Plan, options: RunOptions) -> Summary:
    """Run, and show progress. Ctrl-C ends the trials in flight."""
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
        stored = f"{summary.finished} of {summary.planned} trials are stored in {options.folder}"
        typer.echo(f"\nstopped: {stored}. Run the same command to continue.", err=True)
        raise typer.Exit(130) from None
    return summary


def _show_end(summary: Summary, folder: Path) -> None:
    """Print what ran and the next command. The exit code is 1 if trials failed, 3 if the budget left some."""
    counts = [f"{count} {status}" for status, count in sorted(summary.statuses.items())]
    if not counts:
        counts = ["nothing was run" if summary.finished < summary.planned else "nothing to do"]
    if summary.reused:
        counts.append(f"{summary.reused} done before")
    typer.echo(f"{folder}: {', '.join(counts)}. Next: harmbench report {folder}")
    for line in _budget_lines(summary):
        typer.echo(line, err=True)
    if summary.statuses["failed"]:
        typer.echo("some trials failed. The report shows why. Run the same command to try them again.", err=True)
        raise typer.Exit(1)
    if summary.budget and summary.budget.left:
        raise typer.Exit(3)


def _budget_lines(summary: Summary) -> list[str]:
    """Lines on the amount spent, why the run stopped, and how to continue."""
    from harmbench.planning.budget import amount_text

    end = summary.budget
    if end is None:
        return []
    spent = "an unknown amount spent"
    if end.spent is not None:
        spent = f"{amount_text(end.spent, end.unit)} spent"
    if not end.left:
        return [f"budget {end.asked}: {spent}, no trials are left"]
    predicted = ""
    if summary.predicted:
        predicted = f", about {amount_text(summary.predicted, end.unit)}"
    return [
        f"budget {end.asked}: {spent}; stopped because {end.stopped}",
        f"{end.left} of {summary.planned} trials are left{predicted}; {_balance(summary)}",
        "Run the same command to continue. The budget starts again.",
    ]


def _balance(summary: Summary) -> str:
    """Whether the seeds that have begun are complete."""
    assert summary.budget
    incomplete = summary.budget.incomplete
    if not incomplete and not summary.finished:
        return "no trial has run yet"
    if not incomplete:
        return "all seeds that have begun are complete"
    partial = [f"seed {seed} is incomplete ({left} trials left)" for seed, left in incomplete.items()]
    return f"{' and '.join(partial)}, so tables of this run are not balanced"
