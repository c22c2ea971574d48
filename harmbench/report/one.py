"""The report of one run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from harmbench.analysis.claims import judge
from harmbench.analysis.conditions import setting_order
from harmbench.energy.carbon import Grid
from harmbench.energy.net import idle_power, net_of_idle
from harmbench.planning.suite import check_claims
from harmbench.report import grokking, phases, plots, similarity
from harmbench.report.aggregates import aggregate_notes, aggregate_sections
from harmbench.report.claims import summary as claims_summary
from harmbench.report.claims import table as claims_table
from harmbench.report.conditions import Condition, conditions_of
from harmbench.report.environment import environment_of
from harmbench.report.formats import Figure, Report, Section
from harmbench.report.notes import notes_of
from harmbench.report.overview import overview
from harmbench.report.summary import summarize, summary_of
from harmbench.report.tables import tables_of
from harmbench.report.tidy import tidy_rows
from harmbench.results import artifacts
from harmbench.results.store import RunData

CLAIMS = "Claims of the suite"


def compose(run: RunData, grid: Grid, raw: bool = True, begin: Callable[[Figure], None] = lambda _: None) -> Report:
    """Return the report of a run.

    Args:
        run: the run, with derived targets.
        grid: turns joules into CO2.
        raw: include the raw rows, which only machine-readable formats need.
        begin: called with each figure before the rest is composed, so that it can be drawn meanwhile.
    """
    suite = run.header["suite"]
    run = _with_net(run)
    figures = []
    for figure in plots.for_report(run):
        begin(figure)
        figures.append(figure)
    conditions = sorted(conditions_of(run.trials), key=lambda condition: _order_in_suite(condition, suite))
    verdicts = judge(check_claims(suite.get("claims", ()), f"{run.folder}/run.json"), run.trials)
    return Report(
        title=f"harmbench: {suite['name']}",
        subtitle=suite.get("question", ""),
        overview=overview(conditions),
        summary=(*([claims_summary(verdicts)] if verdicts else []), *summarize(run, conditions, grid)),
        conclusions=tuple(summary_of(condition) for condition in conditions),
        figures=tuple(figures),
        sections=(
            *([Section(title=CLAIMS, tables=(claims_table(verdicts),), leads=True)] if verdicts else []),
            *(Section(title=condition.title, tables=tuple(tables_of(condition, grid))) for condition in conditions),
            *aggregate_sections(conditions),
            *_similarity_section(run),
            *grokking.sections(run.trials),
            *phases.section(run),
        ),
        notes=(*notes_of(run, grid), *aggregate_notes(conditions)),
        environment=tuple(environment_of(run)),
        measurements=tuple(tidy_rows(run, grid)) if raw else (),
    )


def _similarity_section(run: RunData) -> Iterator[Section]:
    """Yield the section on similarity of features, if the run stored them."""
    if not (Path(run.folder) / artifacts.FOLDER).is_dir():
        return
    stored = {trial.id: artifacts.load(Path(run.folder), trial.id).get("features") for trial in run.trials}
    features = {trial: array for trial, array in stored.items() if array is not None}
    tables = tuple(similarity.tables(plots.cells_by_condition(run), features)) if features else ()
    if tables:
        yield Section(title="Similarity (CKA)", tables=tables)


def _with_net(run: RunData) -> RunData:
    """Return the run with energy above idle in each trial's measurements, if idle power was measured."""
    idle = idle_power(run.invocations)
    if not idle:
        return run
    trials = [trial.but(measurements=trial.measurements + net_of_idle(trial, idle)) for trial in run.trials]
    return run.model_copy(update={"trials": tuple(trials)})


def _order_in_suite(condition: Condition, suite: dict[str, Any]) -> tuple[int, int, tuple[tuple[float, str], ...]]:
    """Return a sort key: the suite's order of data sets and backbones, then settings by their values."""
    dataset_index, backbone_index = (
        suite["datasets"].index(condition.dataset),
        suite["backbones"].index(condition.backbone),
    )
    return dataset_index, backbone_index, setting_order(condition.setting)
