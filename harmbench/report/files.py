"""Report files: run folders -> a report in one format, written with its figures.

The figures of a large report are drawn in a second process while the report is composed.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from harmbench.analysis.time_to_target import read_run
from harmbench.energy.carbon import Grid
from harmbench.errors import RunFolderError
from harmbench.report import charts, figures  # noqa: F401 - charts load before the drawing process forks
from harmbench.report.formats import Format, Report
from harmbench.report.several import compose_runs
from harmbench.results import store

LARGE = 2000  # number of trials for which composing takes as long as starting a second process


class WrittenReport(NamedTuple):
    """A report and its text."""

    report: Report
    text: str


def path_of(folders: Sequence[Path], form: Format, out: str | None = None) -> Path:
    """Return the file of a report: `out`, or `report.SUFFIX` in the run's folder (the current one for several)."""
    if out:
        return Path(out)
    folder = folders[0] if len(folders) == 1 else Path()
    return folder / f"report{form.suffix}"


def write(folders: Sequence[Path], form: Format, grid: Grid, path: Path | None) -> WrittenReport:
    """Compose the report of one or more runs, and write it with its figures.

    Args:
        folders: run folders.
        form: format of the report.
        grid: turns joules into CO2.
        path: file of the report. None writes nothing.

    Raises:
        RunFolderError: if a folder is no run, or the file cannot be written.
    """
    writes_plots = bool(form.plots) and path is not None
    is_large = sum(map(store.planned, folders)) >= LARGE
    draws_aside = is_large and (form.holds_drawings or writes_plots)
    with figures.Drawer(form.plots.strip(".") or "svg", in_process=draws_aside) as drawer:
        runs = [read_run(folder) for folder in folders]
        gc.freeze()  # runs stay alive to the end, so the final collection need not scan them
        report = compose_runs(runs, grid, raw=form.raw, begin=drawer.begin)
        text = form.render(figures.drawn(report, drawer) if form.holds_drawings else report)
        if path is not None:
            _write_text(path, text)
        if path is not None and writes_plots:
            for figure, drawing in zip(report.figures, drawer.finish(report.figures), strict=True):
                (path.parent / f"{figure.name}{form.plots}").write_bytes(drawing)
    return WrittenReport(report, text)


def _write_text(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RunFolderError(f"{path}: cannot be written ({error.strerror}); choose another --out") from None
