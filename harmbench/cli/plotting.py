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
        typer.Option("--kind", help="Pictures (harmbench ls pictures), comma-separated; all that apply unless given."),
    ] = None,
    format: Annotated[str, typer.Option("--format", help="svg, png or pdf; comma-separated.")] = "svg",  # noqa: A002
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to write to; `pictures` in the run's folder unless given.")
    ] = None,
) -> None:
    """Draw pictures of a run, each with the data behind it as a csv file.

    Example: harmbench plot --kind pareto,accuracy --format svg,png
    """
    from harmbench.analysis.time_to_target import read_run
    from harmbench.errors import OptionError, RunFolderError
    from harmbench.registry import split_names
    from harmbench.report import figures
    from harmbench.report.formats.csv import table_text
    from harmbench.report.plots import PICTURES
    from harmbench.results import store

    suffixes = split_names([format])
    for suffix in suffixes:
        if suffix not in figures.KINDS:
            raise OptionError(f"--format {suffix}: write one of {', '.join(figures.KINDS)}")
    chosen = [PICTURES.parse(name) for name in split_names(kind)] if kind else PICTURES.every_variant()
    data = read_run(run or store.latest(Path("reports")))
    reasons = {picture: picture.applies(data) for picture in chosen}
    if kind and any(reasons.values()):
        raise OptionError("; ".join(f"{picture}: {reason}" for picture, reason in reasons.items() if reason))
    folder = out or Path(data.folder) / "pictures"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for figure in (f for picture, reason in reasons.items() if reason is None for f in picture.figures(data)):
            for suffix in suffixes:
                figures.draw(figure, folder / f"{figure.name}.{suffix}")
                typer.echo(f"{folder / figure.name}.{suffix}")
            (folder / f"{figure.name}.csv").write_text(table_text(figure.table()), encoding="utf-8")
            typer.echo(f"  {figure.caption}")
    except OSError as error:
        raise RunFolderError(f"{folder}: cannot be written ({error.strerror}); choose another --out") from None
    for picture, reason in reasons.items():
        if reason:
            typer.echo(f"No {picture}: {reason}.")
