"""The report of one run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from harmbench.analysis.claims import judge
from harmbench.analysis.conditions import in_order
from harmbench.energy.carbon import Grid
from harmbench.energy.net import idle_power, net_of_idle
from harmbench.planning.suite import check_claims
from harmbench.report import grokking, phases, plots, similarity
from harmbench.report.aggregates import aggregate_notes, aggregate_sections
from harmbench.report.claims import summary as claims_summary
from harmbench.report.claims import table as claims_table
from harmbench.report.environment import environment_of
from harmbench.report.formats import Figure, Report, Section
from harmbench.report.groups import Group, group_cells
from harmbench.report.notes import notes_of
from harmbench.report.overview import overview
from harmbench.report.summary import said_of, summarize
from harmbench.report.tables import tables_of
from harmbench.report.tidy import tidy_rows
from harmbench.results import artifacts
from harmbench.results.store import RunData

CLAIMS = "What the suite claims"


def compose(run: RunData, grid: Grid, raw: bool = True, begin: Callable[[Figure], None] = lambda _: None) -> Report:
    """The report of a run.

    Args:
        run: as `store.read` gives it.
        grid: turns joules into CO2.
        raw: with the raw rows, which a report for people alone does not need.
        begin: told of each figure as soon as it is known, before all else is composed, to draw it meanwhile.
    """
    suite = run.header["suite"]
    run = _with_net(run)
    figures = []
    for figure in plots.for_report(run):
        begin(figure)
        figures.append(figure)
    groups = sorted(group_cells(run.trials), key=lambda group: _place(group, suite))
    verdicts = judge(check_claims(suite.get("claims", ()), f"{run.folder}/run.json"), run.trials)
    return Report(
        title=f"harmbench: {suite['name']}",
        subtitle=suite.get("question", ""),
        overview=overview(groups),
        summary=(*([claims_summary(verdicts)] if verdicts else []), *summarize(run, groups, grid)),
        places=tuple(said_of(group) for group in groups),
        figures=tuple(figures),
        sections=(
            *([Section(title=CLAIMS, tables=(claims_table(verdicts),), leads=True)] if verdicts else []),
            *(Section(title=group.title, tables=tuple(tables_of(group, grid))) for group in groups),
            *aggregate_sections(groups),
            *_likeness(run),
            *grokking.sections(run.trials),
            *phases.section(run),
        ),
        notes=(*notes_of(run, grid), *aggregate_notes(groups)),
        environment=tuple(environment_of(run)),
        measurements=tuple(tidy_rows(run, grid)) if raw else (),
    )


def _likeness(run: RunData) -> Iterator[Section]:
    """How alike the heads' features are, where the run kept them."""
    if not (Path(run.folder) / artifacts.FOLDER).is_dir():
        return
    kept = {trial.id: artifacts.load(Path(run.folder), trial.id).get("features") for trial in run.trials}
    features = {trial: array for trial, array in kept.items() if array is not None}
    tables = tuple(similarity.tables(plots.places_of(run), features)) if features else ()
    if tables:
        yield Section(title="How alike the features are", tables=tables)


def _with_net(run: RunData) -> RunData:
    """The run, with energy above idle among each trial's measurements, where idle power was measured."""
    idle = idle_power(run.invocations)
    if not idle:
        return run
    trials = [trial.but(measurements=trial.measurements + net_of_idle(trial, idle)) for trial in run.trials]
    return run.model_copy(update={"trials": tuple(trials)})


def _place(group: Group, suite: dict[str, Any]) -> tuple[int, int, tuple[tuple[float, str], ...]]:
    """Where the suite names the group's data set and backbone; settings by their values."""
    place_of_set, place_of_net = suite["datasets"].index(group.dataset), suite["backbones"].index(group.backbone)
    return place_of_set, place_of_net, in_order(group.setting)
