"""The target that a protocol leaves to the baseline, and how heads get there."""

from __future__ import annotations

from pathlib import Path

import pytest

from harmbench.analysis import time_to_target
from harmbench.analysis.cells import cells_of
from harmbench.analysis.time_to_target import read_run
from harmbench.meters.convergence import LATER, Target, to_target
from harmbench.report import time_to_target as report_time
from harmbench.results import store
from harmbench.results.records import TrialRecord
from tests.support.samples import MODELLED, point, record, spec


def trial(distance: str | None, seed: int, *accuracies: float, target: float | None = None, **more) -> TrialRecord:
    """A trial with validations at steps 10, 20 and so on, as its meter leaves it."""
    asked = spec(distance, "harmonic" if distance else "cross_entropy", seed, protocol={"target": target})
    curve = tuple(point(10 * (place + 1), accuracy) for place, accuracy in enumerate(accuracies))
    found = tuple(to_target(curve, MODELLED, Target.of(asked.protocol), LATER))
    return record(asked, curve=curve, measurements=found, order=seed, **more)


BASELINE = [trial(None, seed, 0.5, end) for seed, end in enumerate((0.8, 0.9, 0.7))]


def test_the_target_is_the_median_of_what_the_baseline_ends_with() -> None:
    soon, late, never = (trial("euclidean", s, *a) for s, a in enumerate([(0.8, 0.7), (0.5, 0.9), (0.7, 0.79)]))
    assert time_to_target.targets([*BASELINE, soon]) == {("digits", "mlp", ""): Target("accuracy", 0.8)}
    found = time_to_target.with_targets([*BASELINE, soon, late, never])
    assert [t.value("steps_to_target") for t in found] == [20, 20, None, 10, 20, None]
    assert [t.value("seconds_to_target") for t in found[3:]] == [1.0, 2.0, None]
    assert [t.value("cpu_joules_to_target") for t in found[3:]] == [20.0, 40.0, None]
    reasons = {m.name: m.reason for m in found[-1].measurements}
    assert reasons["steps_to_target"] == "not reached in 20 steps: best 0.790, target 0.8"


def test_a_fixed_target_stays() -> None:
    fixed = trial("euclidean", 0, 0.5, 0.6, target=0.6)
    assert time_to_target.with_targets([*(trial(None, s, 0.9, target=0.6) for s in range(3)), fixed])[-1] is fixed


@pytest.mark.parametrize("others", [[], [trial(None, 0, 0.9, 0.9, status="diverged", reason="loss nan at step 25")]])
def test_without_a_baseline_nobody_knows_the_target(others: list[TrialRecord]) -> None:
    *_, alone = time_to_target.with_targets([*others, trial("euclidean", 0, 0.5, 0.9)])
    assert alone.value("steps_to_target") is None
    assert {m.reason for m in alone.measurements} >= {
        "no trial of the baseline (linear + cross_entropy) ended well here"
    }


def test_those_that_never_get_there_are_later_and_not_dropped() -> None:
    heads = [trial("euclidean", seed, *a) for seed, a in enumerate([(0.9, 0.9), (0.5, 0.9), (0.5, 0.6)])]
    few = [trial("cosine", seed, *a) for seed, a in enumerate([(0.9, 0.9), (0.5, 0.6)])]
    euclidean, cosine = cells_of(time_to_target.with_targets([*BASELINE, *heads, *few]))[1:]
    assert (report_time.count(euclidean), report_time.median_text(euclidean, "steps")) == ("2/3", "20")
    assert (report_time.count(cosine), report_time.median_text(cosine, "steps")) == ("1/2", "-"), (
        "half are later: no median"
    )
    table = report_time.table([euclidean, cosine])
    assert [column.label for column in table.columns[3:]] == ["steps", "time", "CPU energy"]
    assert table.rows[0] == ("euclidean", "harmonic", "2/3", "20", "2", "40")


def test_a_run_is_read_with_its_target(tmp_path: Path) -> None:
    made = [*BASELINE, trial("euclidean", 0, 0.5, 0.9)]
    with store.RunStore.open(tmp_path / "run", "key", {"suite": {}, "planned": len(made)}) as run:
        for each in made:
            run.append(each)
    kept = (tmp_path / "run" / "trials.jsonl").read_text()
    assert LATER in kept, "what is on disk is what the trial knew"
    steps = {(t.spec.head, t.spec.seed): t.value("steps_to_target") for t in read_run(tmp_path / "run").trials}
    assert steps["euclidean", 0] == 20
