"""One report of several runs. Each run is analyzed by itself, since only trials of one run form pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from harmbench.energy.carbon import Grid
from harmbench.errors import RunFolderError
from harmbench.report.formats import Figure, Report, Table
from harmbench.report.one import compose
from harmbench.results.records import SCHEMA_VERSION
from harmbench.results.store import RunData


def compose_runs(
    runs: Sequence[RunData], grid: Grid, raw: bool = True, begin: Callable[[Figure], None] = lambda _: None
) -> Report:
    """Return the report of several runs. Every section, sentence and row names its run.

    A trial that several runs hold counts in the first of them only.

    Args:
        runs: the runs, in the report's order.
        grid: turns joules into CO2.
        raw: include the raw rows.
        begin: called with each figure before its run is composed. Name and caption may lack the name of the run then.

    Raises:
        RunFolderError: for a run of a later schema.
    """
    for run in runs:
        _check_schema(run)
    if len(runs) == 1:
        return compose(runs[0], grid, raw, begin)
    names = _names(runs)
    seen: set[str] = set()
    parts, repeated = [], []
    for name, run in zip(names, runs, strict=True):
        fresh = tuple(trial for trial in run.trials if trial.id not in seen)
        if repeated_count := len(run.trials) - len(fresh):
            repeated.append(f"{repeated_count} trial(s) of {name} are in an earlier run, and count there only.")
            header = {**run.header, "planned": run.planned - repeated_count}
            run = run.model_copy(update={"trials": fresh, "header": header})
        seen.update(trial.id for trial in fresh)
        parts.append(_named(compose(run, grid, raw, begin), name))
    return Report(
        title=f"harmbench: {', '.join(names)}",
        subtitle="Several runs. Verdicts, ranks and intervals are each within one run: runs are not compared here "
        "(`harmbench compare` does that).",
        overview=_overview(parts),
        summary=(*(sentence for part in parts for sentence in part.summary), *repeated),
        conclusions=tuple(sentence for part in parts for sentence in part.conclusions),
        figures=tuple(figure for part in parts for figure in part.figures),
        sections=tuple(section for part in parts for section in part.sections),
        notes=tuple(_once(parts, names)),
        environment=tuple(line for part in parts for line in part.environment),
        measurements=tuple(row for part in parts for row in part.measurements),
    )


def _check_schema(run: RunData) -> None:
    latest = max((trial.schema_version for trial in run.trials), default=SCHEMA_VERSION)
    if latest > SCHEMA_VERSION:
        raise RunFolderError(
            f"{run.folder}: its results have schema {latest}, and this harmbench reads up to {SCHEMA_VERSION}; update "
            "harmbench, or report that run with the version that wrote it"
        )


def _names(runs: Sequence[RunData]) -> list[str]:
    """Return the folder names of runs, or their paths if two names are equal."""
    short = [Path(run.folder).name for run in runs]
    return [name if short.count(name) == 1 else run.folder for name, run in zip(short, runs, strict=True)]


def _named(report: Report, name: str) -> Report:
    stem = name.replace("/", "-").strip(".-")
    return report.model_copy(
        update={
            "overview": report.overview and _prefixed(report.overview, name),
            "summary": tuple(f"{name}: {sentence}" for sentence in report.summary),
            "conclusions": tuple(f"{name}: {sentence}" for sentence in report.conclusions),
            "figures": tuple(
                f.model_copy(update={"name": f"{stem}-{f.name}", "caption": f"{name}: {f.caption}"})
                for f in report.figures
            ),
            "sections": tuple(s.model_copy(update={"title": f"{name}: {s.title}"}) for s in report.sections),
            "environment": tuple((f"{name}: {label}", text) for label, text in report.environment),
        }
    )


def _prefixed(table: Table, name: str) -> Table:
    rows = tuple((f"{name}: {condition}", *rest) for condition, *rest in table.rows)
    return table.model_copy(update={"rows": rows})


def _overview(parts: Sequence[Report]) -> Table | None:
    """Return the overviews of all runs as one table."""
    tables = [part.overview for part in parts if part.overview]
    return tables[0].model_copy(update={"rows": tuple(row for t in tables for row in t.rows)}) if tables else None


def _once(parts: Sequence[Report], names: Sequence[str]) -> list[str]:
    """Return each note once. Notes that not all runs share begin with the names of their runs."""
    runs_by_note: dict[str, list[str]] = {}
    for part, name in zip(parts, names, strict=True):
        for note in part.notes:
            runs_by_note.setdefault(note, []).append(name)
    return [note if len(runs) == len(parts) else f"{', '.join(runs)}: {note}" for note, runs in runs_by_note.items()]
