"""Budgets: what may be asked for, where a run stops, and that the same command goes on."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from harmbench.errors import OptionError
from harmbench.planning.budget import Budget, Watch, incomplete, parse, taken
from harmbench.results import store
from tests.support.commands import SUITE, harmbench
from tests.support.samples import record, spec

HEADS = ("euclidean", "cosine", "manhattan", "canberra")


def seeds(count):
    return [spec(head, seed=seed) for seed in range(count) for head in HEADS]


REFUSED = {
    "2": "did you mean '2m'",
    "2hours": "did you mean '2h'",
    "0.5kw": "did you mean '0.5kWh'",
    "1h30": "did you mean '1h30m'",
    "1h0.5kWh": "is a time and an energy",
    "0h": "must be above 0",
    "-1h": "such as 2h, 30m or 0.5kWh",
    "soon": "such as 2h, 30m or 0.5kWh",
    "": "such as 2h",
}


@pytest.mark.parametrize(("text", "said"), REFUSED.items())
def test_what_cannot_be_a_budget_is_refused(text, said):
    with pytest.raises(OptionError, match=said) as caught:
        parse(text)
    assert "\n" not in str(caught.value)


def spend(limit, costs, todo, begun=(), known=None, devices=1):
    """Run until the watch stops it; the trials that ran and what they spent."""
    watch, spent, ran = Watch(Budget("asked", limit, "s"), todo, begun, known or {}, devices), 0.0, []
    for trial in todo:
        if not watch.may_start([trial], "cpu", spent):
            break
        spent += costs(trial)
        ran.append(trial)
    return ran, spent, watch


@pytest.mark.parametrize("limit", [3.0, 50.0, 77.0, 200.0])
def test_no_budget_is_overshot_by_more_than_one_trial(limit):
    """Whatever trials cost: here up to twenty times more than any before."""
    for case in range(50):
        rng = random.Random(case)
        taken_by = {trial.id: rng.choice([1.0, 1.5, 20.0]) for trial in seeds(9)}
        ran, spent, _ = spend(limit, lambda trial, by=taken_by: by[trial.id], seeds(9))
        assert spent - taken_by[ran[-1].id] < limit


def test_it_stops_between_seeds_where_the_next_does_not_fit():
    ran, spent, watch = spend(11.0, lambda _: 1.0, seeds(5))
    assert (len(ran), spent) == (8, 8.0)
    assert watch.stopped == "seed 2 takes about 4 s, and 3 s are left"
    assert watch.takes_all(seeds(5)[8:]) == 12.0
    assert not watch.may_start(seeds(1)[:1], "cpu", 0.0), "once stopped, it stays so"


def test_the_seed_a_call_begins_with_runs_as_far_as_it_goes():
    known = {trial.cell: [1.0] for trial in seeds(1)}
    ran, _, watch = spend(3.0, lambda _: 1.0, seeds(5)[4:], begun=[0], known=known)
    assert len(ran) == 3
    assert watch.stopped == "it is spent"
    assert incomplete(seeds(5), seeds(5)[7:]) == {1: (1, 4)}
    ran, _, _ = spend(2.9, lambda _: 1.0, seeds(2)[3:], begun=[0], known=known)
    assert len(ran) == 1, "what is left of a seed, and not a part of the next"


def test_a_trial_that_does_not_fit_is_not_begun():
    known = {seeds(1)[0].cell: [5.0, 9.0, 6.0]}
    ran, _, watch = spend(5.9, lambda _: 6.0, seeds(1), known=known)
    assert ran == []
    assert watch.stopped == "the next trial takes about 6 s, and 5.9 s are left"
    assert watch.takes(spec("hellinger")) == 6.0, "as others in its place"
    assert watch.takes(spec("hellinger", backbone="cnn")) == 9.0, "else as the most that was seen"


def test_what_cannot_be_counted_any_more_stops():
    watch = Watch(Budget("1kWh", 3.6e6, "J"), seeds(1))
    assert watch.may_start(seeds(1)[:1], "cpu", 1.0)
    assert not watch.may_start(seeds(1)[1:2], "cpu", None)
    assert watch.stopped == "what was spent is not known any more"


def test_devices_side_by_side_share_the_work():
    watch = Watch(Budget("1h", 3600, "s"), seeds(2), known={t.cell: [2.0] for t in seeds(1)}, devices=2)
    assert watch.takes_all(seeds(2)) == 8.0


def test_recorded_trials_say_what_they_took():
    trials = [record(spec(seed=seed), wall_seconds=2.0 + seed) for seed in range(2)]
    assert taken(trials, "s") == {trials[0].spec.cell: [2.0, 3.0]}
    assert taken(trials, "J") == {trials[0].spec.cell: [100 / 3, 100 / 3 + 1]}, "memory is not charged"
    assert taken([record(status="failed")], "J") == {}


@pytest.mark.slow
def test_a_run_stops_and_the_same_command_goes_on(tmp_path):
    suite, run = tmp_path / "tiny.yaml", tmp_path / "run"
    suite.write_text(SUITE)
    arguments = ("run", suite, "--out", run, "--metrics", "euclidean", "--seeds", 1)
    first = harmbench(*arguments, "--budget", "0.0001Wh", cwd=tmp_path)
    assert first.returncode == 3, first.stderr
    assert "of 2 trials are left" in first.stderr
    assert "the same command goes on" in first.stderr
    assert harmbench(*arguments, "--budget", "1h", cwd=tmp_path).returncode == 0
    data = store.read(run)
    assert Counter(t.status for t in data.trials) == {"ok": 2}
    energy, time = data.budgets
    assert (energy.unit, energy.left + energy.trials, energy.limit) == ("J", 2, pytest.approx(0.36))
    assert (time.limit, time.left, time.trials, time.stopped) == (3600, 0, 2 - energy.trials, "")
    assert sum(t.wall_seconds for t in data.trials[energy.trials :]) < time.spent < 3600
