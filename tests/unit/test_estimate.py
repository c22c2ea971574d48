"""Estimates: what probes say of a run, against runs whose costs are known to the last digit."""

from __future__ import annotations

import json

import pytest

from harmbench.planning.estimate import Group, Probe, Range, Surroundings, estimate, group_of
from harmbench.results.records import PhaseTotal
from tests.support.commands import SUITE, harmbench
from tests.support.samples import point, record, spec

GROUP = Group("digits", "mlp", "distance head")
STEPS, VALIDATIONS = 1000, 10
STEP, SAMPLE, FIXED = 0.01, 0.001, 3.0  # seconds
TRAINING, BESIDES = 50.0, 20.0  # watts
SIZES = {"train": 1079, "validation": 300, "test": 400}
VALIDATION, TEST = SAMPLE * SIZES["validation"], SAMPLE * SIZES["test"]


def probe(steps=64, stretches=4, step=STEP, fixed=FIXED, first_step=0.5, lag=0.0, reasons=None):
    """A short trial whose first step takes longer, as they do."""
    stops = [steps * (i + 1) // stretches for i in range(stretches)]
    curve = tuple(
        point(stop, train_seconds=took, train_joules={"cpu": TRAINING * took - lag, "gpu": None, "ram": 1.0})
        for stop in stops
        for took in (first_step + stop * step,)
    )
    training, evaluating = curve[-1].train_seconds, stretches * VALIDATION + TEST
    seconds = {"load": fixed - first_step, "train": training, "evaluate": evaluating}
    watts = {"load": BESIDES, "train": TRAINING, "evaluate": BESIDES}
    phases = tuple(
        PhaseTotal(
            phase=name,
            seconds=took,
            joules={"cpu": None if reasons else took * watts[name], "gpu": None, "ram": 1.0},
            reasons=reasons or {},
            windows=1,
        )
        for name, took in seconds.items()
    )
    trial = record(spec(), curve=curve, phases=phases, sizes=SIZES)
    return Probe(GROUP, trial, sum(seconds.values()))


def run_of(count, seeds=1):
    protocol = {"steps": STEPS, "evaluations": VALIDATIONS}
    return [(spec(seed=seed, protocol=protocol), GROUP) for seed in range(count * seeds)]


def test_costs_that_never_vary_are_found_again():
    """The truth is written out here, apart from the code: fixed cost, steps, validations and the test of each trial."""
    around = Surroundings(start=5.0, idle_seconds=2.0, idle_watts=8.0)
    found = estimate(run_of(6), [probe(), probe(steps=8, stretches=2)], around, ["cpu"])
    trial = FIXED + TEST + STEPS * STEP + VALIDATIONS * VALIDATION
    assert found.seconds.middle == pytest.approx(6 * trial + 5 + 2 * 2)
    assert found.seconds.low == pytest.approx(found.seconds.high)
    late = estimate(run_of(6), [probe(lag=7.0), probe(steps=8, stretches=2)], around, ["cpu"])
    assert found.joules.middle - late.joules.middle == pytest.approx(6 * 7.0), "once a trial, however long"
    joules = TRAINING * STEPS * STEP + BESIDES * (FIXED + TEST + VALIDATIONS * VALIDATION)
    # The first step's own half second is in training's joules, and in the fixed part of the time.
    assert found.joules.middle == pytest.approx(6 * joules + 8 * 9, rel=0.02)
    (part,) = found.parts
    assert (part.trials, part.step.middle) == (6, pytest.approx(STEP))


def test_what_varies_makes_the_range():
    found = estimate(run_of(1), [probe(step=0.01), probe(step=0.02), probe(step=0.04)], Surroundings(0.0), ["cpu"])
    steps = found.parts[0].step
    assert (steps.low, steps.middle, steps.high) == pytest.approx((0.01, 0.02, 0.04))
    assert found.seconds.high - found.seconds.low == pytest.approx(STEPS * 0.03, rel=0.01)
    assert Range.of([4, 1, 3, 2, 5]) == Range(low=2, middle=3, high=4)


def test_short_probes_do_not_say_how_long_a_step_takes_where_there_is_a_longer_one():
    found = estimate(run_of(1), [probe(), probe(steps=8, stretches=2, step=0.5)], Surroundings(0.0), ["cpu"])
    assert found.parts[0].step.high == pytest.approx(STEP)


def test_devices_side_by_side_take_less_time():
    one, two = (estimate(run_of(4), [probe()], Surroundings(5.0, devices=n), ["cpu"]).seconds.middle for n in (1, 2))
    assert one - 5 == pytest.approx(2 * (two - 5))


def test_energy_that_is_not_known_is_said():
    around = Surroundings(5.0, idle_watts=8.0)
    found = estimate(run_of(1), [probe(reasons={"cpu": "the counter froze"})], around, ["cpu"])
    assert (found.joules, found.no_joules) == (None, "the counter froze")


def test_heads_that_cost_alike_are_a_group_and_expensive_ones_are_not():
    names = [None, "euclidean", "manhattan", "poincare", "mahalanobis[variant=full]"]
    kinds = [group_of(spec(head, "harmonic" if head else "cross_entropy"), 512, 1000).kind for head in names]
    assert kinds[0] == "linear head"
    assert kinds[1] == kinds[2] == "distance head"
    assert all(kind.startswith("expensive distance head") for kind in kinds[3:])
    assert "distance head" in group_of(spec("euclidean"), None, None).kind, "a place whose sizes are not known"


@pytest.mark.slow
def test_the_command_predicts_a_run(tmp_path):
    (tmp_path / "tiny.yaml").write_text(SUITE)
    arguments = ("plan", "tiny.yaml", "--estimate", "--metrics", "euclidean", "--seeds", 9)
    said = harmbench(*arguments, "--json", cwd=tmp_path)
    assert said.returncode == 0, said.stderr
    found = json.loads(said.stdout)
    assert (found["trials"], len(found["parts"]), found["probes"]) == (18, 2, 4)
    assert 0 < found["seconds"]["low"] <= found["seconds"]["middle"] <= found["seconds"]["high"]
    if found["joules"]:
        assert found["kwh"]["middle"] == pytest.approx(found["joules"]["middle"] / 3.6e6)
        assert found["energy_origin"] in ("measured", "modelled")
    else:  # a machine without a source, or one too busy to be read in time
        assert found["no_joules"]
    assert not (tmp_path / "reports").exists(), "probes leave nothing behind"


@pytest.mark.slow
def test_probes_that_do_not_fit_their_limit_are_said(tmp_path):
    (tmp_path / "tiny.yaml").write_text(SUITE)
    late = harmbench("plan", "tiny.yaml", "--estimate", "--probe", "0.01s", cwd=tmp_path)
    assert late.returncode == 1
    assert "groups have no probe within" in late.stderr.splitlines()[-1]
