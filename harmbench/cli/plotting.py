"""`harmbench plot`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harmbench.cli.reporting import RunFolder


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
    from harmbench.errors import OptionError, RunFolderError
    from harmbench.registry import split_names
    from harmbench.report import figures
    from harmbench.report.formats.csv import table_text
    from harmbench.report.plots import PLOTS
    from harmbench.results import store

    suffixes = split_names([format])
    for suffix in suffixes:
        if suffix not in figures.KINDS:
            raise OptionError(f"--format {suffix}: write one of {', '.join(figures.KINDS)}")
    chosen = [PLOTS.parse(name) for name in split_names(kind)] if kind else PLOTS.every_variant()
    data = read_run(run or store.latest(Path("reports")))
    reasons = {plot: plot.applies(data) for plot in chosen}
    if kind and any(reasons.values()):
        raise OptionError("; ".join(f"{plot}: {reason}" for plot, reason in reasons.items() if reason))
    folder = out or Path(data.folder) / "plots"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for figure in (f for plot, reason in reasons.items() if reason is None for f in plot.figures(data)):
            for suffix in suffixes:
                figures.draw(figure, folder / f"{figure.name}.{suffix}")
                typer.echo(f"{folder / figure.name}.{suffix}")
            (folder / f"{figure.name}.csv").write_text(table_text(figure.table()), encoding="utf-8")
            typer.echo(f"  {figure.caption}")
    except OSError as error:
        raise RunFolderError(f"{folder}: cannot be written ({error.strerror}); choose another --out") from None
    for plot, reason in reasons.items():
        if reason:
            typer.echo(f"No {plot}: {reason}.")
