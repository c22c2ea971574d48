"""`harmbench plot`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harmbench.cli._run_folders import RunFolder, latest_run


def plot(
    run: RunFolder = None,
    kind: Annotated[
        list[str] | None,
        typer.Option("--kind", help="Plots (harmbench ls plots), comma-separated; all that apply unless given."),
    ] = None,
    format: Annotated[str, typer.Option("--format", help="svg, png or pdf; comma-separated.")] = "svg",  # noqa: A002
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to write to; `plots` in the run's folder unless given.")
    ] = None,
) -> None:
    """Draw plots of a run, each with the data behind it as a csv file.

    Example: harmbench plot --kind pareto,accuracy --format svg,png
    """
    from harmbench.analysis.time_to_target import read_run
    from harmbench.report import plot_files

    kinds = plot_files.kinds_of(format)
    data = read_run(run or latest_run())
    reasons = plot_files.chosen(kind or (), data)
    applicable = [plot for plot, reason in reasons.items() if reason is None]
    for figure in plot_files.write(data, applicable, kinds, out or Path(data.folder) / "plots"):
        for file in figure.files:
            typer.echo(str(file))
        typer.echo(f"  {figure.caption}")
    for plot, reason in reasons.items():
        if reason:
            typer.echo(f"No {plot}: {reason}.")
