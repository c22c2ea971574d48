"""Aggregates over groups, and reports of several runs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as scipy_stats

from harmbench import report as reports
from harmbench.analysis.stats import interquartile_mean
from harmbench.energy.carbon import grid
from harmbench.errors import RunFolderError
from harmbench.report.formats import Report
from harmbench.results.records import SCHEMA_VERSION
from harmbench.results.store import RunData
from tests.support.runs import RUN, run_of
from tests.support.samples import record, spec

ACCURACIES = {  # by backbone and head, three seeds each
    ("mlp", None): (0.90, 0.91, 0.92),
    ("mlp", "cosine"): (0.95, 0.96, 0.97),
    ("mlp", "manhattan"): (0.90, 0.91, 0.92),
    ("cnn", None): (0.80, 0.81, 0.82),
    ("cnn", "cosine"): (0.79, 0.83, 0.82),
    ("mlp", "euclidean"): (0.99, 0.99, 0.99),  # one group only
    ("cnn", "manhattan"): (0.70, 0.71, 0.72),
}


def two_groups() -> RunData:
    found = []
    for (backbone, distance), values in ACCURACIES.items():
        for seed, accuracy in enumerate(values):
            one = spec(distance, "harmonic" if distance else "cross_entropy", seed=seed, meters=("quality",))
            found.append(record(one.but(backbone=backbone), accuracy=accuracy, order=len(found)))
    run = run_of([t.but(id=t.spec.id) for t in found])
    run.header["suite"]["backbones"] = ["mlp", "cnn"]
    return run


def tables(report: Report) -> dict[str, dict[str, tuple[str, ...]]]:
    """Rows by their first cell, by title of the section's tables."""
    section = next(s for s in report.sections if s.title.endswith("Over all data sets and backbones"))
    return {table.title: {row[0]: row for row in table.rows} for table in section.tables}


def test_heads_over_groups_by_their_definitions():
    rows = tables(reports.compose(two_groups(), grid()))["Heads over all conditions"]
    assert list(rows) == ["cosine", "linear", "manhattan"]  # euclidean has no result in the second group
    assert [row[2] for row in rows.values()] == ["1.0 (1 to 1)", "2.2 (2 to 2.5)", "2.8 (2.5 to 3)"]
    values = [ACCURACIES[backbone, "cosine"] for backbone in ("mlp", "cnn")]
    assert float(rows["cosine"][3].split()[0]) == pytest.approx(
        100 * float(interquartile_mean(np.concatenate(values))), abs=0.05
    )
    pairs = [
        scipy_stats.mannwhitneyu(ACCURACIES[b, "cosine"], ACCURACIES[b, None]).statistic / 9 for b in ("mlp", "cnn")
    ]
    assert float(rows["cosine"][4].split()[0]) == pytest.approx(100 * np.mean(pairs), abs=0.05)
    assert rows["linear"][4] == ""


def test_nothing_over_all_groups_is_bold():
    found = tables(reports.compose(two_groups(), grid()))
    assert not any("**" in cell for rows in found.values() for row in rows.values() for cell in row)


def test_a_run_of_one_group_has_no_ranks_over_groups():
    assert set(tables(reports.compose(RUN, grid()))) == {"Minimum detectable effects"}


# Several runs.


def named(run: RunData, folder: str) -> RunData:
    return run.model_copy(update={"folder": folder})


def test_a_trial_of_two_runs_counts_once():
    run = two_groups()
    both = reports.compose_runs([named(run, "x/a"), named(run, "x/b")], grid())
    ids = [row["trial"] for row in both.measurements if row["measure"] == "test_accuracy"]
    assert len(ids) == len(set(ids)) == len(run.trials)
    assert any(f"{len(run.trials)} trial(s) of b are in an earlier run" in sentence for sentence in both.summary)


def test_each_run_is_reported_as_it_is_alone():
    runs = [named(two_groups(), "x/a"), named(RUN, "x/b")]
    both = reports.compose_runs(runs, grid())
    alone = [table for run in runs for s in reports.compose(run, grid()).sections for table in s.tables]
    assert [table for section in both.sections for table in section.tables] == alone
    assert {section.title.partition(":")[0] for section in both.sections} == {"a", "b"}
    assert len({figure.name for figure in both.figures}) == len(both.figures)
    assert {row["run"] for row in both.measurements} == {"x/a", "x/b"}
    assert {row["schema_version"] for row in both.measurements} == {SCHEMA_VERSION}


def test_one_run_together_is_that_run():
    assert reports.compose_runs([RUN], grid()) == reports.compose(RUN, grid())


def test_a_later_schema_is_refused():
    newer = SCHEMA_VERSION + 1
    later = RUN.model_copy(update={"trials": (RUN.trials[0].but(schema_version=newer),)})
    with pytest.raises(
        RunFolderError, match=f"schema {newer}, and this harmbench reads up to {SCHEMA_VERSION}; update"
    ):
        reports.compose_runs([RUN, later], grid())
