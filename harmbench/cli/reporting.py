"""`harmbench report`."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Annotated

import typer

from harmbench.cli import _options as o
from harmbench.results._garbage import end, nothing_to_collect

RunFolder = Annotated[
    Path | None, typer.Argument(metavar="[RUN]", help="A run folder; the latest under reports/ unless given.")
]
RunFolders = Annotated[
    list[Path] | None,
    typer.Argument(metavar="[RUN...]", help="Run folders; the latest under reports/ unless given."),
]

MANY = 2000  # trials, of which composing a report takes as long as to start another process that draws


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
    """Write the report of one run, or of several together; CO2 is computed now, so any region can be asked for later.

    Example: harmbench report --format md --region FRA
    """
    from harmbench.energy import carbon
    from harmbench.errors import OptionError, RunFolderError
    from harmbench.report import figures
    from harmbench.report.formats import FORMATS
    from harmbench.results import store

    if open and out == "-":
        raise OptionError("--open needs a file; leave out `--out -`")
    form = FORMATS.parse(format)
    grid = carbon.grid(region, pue, intensity)
    folders = list(dict.fromkeys(runs or [store.latest(Path("reports"))]))
    path = Path(out) if out else (folders[0] if len(folders) == 1 else Path()) / f"report{form.suffix}"
    shows = form.holds_drawings or (bool(form.plots) and out != "-")
    is_large = sum(map(store.planned, folders)) >= MANY
    if isinstance(context.obj, o.OwnProcess):
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # NumPy's would spin on the core that draws
    from harmbench.report import charts  # noqa: F401 - with NumPy, before the drawer splits off: it needs them too

    with figures.Drawer(form.plots.strip(".") or "svg", beside=is_large and shows) as drawer:
        from harmbench import report as reports  # which it does not need
        from harmbench.analysis.time_to_target import read_run

        data = [read_run(folder) for folder in folders]
        gc.freeze()  # what was read stays to the end: the last collection, when Python ends, need not look at it
        composed = reports.compose_together(data, grid, raw=form.raw, begin=drawer.begin)
        text = form.render(figures.drawn(composed, drawer) if form.holds_drawings else composed)
        if out == "-":
            typer.echo(text, nl=False)
            _end(context)
            return
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise RunFolderError(f"{path}: cannot be written ({error.strerror}); choose another --out") from None
        if form.plots:
            for figure, drawing in zip(composed.figures, drawer.finish(composed.figures), strict=True):
                (path.parent / f"{figure.name}{form.plots}").write_bytes(drawing)
    typer.echo(f"{composed.title}")
    for sentence in (*composed.places, *composed.summary):
        typer.echo(f"  {sentence.replace('**', '')}")
    typer.echo(f"Report: {path}")
    if open:
        _show(path)
    _end(context)


def _end(context: typer.Context) -> None:
    """End a process that is there for this alone; one that goes on frees what was read."""
    if isinstance(context.obj, o.OwnProcess):
        end()


def _show(path: Path) -> None:
    import webbrowser

    if not webbrowser.open(path.resolve().as_uri()):
        typer.echo("No browser was found here; open the file in one of yours.", err=True)
