"""Plot files: a run -> figures in a folder, each with the data behind it as CSV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from harmbench.errors import OptionError, RunFolderError
from harmbench.registry import split_names
from harmbench.report import figures
from harmbench.report.formats.csv import table_text
from harmbench.report.plots import PLOTS, Plot
from harmbench.results.store import RunData


class WrittenFigure(NamedTuple):
    """The files of a figure, and its caption."""

    files: tuple[Path, ...]
    caption: str


def kinds_of(names: str) -> list[str]:
    """Return the kinds of files in a comma-separated text.

    Raises:
        OptionError: for an unknown kind.
    """
    kinds = split_names([names])
    for kind in kinds:
        if kind not in figures.KINDS:
            raise OptionError(f"--format {kind}: write one of {', '.join(figures.KINDS)}")
    return kinds


def chosen(names: Sequence[str], run: RunData) -> dict[Plot, str | None]:
    """Return the plots of these names, or all plots, each with the reason why it does not apply to the run.

    Raises:
        OptionError: if a named plot does not apply.
    """
    plots = [PLOTS.parse(name) for name in split_names(names)] if names else PLOTS.every_variant()
    reasons = {plot: plot.applies(run) for plot in plots}
    if names and any(reasons.values()):
        raise OptionError("; ".join(f"{plot}: {reason}" for plot, reason in reasons.items() if reason))
    return reasons


def write(run: RunData, plots: Sequence[Plot], kinds: Sequence[str], folder: Path) -> Iterator[WrittenFigure]:
    """Write the figures of some plots, and yield each figure's files once they are written.

    Raises:
        RunFolderError: if the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for figure in (figure for plot in plots for figure in plot.figures(run)):
            files = tuple(folder / f"{figure.name}.{kind}" for kind in kinds)
            for file in files:
                figures.draw(figure, file)
            (folder / f"{figure.name}.csv").write_text(table_text(figure.table()), encoding="utf-8")
            yield WrittenFigure(files, figure.caption)
    except OSError as error:
        raise RunFolderError(f"{folder}: cannot be written ({error.strerror}); choose another --out") from None
