"""Made-up runs with known verdicts, and their reports."""

from __future__ import annotations

from harmbench import report as reports
from harmbench.energy.carbon import grid
from harmbench.planning import suite as suites
from harmbench.report.formats import Column, Report, Section, Table
from harmbench.results.records import TrialRecord
from harmbench.results.store import RunData
from tests.support.samples import record, spec

IMAGES = 359
BASELINE = (320, 330, 325)
MORE_RIGHT = {  # images more than the baseline, by seed; None for a trial that diverged
    "cosine": (30, 29, 30),
    "manhattan": (1, 1, 1),
    "euclidean": (38, -5, 37),
    "minkowski[p=3]": (-30, -31, -29),
    "minkowski[p=1.5]": (10, 14, 9),  # p = 0.02: would be decided if nobody had looked at the others
    "mahalanobis[variant=full]": (30, 31, None),
    "chebyshev[variant=true]": ("failed",) * 3,
}
DECIDED = {"cosine": "better", "minkowski[p=3]": "worse"}
HERE = {
    "id": "here",
    "cpu": "Some CPU",
    "cpu_count": 2,
    "memory_bytes": 2**33,
    "gpus": [],
    "platform": "Linux",
    "python": "3.11",
    "versions": {"torch": "2"},
    "commit": "abc",
    "variables": {"OMP_NUM_THREADS": "1|2"},
    "codecarbon_settings_from_outside": [],
}


def trials() -> list[TrialRecord]:
    """Three seeds of the baseline and of each head of `MORE_RIGHT`."""
    records = [record(spec(None, "cross_entropy", seed), accuracy=n / IMAGES) for seed, n in enumerate(BASELINE)]
    for distance, more in MORE_RIGHT.items():
        for seed, (right, extra) in enumerate(zip(BASELINE, more, strict=True)):
            trial = spec(distance, seed=seed)
            if extra in (None, "failed"):
                records.append(record(trial, extra or "diverged"))
            else:
                records.append(record(trial, accuracy=(right + extra) / IMAGES))
    return [trial.but(order=order) for order, trial in enumerate(records)]


def run_of(records: list[TrialRecord]) -> RunData:
    """A run that holds these records."""
    content = {
        "name": "made-up",
        "question": "Which?",
        "datasets": ["digits"],
        "backbones": ["mlp"],
        "metrics": list(MORE_RIGHT),
        "losses": ["cross_entropy", "harmonic"],
        "protocol": {"steps": 30},
    }
    suite = suites.check(content, {}, "made-up").model_dump(mode="json")
    header = {"suite": suite, "planned": len(records), "excluded": [{"what": "a|b", "reason": "too slow"}]}
    return RunData(folder="run", header=header, trials=tuple(records), environments={"here": HERE}, unreadable_lines=1)


RUN = run_of(trials())
RUNS = {
    "whole": RUN,
    "one seed": run_of([trial for trial in RUN.trials if trial.spec.seed == 0]),
    "no baseline": run_of([trial for trial in RUN.trials if trial.spec.distance]),
    "only failures": run_of([trial for trial in RUN.trials if trial.status == "failed"]),
    "nothing yet": run_of([]),
}


def composed(run: RunData = RUN, region: str = "FRA") -> Report:
    """The report of a run."""
    return reports.compose(run, grid(region))


def table_report(texts: list[str]) -> Report:
    """A report of one table, whose first column holds the texts."""
    columns = (Column(label="text", numeric=False), Column(label="number", unit="kg"))
    table = Table(title="t", columns=columns, rows=tuple((text, "1") for text in texts))
    return composed(RUNS["nothing yet"]).model_copy(update={"sections": (Section(title="s", tables=(table,)),)})
