"""`harmbench report`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from harmbench.cli import _options as o
from harmbench.cli._run_folders import RunFolders, latest_run
from harmbench.results._garbage import end, nothing_to_collect


@nothing_to_collect()
def report(
    context: typer.Context,
    runs: RunFolders = None,
    format: Annotated[str, typer.Option("--format", help="md, html, latex, csv or json.")] = "md",  # noqa: A002
    region: o.Region = "world",
    pue: o.Pue = 1.0,
    intensity: Annotated[
        float | None, typer.Option("--intensity", help="Grid intensity in gCO2e/kWh, in place of the region's.")
    ] = None,
    out: Annotated[str | None, typer.Option("--out", help="File to write, `-` for standard output.")] = None,
    open: Annotated[bool, typer.Option("--open", help="Show the file in the browser.")] = False,  # noqa: A002
) -> None:
    """Write the report of one run or of several runs. CO2 is computed now, so you can choose the region later.

    Example: harmbench report --format md --region FRA
    """
    is_own_process = isinstance(context.obj, o.OwnProcess)
    if is_own_process:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # NumPy's threads would spin on the core that draws
    from harmbench.energy import carbon
    from harmbench.errors import OptionError
    from harmbench.report import files
    from harmbench.report.formats import FORMATS

    if open and out == "-":
        raise OptionError("--open needs a file; leave out `--out -`")
    form = FORMATS.parse(format)
    grid = carbon.grid(region, pue, intensity)
    folders = list(dict.fromkeys(runs or [latest_run()]))
    path = None if out == "-" else files.path_of(folders, form, out)
    written = files.write(folders, form, grid, path)
    if path is None:
        typer.echo(written.text, nl=False)
    else:
        typer.echo(written.report.title)
        for sentence in (*written.report.conclusions, *written.report.summary):
            typer.echo(f"  {sentence.replace('**', '')}")
        typer.echo(f"Report: {path}")
        if open:
            _show(path)
    if is_own_process:
        end()


def _show(path: Path) -> None:
    import webbrowser

    if not webbrowser.open(path.resolve().as_uri()):
        typer.echo("No browser was found here; open the file in one of yours.", err=True)
