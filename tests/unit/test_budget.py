"""Budgets: which texts are budgets, when a run stops, and that the same command continues it."""

from __future__ import annotations

import random
import time
from collections import Counter
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from harmbench.errors import OptionError
from harmbench.planning.budget import Budget, Watch, costs_by_cell, incomplete, parse
from harmbench.results import store
from harmbench.results.records import EnergyOrigin, EnergyReading, IdleWindow
from harmbench.runner.invocation import Invocation
from harmbench.runner.spending import Spending
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


def spend(limit, cost_of, todo, begun=(), costs=None, devices=1):
    """Run until the watch stops it; the trials that ran and what they spent."""
    watch, spent, ran = Watch(Budget("asked", limit, "s"), todo, begun, costs or {}, devices), 0.0, []
    for trial in todo:
        if not watch.may_start([trial], "cpu", spent):
            break
        spent += cost_of(trial)
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
    assert watch.predict_all(seeds(5)[8:]) == 12.0
    assert not watch.may_start(seeds(1)[:1], "cpu", 0.0), "once stopped, it stays so"


def test_the_seed_a_call_begins_with_runs_as_far_as_it_goes():
    known = {trial.cell: [1.0] for trial in seeds(1)}
    ran, _, watch = spend(3.0, lambda _: 1.0, seeds(5)[4:], begun=[0], costs=known)
    assert len(ran) == 3
    assert watch.stopped == "the budget is spent"
    assert incomplete(seeds(5), seeds(5)[7:]) == {1: (1, 4)}
    ran, _, _ = spend(2.9, lambda _: 1.0, seeds(2)[3:], begun=[0], costs=known)
    assert len(ran) == 1, "what is left of a seed, and not a part of the next"


def test_a_trial_that_does_not_fit_is_not_begun():
    known = {seeds(1)[0].cell: [5.0, 9.0, 6.0]}
    ran, _, watch = spend(5.9, lambda _: 6.0, seeds(1), costs=known)
    assert ran == []
    assert watch.stopped == "the next trial takes about 6 s, and 5.9 s are left"
    assert watch.predict(spec("hellinger")) == 6.0, "as others in its place"
    assert watch.predict(spec("hellinger", backbone="cnn")) == 9.0, "else as the most that was seen"


def test_what_cannot_be_counted_any_more_stops():
    watch = Watch(Budget("1kWh", 3.6e6, "J"), seeds(1))
    assert watch.may_start(seeds(1)[:1], "cpu", 1.0)
    assert not watch.may_start(seeds(1)[1:2], "cpu", None)
    assert watch.stopped == "what was spent is no longer known"


def test_devices_side_by_side_share_the_work():
    watch = Watch(Budget("1h", 3600, "s"), seeds(2), costs={t.cell: [2.0] for t in seeds(1)}, devices=2)
    assert watch.predict_all(seeds(2)) == 8.0


def test_recorded_trials_say_what_they_took():
    trials = [record(spec(seed=seed), wall_seconds=2.0 + seed) for seed in range(2)]
    assert costs_by_cell(trials, "s") == {trials[0].spec.cell: [2.0, 3.0]}
    assert costs_by_cell(trials, "J") == {trials[0].spec.cell: [100 / 3, 100 / 3 + 1]}, "memory is not charged"
    assert costs_by_cell([record(status="failed")], "J") == {}


# The idle window at the end.


class Machine:
    """An energy source whose joules are set by the test: 30 in an idle window, 25 in a trial."""

    def __init__(self):
        self.joules = 0.0

    def read(self):
        return EnergyReading(joules={"cpu": self.joules, "gpu": None, "ram": None})

    def origins(self):
        return {"cpu": EnergyOrigin(method="counter", detail="test")}

    def describe(self):
        return {}

    def wait(self, seconds):
        self.joules += 30


def joules_of_an_invocation(idle_seconds, trials=9):
    """The spending record of an invocation with a budget of 100 J, between its real idle windows."""
    machine, stored = Machine(), []
    spending = Spending(Budget("100J", 100.0, "J"), seeds(3), seeds(3), {}, ["cpu"], time.perf_counter())
    store = SimpleNamespace(append_invocation=stored.append)
    session = SimpleNamespace(
        stopping=SimpleNamespace(is_set=lambda: False, wait=machine.wait), wait_until_loaded=lambda: None
    )
    invocation = Invocation("here", idle_seconds, store, lambda device: nullcontext(machine), spending)
    ended = []
    with invocation.opened("cpu", session) as source:
        for trial in seeds(3):
            if not spending.allows([trial], "cpu", source):
                break
            machine.joules += 25
            ended.append(trial.id)
    assert [entry.moment for entry in stored] == ["start", "end"]
    return spending.record(invocation.id, ended)


def test_the_idle_window_at_the_end_fits_into_the_budget():
    spent = joules_of_an_invocation(idle_seconds=1.0)
    assert (spent.trials, spent.spent) == (1, 30 + 25 + 30), "a second trial would end at 110 J"
    without = joules_of_an_invocation(idle_seconds=0.0)
    assert (without.trials, without.spent) == (4, 100.0)


@pytest.mark.parametrize(("window", "starts"), [(4.0, False), (0.0, True)])
def test_seconds_are_reserved_for_the_idle_window_at_the_end(window, starts):
    costs = {trial.cell: [3.0] for trial in seeds(1)}
    began = time.perf_counter() - 4  # of 10 s, 6 are left
    spending = Spending(Budget("10s", 10.0, "s"), seeds(1), seeds(1), costs, ["cpu"], began)
    spending.reserve(IdleWindow(seconds=window, joules={}))
    assert spending.allows(seeds(1)[:1], "cpu", Machine()) is starts


@pytest.mark.slow
def test_a_run_stops_and_the_same_command_continues(tmp_path):
    suite, run = tmp_path / "tiny.yaml", tmp_path / "run"
    suite.write_text(SUITE)
    arguments = ("run", suite, "--out", run, "--metrics", "euclidean", "--seeds", 1)
    first = harmbench(*arguments, "--budget", "0.0001Wh", cwd=tmp_path)
    assert first.returncode == 3, first.stderr
    assert "of 2 trials are left" in first.stderr
    assert "Run the same command to continue. The budget starts again." in first.stderr
    assert harmbench(*arguments, "--budget", "1h", cwd=tmp_path).returncode == 0
    data = store.read(run)
    assert Counter(t.status for t in data.trials) == {"ok": 2}
    energy, time = data.budgets
    assert (energy.unit, energy.left + energy.trials, energy.limit) == ("J", 2, pytest.approx(0.36))
    assert (time.limit, time.left, time.trials, time.stopped) == (3600, 0, 2 - energy.trials, "")
    assert sum(t.wall_seconds for t in data.trials[energy.trials :]) < time.spent < 3600
