"""`harmbench report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harmbench.cli import _options as o

RunFolder = Annotated[
    Path | None, typer.Argument(metavar="[RUN]", help="A run folder; the latest under reports/ unless given.")
]


def report(
    run: RunFolder = None,
    format: Annotated[str, typer.Option("--format", help="md, csv or json.")] = "md",  # noqa: A002
    region: o.Region = "world",
    pue: o.Pue = 1.0,
    intensity: Annotated[
        float | None, typer.Option("--intensity", help="Grid intensity in gCO2e/kWh, in place of the region's.")
    ] = None,
    out: Annotated[str | None, typer.Option("--out", help="File to write, `-` for standard output.")] = None,
) -> None:
    """Write the report of a run; CO2 is computed now, so any region can be asked for later.

    Example: harmbench report --format md --region FRA
    """
    from harmbench import carbon, store
    from harmbench import report as reports
    from harmbench.errors import RunFolderError
    from harmbench.formats import FORMATS

    form = FORMATS.parse(format)
    grid = carbon.grid(region, pue, intensity)
    folder = run or store.latest(Path("reports"))
    composed = reports.compose(store.read(folder), grid)
    text = form.render(composed)
    if out == "-":
        typer.echo(text, nl=False)
        return
    path = Path(out) if out else folder / f"report{form.suffix}"
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RunFolderError(f"{path}: cannot be written ({error.strerror}); choose another --out") from None
    if form.name == "md":
        from harmbench import figures

        for figure in composed.figures:
            figures.draw(figure, path.parent / f"{figure.name}.svg")
    typer.echo(f"{composed.title}")
    for sentence in composed.summary:
        typer.echo(f"  {sentence.replace('**', '')}")
    typer.echo(f"Report: {path}")
