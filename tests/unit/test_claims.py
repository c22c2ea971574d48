"""Claims: every rule on results whose answer is known, what cannot be tested, and how often luck wins."""

from __future__ import annotations

import json
import math
import random

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from harmbench.analysis.claims import judge
from harmbench.cli import app
from harmbench.errors import SuiteError
from harmbench.planning import plan as planning
from harmbench.planning import suite as suites
from harmbench.planning.suite import Claim, check_claims, matches
from harmbench.report.claims import table as claims_table
from harmbench.results import store
from harmbench.results.records import EnergyOrigin, Measurement
from tests.support.samples import MODELLED, point, record, spec

SEEDS = 8
METERED = {**MODELLED, "cpu": EnergyOrigin(method="counter", scope="package", detail="intel_rapl")}
NOISE = (0.002, -0.001, 0.003, -0.003, 0.001, 0.0, -0.002, 0.002)
BASELINE = 0.9


def claim(**changes) -> Claim:
    said = {
        "id": "c",
        "sentence": "It is better.",
        "source": "nobody",
        "measure": "test_accuracy",
        "rule": "better",
        "heads": "cosine + harmonic",
        **changes,
    }
    return check_claims([said], "test")[0]


def trials(gains, measure="test_accuracy", unit="1", better="higher", seeds=SEEDS, origins=METERED, ratio=False):
    """A baseline and cells whose values are above it by a gain, plus noise; gains by (head, dataset)."""
    found = []
    heads = {(None, dataset): 0.0 for _, dataset in gains} | gains
    for (head, dataset), gain in heads.items():
        for seed in range(seeds):
            noise = NOISE[seed] if head else NOISE[seed] / 2
            value = BASELINE * math.exp(gain + noise) if ratio else BASELINE + gain + noise
            trial = spec(head, "harmonic" if head else "cross_entropy", seed, dataset=dataset)
            measured = Measurement.of(measure, value, unit, better)
            found.append(
                record(trial, measurements=(measured,), energy_origins=origins, sizes={"test": 10000}, order=len(found))
            )
    return found


ONE = {("cosine", "digits"): 0.02}
TWO = {("cosine", "digits"): 0.02, ("cosine", "mnist"): 0.02}
SPLIT = {("cosine", "digits"): 0.02, ("cosine", "mnist"): -0.02}
FOUR = {
    ("cosine", "digits"): 0.02,
    ("cosine", "mnist"): 0.02,
    ("cosine", "cifar10"): 0.02,
    ("cosine", "cifar100"): -0.05,
}
SAME = {("cosine", "digits"): 0.0002}
WORSE = {("cosine", "digits"): -0.02}
KNOWN = {
    "better, and it is": (claim(), ONE, "supported"),
    "better, and it is worse": (claim(), WORSE, "refuted"),
    "better, and it is the same": (claim(), SAME, "not decided"),
    "better everywhere": (claim(), TWO, "supported"),
    "better in one place only": (claim(), SPLIT, "refuted"),
    "better by more than it is": (claim(margin=0.05), ONE, "refuted"),
    "better by less than it is": (claim(margin=0.01), ONE, "supported"),
    "better, by the other direction": (claim(direction="lower"), ONE, "refuted"),
    "worse, and it is": (claim(direction="lower", margin=0.01), WORSE, "supported"),
    "better in the named place": (claim(datasets="digits"), SPLIT, "supported"),
    "better on average": (claim(rule="better_on_average"), FOUR | SAME, "refuted"),
    "better on average, and it is": (
        claim(rule="better_on_average"),
        {("cosine", "digits"): 0.03, ("cosine", "mnist"): -0.01},
        "supported",
    ),
    "no worse": (claim(rule="no_worse", margin=0.01), SAME, "supported"),
    "no worse, and it is": (claim(rule="no_worse", margin=0.01), WORSE, "refuted"),
    "no worse, within the noise": (claim(rule="no_worse", margin=0.0001), SAME, "not decided"),
    "equivalent": (claim(rule="equivalent", margin=0.01), SAME, "supported"),
    "equivalent, and better": (claim(rule="equivalent", margin=0.01), ONE, "refuted"),
    "equivalent, and worse": (claim(rule="equivalent", margin=0.01), WORSE, "refuted"),
    "equivalent, within the noise": (claim(rule="equivalent", margin=0.001), SAME, "not decided"),
    "three of four": (claim(rule="share_of_cells", share=0.75), FOUR, "supported"),
    "four of four": (claim(rule="share_of_cells", share=1.0), FOUR, "refuted"),
    "half, and it is a quarter": (
        claim(rule="share_of_cells", share=0.5),
        {k: -v for k, v in FOUR.items()},
        "refuted",
    ),
    "against another baseline": (
        claim(baseline="manhattan + harmonic"),
        {("cosine", "digits"): 0.02, ("manhattan", "digits"): 0.05},
        "refuted",
    ),
    "a pattern of heads": (
        claim(heads="* + harmonic"),
        {("cosine", "digits"): 0.02, ("manhattan", "digits"): 0.05},
        "supported",
    ),
}


@pytest.mark.parametrize(("asked", "gains", "answer"), KNOWN.values(), ids=KNOWN)
def test_every_rule_knows_the_answer(asked, gains, answer):
    (verdict,) = judge([asked], trials(gains))
    assert verdict.verdict == answer, verdict.reason
    assert verdict.decisive.pairs == SEEDS
    assert verdict.decisive.low < verdict.decisive.change < verdict.decisive.high
    assert (verdict.seeds_needed is None) or answer == "not decided"


@pytest.mark.parametrize(("asked", "gains", "answer"), KNOWN.values(), ids=KNOWN)
def test_the_order_of_trials_does_not_matter(asked, gains, answer):
    shuffled = trials(gains)
    random.Random(1).shuffle(shuffled)
    assert judge([asked], shuffled) == judge([asked], trials(gains))


def credulous(claims, given):
    """A judge that asks the means, and not how sure they are."""
    means = {}
    for trial in given:
        means.setdefault(trial.spec.head, []).append(trial.value("test_accuracy"))
    ahead = np.mean(means["cosine"]) > np.mean(means["linear"])
    return ["supported" if ahead else "refuted" for _ in claims]


def agreeable(claims, given):
    """A judge that never refutes."""
    return [v.verdict.replace("refuted", "not decided") for v in judge(claims, given)]


@pytest.mark.parametrize("wrong", [credulous, agreeable])
def test_a_wrong_judge_is_caught(wrong):
    found = [wrong([asked], trials(gains))[0] for asked, gains, _ in KNOWN.values()]
    assert found != [answer for _, _, answer in KNOWN.values()]


def test_other_units_are_compared_by_ratio():
    fast = trials({("cosine", "digits"): math.log(0.9)}, "throughput", "sample/s", ratio=True)
    asked = {"measure": "throughput", "rule": "no_worse"}
    verdicts = judge([claim(**asked, margin=0.08), claim(**asked, margin=0.12)], fast)
    assert [v.verdict for v in verdicts] == ["refuted", "supported"]
    assert verdicts[0].decisive.change == pytest.approx(-0.1, abs=0.002)
    assert verdicts[0].decisive.text.endswith("%")


# What cannot be tested.


def energy(origin: str, method: str):
    found = []
    for head, joules in ((None, 10.0), ("cosine", 5.0)):
        for seed in range(SEEDS):
            value = Measurement.of("cpu_joules", joules + seed / 100, "J", "lower", origin=origin)
            origins = {**MODELLED, "cpu": EnergyOrigin(method=method, detail="x")}
            trial = spec(head, "harmonic" if head else "cross_entropy", seed)
            found.append(record(trial, measurements=(value,), energy_origins=origins))
    return found


@pytest.mark.parametrize("measure", ["joules", "cpu_joules"])
def test_no_verdict_rests_on_modelled_energy(measure):
    (verdict,) = judge([claim(measure=measure)], energy("modelled", "model"))
    assert verdict.verdict == "not testable here"
    assert verdict.reason == "CPU energy is modelled, not measured, so it decides no verdict"
    (verdict,) = judge([claim(measure=measure)], energy("measured", "counter"))
    assert verdict.verdict == "supported"
    assert verdict.decisive.change == pytest.approx(-0.5, abs=0.01)


def test_energy_of_a_counted_and_a_modelled_part_is_not_measured():
    mixed = [t.but(energy_origins={**t.energy_origins, "gpu": METERED["cpu"]}) for t in energy("modelled", "model")]
    gpu = Measurement.of("gpu_joules", 5.0, "J", "lower")
    mixed = [t.but(measurements=(*t.measurements, gpu)) for t in mixed]
    (whole, part) = judge([claim(measure="joules"), claim(measure="gpu_joules")], mixed)
    assert whole.verdict == "not testable here"
    assert part.verdict == "not decided"


UNTESTABLE = {
    "no such measure": (
        {"measure": "test_acuracy"},
        "the run has no measure test_acuracy; the nearest is test_accuracy",
    ),
    "no such head": ({"heads": "manhattan + harmonic"}, "the run has no manhattan + harmonic there"),
    "no such place": ({"datasets": "mnist"}, "the run has no * on mnist"),
    "no such baseline": (
        {"baseline": "euclidean + harmonic"},
        "the run has no euclidean + harmonic there to compare",
    ),
}


@pytest.mark.parametrize(("changes", "reason"), UNTESTABLE.values(), ids=UNTESTABLE)
def test_what_the_run_lacks_is_said(changes, reason):
    (verdict,) = judge([claim(**changes)], trials(ONE))
    assert verdict.verdict == "not testable here"
    assert reason in verdict.reason
    assert verdict.p_value is None


def test_a_measure_without_a_better_side_needs_a_direction():
    given = trials(ONE, "gradient_cosine", better="neither")
    assert "give the claim one" in judge([claim(measure="gradient_cosine")], given)[0].reason
    assert judge([claim(measure="gradient_cosine", direction="higher")], given)[0].verdict == "supported"


def test_a_missing_value_gives_its_reason():
    given = [
        t.but(measurements=(Measurement.of("gpu_joules", None, "J", "lower", "no GPU takes part"),))
        for t in trials(ONE)
    ]
    (verdict,) = judge([claim(measure="gpu_joules")], given)
    assert verdict.verdict == "not testable here"
    assert "no GPU takes part" in verdict.reason


def test_one_seed_decides_nothing():
    (verdict,) = judge([claim()], trials(ONE, seeds=1))
    assert verdict.verdict == "not decided"
    assert "one seed cannot decide" in verdict.reason


def test_seeds_needed_would_decide():
    few = {("cosine", "digits"): 0.0005}
    (verdict,) = judge([claim()], trials(few, seeds=3))
    assert verdict.verdict == "not decided"
    assert f"about {verdict.seeds_needed} seeds would decide" in verdict.reason
    assert verdict.seeds_needed > 3


def test_survivors_support_nothing():
    """The seeds that are left may be the easy ones."""
    given = trials(ONE)
    given[-1] = record(given[-1].spec, "diverged")
    (verdict,) = judge([claim()], given)
    assert verdict.verdict == "not decided"
    assert "1 of its trials ended badly" in verdict.reason
    (verdict,) = judge([claim(direction="lower")], given)
    assert verdict.verdict == "refuted"


def with_geometry(records, collapsed=()):
    """Adds a geometry score, far higher for distance heads, and whether each trial collapsed: those of some heads."""
    return [
        t.but(
            measurements=(
                *t.measurements,
                Measurement.of("pca_variance_2", 0.9 if t.spec.distance else 0.3 + t.spec.seed / 1000, "1", "neither"),
                Measurement.of("collapsed", float(t.spec.distance in collapsed), "1", "lower"),
            )
        )
        for t in records
    ]


GEOMETRY = {"measure": "pca_variance_2"}


def test_a_head_far_behind_in_accuracy_counts_for_nothing():
    low = with_geometry(trials({("cosine", "digits"): -0.4}))
    wanted = {**GEOMETRY, "direction": "higher"}
    free, guarded = judge([claim(**wanted), claim(**wanted, accuracy_within=0.02)], low)
    assert free.verdict == "supported"
    assert guarded.verdict == "not decided"
    assert "accuracy is 40 points behind" in guarded.reason


@pytest.mark.parametrize(
    ("head", "direction", "verdict", "whose"),
    [("cosine", "higher", "supported", "its"), (None, "lower", "refuted", "the baseline's")],
    ids=["candidate", "baseline"],
)
def test_a_collapsed_head_counts_for_nothing(head, direction, verdict, whose):
    """A collapsed candidate wins nothing and a collapsed baseline refutes nothing, however clear the difference."""
    asked = [claim(**GEOMETRY, direction=direction)]
    (well,) = judge(asked, with_geometry(trials(SAME)))
    assert well.verdict == verdict, "the difference decides nothing even without a collapse"
    (collapsed,) = judge(asked, with_geometry(trials(SAME), collapsed=(head,)))
    assert collapsed.verdict == "not decided"
    assert f"{SEEDS} of {whose} trials collapsed" in collapsed.reason


def test_one_collapsed_trial_is_enough():
    asked = [claim(**GEOMETRY, direction="higher")]
    records = with_geometry(trials(SAME))
    *rest, last = records
    assert last.spec.distance
    values = tuple(
        Measurement.of("collapsed", 1.0, "1", "lower") if m.name == "collapsed" else m for m in last.measurements
    )
    (verdict,) = judge(asked, [*rest, last.but(measurements=values)])
    assert verdict.verdict == "not decided"
    assert "1 of its trials collapsed" in verdict.reason


def test_a_head_at_chance_counts_as_collapsed():
    """Without the measure `collapsed`, a test accuracy at chance shows the collapse."""
    records = []
    for trial in trials(SAME):
        accuracy, geometry = (0.1, 0.9) if trial.spec.distance else (0.9, 0.3)
        values = (
            Measurement.of("test_accuracy", accuracy, "1", "higher"),
            Measurement.of("pca_variance_2", geometry + trial.spec.seed / 1000, "1", "neither"),
        )
        records.append(trial.but(sizes={"test": 10000, "classes": 10}, measurements=values))
    (verdict,) = judge([claim(**GEOMETRY, direction="higher")], records)
    assert verdict.verdict == "not decided"
    assert f"{SEEDS} of its trials collapsed" in verdict.reason


# Times to a target.


def runs_to_target(linear, cosine):
    """Steps by seed; None if a trial did not reach the target."""
    found = []
    for head, steps in ((None, linear), ("cosine", cosine)):
        for seed, step in enumerate(steps):
            reached = Measurement.of("steps_to_target", step, "step", "lower", "not reached")
            curve = tuple(point(s) for s in range(10, 201, 10))
            trial = spec(head, "harmonic" if head else "cross_entropy", seed)
            found.append(record(trial, measurements=(reached,), curve=curve))
    return found


TIMES = {
    "sooner": ([100, 110, 90] * 3, [50, 60, 50] * 3, "supported"),
    "as soon": ([100] * 9, [100] * 9, "not decided"),
    "one validation sooner, thrice": ([20] * 3, [10] * 3, "not decided"),
    "the other never gets there": ([None] * 9, [100] * 9, "supported"),
    "never gets there": ([100] * 9, [None] * 9, "refuted"),
    "neither gets there": ([None] * 9, [None] * 9, "not decided"),
    "too few to see by signs": ([None] * 4, [100] * 4, "not decided"),
}


@pytest.mark.parametrize(("linear", "cosine", "answer"), TIMES.values(), ids=TIMES)
def test_those_that_never_get_there_count(linear, cosine, answer):
    (verdict,) = judge([claim(measure="steps_to_target")], runs_to_target(linear, cosine))
    assert verdict.verdict == answer


def test_a_mean_of_times_is_not_that_of_the_survivors():
    given = runs_to_target([100] * 9, [10] * 8 + [None])
    (verdict,) = judge([claim(measure="steps_to_target", rule="better_on_average")], given)
    assert verdict.verdict == "not testable here"
    assert "did not reach the target" in verdict.reason


# Luck.


def test_luck_alone_gives_a_verdict_in_at_most_one_table_of_twenty():
    """Claims of every rule whose truth lies on the margin: neither side of any is right."""
    rng = np.random.default_rng(3)
    heads = ["euclidean", "manhattan", "cosine", "canberra"]
    lower = {"direction": "lower", "margin": 0.01}
    rules = {"better": lower, "better_on_average": lower, "share_of_cells": {**lower, "share": 0.5}}
    rules |= {"no_worse": {"margin": 0.01}, "equivalent": {"margin": 0.01}}
    asked = [claim(rule=rule, heads=f"{head} + harmonic", **more) for head in heads for rule, more in rules.items()]
    tables, decided = 120, 0
    for _ in range(tables):
        values = rng.normal(0.9, 0.01, size=(2, 5, 3)) - 0.01 * (np.arange(5) > 0)[:, None]
        given = [
            record(
                spec(head, "harmonic" if head else "cross_entropy", seed, dataset=dataset),
                measurements=(Measurement.of("test_accuracy", values[i, j, seed], "1", "higher"),),
                sizes={"test": 100000},
            )
            for i, dataset in enumerate(("digits", "mnist"))
            for j, head in enumerate((None, *heads))
            for seed in range(3)
        ]
        decided += any(v.verdict in ("supported", "refuted") for v in judge(asked, given))
    assert decided / tables < 0.05 + 3 * math.sqrt(0.05 * 0.95 / tables)


# Files and the command line.

WRONG = {
    "rule": ({"rule": "best"}, "claims.0.rule: input should be 'better', 'better_on_average'"),
    "margin of a rule": (
        {"rule": "no_worse"},
        "claims.0.margin: the rule no_worse needs a margin above 0, such as 0.01",
    ),
    "share missing": ({"rule": "share_of_cells"}, "claims.0.share: belongs to the rule share_of_cells, which needs it"),
    "share elsewhere": ({"share": 0.5}, "claims.0.share: is of the rule share_of_cells only"),
    "metric": ({"heads": "cosin + harmonic"}, "claims.0.heads: unknown metric 'cosin'; did you mean 'cosine'?"),
    "loss": ({"heads": "cosine + harmonics"}, "claims.0.heads: unknown loss 'harmonics'; did you mean 'harmonic'?"),
    "head": ({"heads": "cosine"}, "claims.0.heads: write HEAD + LOSS, such as cosine + harmonic"),
    "baseline": ({"baseline": "* + harmonic"}, "claims.0.baseline: is one head, not a pattern"),
    "place": ({"datasets": "digit"}, "claims.0.datasets: unknown dataset 'digit'; did you mean 'digits'?"),
    "field": ({"head": "cosine + harmonic"}, "claims.0.head: no such field; did you mean 'heads'?"),
    "sentence": ({"sentence": ""}, "claims.0.sentence: string should have at least 1 character"),
}
SUITE = {
    "name": "mine",
    "datasets": ["digits"],
    "backbones": ["mlp"],
    "metrics": ["cosine"],
    "losses": ["cross_entropy", "harmonic"],
    "protocol": {"steps": 10},
}
GOOD = claim().model_dump(mode="json", exclude_defaults=True)


@pytest.mark.parametrize(("changes", "problem"), WRONG.values(), ids=WRONG)
def test_a_wrong_claim_is_named_with_its_path(changes, problem):
    with pytest.raises(SuiteError) as caught:
        suites.check({**SUITE, "claims": [{**GOOD, **changes}]}, {}, "mine.yaml")
    assert any(said.startswith(problem) for said in caught.value.problems), caught.value.problems


def test_all_problems_of_all_claims_come_together():
    with pytest.raises(SuiteError) as caught:
        suites.check({**SUITE, "claims": [{**GOOD, **changes} for changes, _ in WRONG.values()]}, {}, "mine.yaml")
    assert len({said.split(".")[1] for said in caught.value.problems}) == len(WRONG)
    with pytest.raises(SuiteError, match="claims: the id c is there twice"):
        suites.check({**SUITE, "claims": [GOOD, GOOD]}, {}, "mine.yaml")


def test_claims_are_no_part_of_the_experiment():
    plain, stated = ({**SUITE, "claims": claims} for claims in ([], [GOOD]))
    keys = {planning.expand(suites.check(s, {}, "x"), "cpu", {}).key for s in (plain, stated)}
    assert len(keys) == 1


@pytest.mark.parametrize("name", suites.shipped())
def test_shipped_claims_are_about_cells_of_their_suite(name):
    loaded = suites.load(name)
    cells = planning.expand(loaded, "cpu", {}).cells
    for stated in loaded.claims:
        here = [
            f"{head} + {loss}"
            for dataset, backbone, head, loss, setting in cells
            if any(matches(p, dataset) for p in stated.datasets)
            and any(matches(p, backbone) for p in stated.backbones)
            and any(matches(p, setting) for p in stated.settings)
        ]
        assert stated.baseline in here, stated.id
        assert all(any(matches(pattern, label) for label in here) for pattern in stated.heads), stated.id


@pytest.fixture
def folder(tmp_path):
    made = suites.check({**SUITE, "claims": [GOOD]}, {}, "mine.yaml")
    planned = {"suite": made.model_dump(mode="json"), "planned": 2 * SEEDS, "excluded": []}
    with store.RunStore.open(tmp_path / "run", "key", planned) as run:
        for trial in trials(ONE):
            run.append(trial)
    return tmp_path / "run"


def say(*arguments) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_the_command_shows_verdicts(folder):
    text = say("claims", folder)
    assert "supported" in text
    assert text.startswith("supported  c\n  It is better.\n  Result: test_accuracy +")
    assert "Source: nobody" in text
    assert "Of 1 claim, 1 supported. Claims of the run" in text
    assert "\x1b" not in text  # plain where it is no terminal
    assert "| supported" in say("claims", folder, "--format", "md")
    (verdict,) = json.loads(say("claims", folder, "--format", "json"))
    assert (verdict["verdict"], verdict["claim"]["id"]) == ("supported", "c")


@pytest.mark.parametrize("columns", [80, 120])
def test_verdicts_fit_the_terminal(folder, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    long = CliRunner().invoke(app, ["claims", str(folder), "--suite", "vision"]).output
    assert max(map(len, long.splitlines())) <= columns
    assert "cosine-more-accurate" in long


def test_another_suite_may_ask(folder, tmp_path):
    other = {**SUITE, "claims": [{**GOOD, "id": "other", "direction": "lower"}]}
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(other))
    assert "Of 1 claim, 1 refuted." in say("claims", folder, "--suite", tmp_path / "other.yaml")
    with pytest.raises(suites.HarmbenchError, match="makes no claims; `--suite SUITE` names one"):
        say("claims", folder, "--suite", "smoke")


def test_the_report_has_the_verdicts(folder):
    from harmbench.energy.carbon import grid
    from harmbench.report import compose

    report = compose(store.read(folder), grid("world"))
    assert "Of 1 claim, 1 supported." in report.summary
    assert report.leading[0].tables[0].rows[0][0] == "supported"


def test_verdicts_are_in_the_order_of_the_claims_and_tables_in_that_of_the_verdicts():
    asked = [claim(id="b", direction="lower"), claim(id="a")]
    verdicts = judge(asked, trials(ONE))
    assert [v.claim.id for v in verdicts] == ["b", "a"]
    assert [row[0] for row in claims_table(verdicts).rows] == ["supported", "refuted"]
