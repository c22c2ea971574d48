"""Suites and plans: every problem at once, what fits together, and what names an experiment."""

from __future__ import annotations

import itertools

import pytest
import yaml

from harmbench.errors import SuiteError, UnknownNameError
from harmbench.nn.distances import DISTANCES
from harmbench.nn.losses import LOSSES
from harmbench.planning import plan as planning
from harmbench.planning import suite as suites
from harmbench.results.records import Protocol, TrialRecord
from tests.support.samples import spec

GOOD = {
    "name": "mine",
    "datasets": ["digits"],
    "backbones": ["mlp"],
    "metrics": ["euclidean", "cosine"],
    "losses": ["cross_entropy", "harmonic"],
    "protocol": {"steps": 10},
}
VERSIONS = {"harmbench": "1", "torch": "2"}


def suite(**changes) -> suites.SuiteSpec:
    return suites.check({**GOOD, **changes}, {}, "mine.yaml")


def plan(**changes) -> planning.Plan:
    return planning.expand(suite(**changes), "cpu", VERSIONS)


# Problems.

BAD = {
    "name": "bad name",
    "datasets": ["digitz", "nowhere"],
    "backbones": [],
    "metrics": ["euclidian", "minkowski[p=0.5]"],
    "losses": ["harmonic[n=-1]"],
    "meters": ["quallity"],
    "seeds": 0,
    "protocol": {"steps": 5, "epochs": 3, "lr": -1, "bach_size": 3},
    "exclude": [{"dataset": "digits", "reason": "no"}],
    "question?": "x",
}
PROBLEMS = {
    "datasets": "datasets: unknown dataset 'digitz'; did you mean 'digits'?",
    "second of a list": "datasets: unknown dataset 'nowhere'",
    "metrics": "metrics: unknown metric 'euclidian'; did you mean 'euclidean'?",
    "option": "metrics: minkowski[p=0.5]: p: ",
    "losses": "losses: harmonic[n=-1]: n: must be a number > 0",
    "meters": "meters: unknown meter 'quallity'; did you mean 'quality'?",
    "name": "name: string should match pattern",
    "backbones": "backbones: tuple should have at least 1 item",
    "seeds": "seeds: input should be greater than or equal to 1, got 0",
    "budget": "protocol.epochs: give exactly one budget: steps or epochs",
    "protocol": "protocol.lr: input should be greater than 0, got -1",
    "protocol's field": "protocol.bach_size: no such field; did you mean 'batch_size'?",
    "exclusion's field": "exclude.0.dataset: no such field; did you mean 'datasets'?",
    "field": "question?: no such field; did you mean 'question'?",
}


@pytest.fixture(scope="module")
def problems() -> list[str]:
    with pytest.raises(SuiteError, match=r"^mine\.yaml: ") as caught:
        suites.check(BAD, {}, "mine.yaml")
    return caught.value.problems


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_every_problem_has_its_path(problems, problem):
    assert sum(each.startswith(problem) for each in problems) == 1


def test_all_problems_come_in_one_error_and_once(problems):
    assert len(problems) == len(PROBLEMS)


FILES = {
    "nothing": ("", "must be a mapping with name, datasets, backbones, losses and protocol"),
    "a list": ("- a\n- b\n", "must be a mapping with name, datasets"),
    "no YAML": ("name: [", r"not valid YAML: .*line 1, column 8"),
    "code": ("name: !!python/object/apply:os.getcwd []", "not valid YAML: could not determine a constructor"),
    "no text": (b"\xff\xfe\x00", "cannot be read|not valid YAML"),
    "a number for a field": ("1: x", "1: keys should be strings"),
    "only a name": ("name: x", "datasets: is required; backbones: is required; losses: is required"),
    "no budget": (yaml.safe_dump({**GOOD, "protocol": {}}), "protocol.epochs: give exactly one budget"),
    "a word for a protocol": (yaml.safe_dump({**GOOD, "protocol": "fast"}), "protocol: input should be"),
    "a number for a list": (yaml.safe_dump({**GOOD, "metrics": 3}), "metrics: input should be a valid tuple, got 3"),
    "numbers in a list": (yaml.safe_dump({**GOOD, "losses": [1]}), "losses.0: input should be a valid string, got 1"),
}


@pytest.mark.parametrize(("text", "message"), FILES.values(), ids=FILES)
def test_a_file_that_is_no_suite(tmp_path, text, message):
    path = tmp_path / "mine.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SuiteError, match=message):
        suites.load(str(path))


def test_a_suite_that_does_not_exist():
    with pytest.raises(
        UnknownNameError, match=r"unknown suite 'vison'; did you mean 'vision'\? Known: .*smoke, vision"
    ):
        suites.load("vison")
    with pytest.raises(SuiteError, match=r"nowhere\.yaml: no such file; `harmbench ls suites` shows"):
        suites.load("nowhere.yaml")


# What is shipped, and what is typed.


@pytest.mark.parametrize("name", suites.shipped())
def test_shipped_suites_are_fine(name):
    loaded = suites.load(name)
    expanded = planning.expand(loaded, "cpu", VERSIONS)
    assert loaded.name == name.rpartition("/")[2]
    assert loaded.question
    assert loaded.cost
    assert (None, "cross_entropy") in {(t.distance, t.loss) for t in expanded.trials}  # a baseline


@pytest.mark.parametrize("name", suites.shipped())
def test_exclusions_of_shipped_suites_match_something(name):
    loaded = suites.load(name)
    reasons = {entry.reason for entry in planning.expand(loaded, "cpu", VERSIONS).excluded}
    assert {rule.reason for rule in loaded.exclude} <= reasons


def test_a_path_wins_over_a_shipped_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "smoke").write_text(yaml.safe_dump({**GOOD, "name": "own"}))
    assert suites.load("smoke").name == "own"


OVERRIDES = {
    "names": ({"metrics": ["manhattan,minkowski[p=3.0]"]}, {"metrics": ("manhattan", "minkowski[p=3]")}),
    "once each": ({"metrics": ["cosine", "cosine,cosine"]}, {"metrics": ("cosine",)}),
    "text": ({"losses": "harmonic[n=2.0],cosine_softmax"}, {"losses": ("harmonic[n=2]", "cosine_softmax")}),
    "seeds": ({"seeds": 7}, {"seeds": 7}),
    "nothing": ({}, {"metrics": ("euclidean", "cosine"), "seeds": 3}),
}


@pytest.mark.parametrize(("overrides", "expected"), OVERRIDES.values(), ids=OVERRIDES)
def test_overrides_replace_fields(overrides, expected):
    checked = suites.check(GOOD, overrides, "mine.yaml")
    assert {field: getattr(checked, field) for field in expected} == expected
    assert checked.backbones == ("mlp",)


BUDGETS = {
    "steps for epochs": ({"epochs": 4, "lr": 0.5}, {"steps": 9}, (9, None, 0.5)),
    "epochs for steps": ({"steps": 4, "lr": 0.5}, {"epochs": 2.5}, (None, 2.5, 0.5)),
    "steps for steps": ({"steps": 4}, {"steps": 9}, (9, None, 1e-3)),
    "something else": ({"steps": 4}, {"lr": 0.1}, (4, None, 0.1)),
}


@pytest.mark.parametrize(("protocol", "override", "expected"), BUDGETS.values(), ids=BUDGETS)
def test_a_budget_replaces_the_other(protocol, override, expected):
    found = suites.check({**GOOD, "protocol": protocol}, {"protocol": override}, "mine.yaml").protocol
    assert (found.steps, found.epochs, found.lr) == expected


def test_both_budgets_as_overrides_are_refused():
    with pytest.raises(SuiteError, match="give exactly one budget: steps or epochs"):
        suites.check(GOOD, {"protocol": {"steps": 1, "epochs": 1}}, "mine.yaml")


def test_all_and_paper_are_sets_of_metrics():
    every = suite(metrics="all").metrics
    assert set(every) == {str(distance) for distance in DISTANCES.every_variant()}
    assert set(suite(metrics="paper").metrics) == {str(d) for d in DISTANCES.every_variant() if d.is_in_papers}
    assert suite(metrics=["cosine", "all"]).metrics[0] == "cosine"


# Pairs and exclusions.


def test_heads_are_paired_with_what_their_losses_read():
    heads, excluded = planning.pair(("euclidean", "cosine", "manhattan"), tuple(LOSSES.members))
    assert [pair for pair in heads if pair[0] is None] == [(None, "cross_entropy")]
    for distance, loss in heads:
        fits = LOSSES.parse(loss)
        assert (distance is None) == (fits.reads == "logits")
        assert not fits.distances or distance in fits.distances
    assert len(set(heads)) == len(heads) == 1 + 3 + 3 + 1
    assert [entry.what for entry in excluded] == ["cosine_softmax on 2 metric(s)"]


def test_data_sets_meet_backbones_that_take_what_they_give():
    changes = {"datasets": ["digits", "lattice", "permutation"], "backbones": ["mlp", "token_mlp"]}
    expanded = plan(**changes)
    places = {(trial.dataset, trial.backbone) for trial in expanded.trials}
    assert places == {("digits", "mlp"), ("lattice", "token_mlp"), ("permutation", "token_mlp")}
    assert [(entry.what, entry.reason) for entry in expanded.excluded] == [
        ("mlp on 2 dataset(s)", "takes images, and they give tokens"),
        ("token_mlp on 1 dataset(s)", "takes tokens, and they give images"),
    ]
    with pytest.raises(SuiteError, match="nothing to run: mlp on 1 dataset"):
        plan(datasets=["lattice"])


LEFT_OUT = {
    "no distance": ({"metrics": []}, "harmonic", "reads a distance, and the suite has none"),
    "another distance": (
        {"metrics": ["euclidean"], "losses": ["cross_entropy", "cosine_softmax"]},
        "cosine_softmax",
        "reads cosine, and the suite has none",
    ),
    "no loss for distances": (
        {"losses": ["cross_entropy"]},
        "2 metric(s)",
        "no loss of the suite reads distances",
    ),
}


@pytest.mark.parametrize(("changes", "what", "reason"), LEFT_OUT.values(), ids=LEFT_OUT)
def test_what_does_not_fit_is_said_and_why(changes, what, reason):
    assert [(entry.what, entry.reason) for entry in plan(**changes).excluded] == [(what, reason)]


RULES = {
    "a pattern": ({"metrics": "cos*"}, ("digits", "mlp", "cosine", "harmonic")),
    "the linear head": ({"metrics": "linear"}, ("digits", "mlp", "linear", "cross_entropy")),
    "brackets are plain": ({"metrics": "minkowski[p=3]"}, ("digits", "mlp", "minkowski[p=3]", "harmonic")),
    "two parts": ({"datasets": "dig*", "metrics": "euclidean"}, ("digits", "mlp", "euclidean", "harmonic")),
}


@pytest.mark.parametrize(("rule", "gone"), RULES.values(), ids=RULES)
def test_a_rule_leaves_out_what_it_names_and_says_so(rule, gone):
    changes = {"metrics": ["euclidean", "cosine", "minkowski[p=3]", "minkowski[p=1.5]"]}
    before, after = plan(**changes), plan(**changes, exclude=[{**rule, "reason": "too slow"}])
    assert {cell[:-1] for cell in set(before.cells) - set(after.cells)} == {gone}
    assert [entry.reason for entry in after.excluded] == ["too slow"]
    assert all(pattern in after.excluded[0].what for pattern in rule.values())


def test_all_parts_of_an_exclusion_must_match():
    rule = {"metrics": "cosine", "datasets": "digits[*", "reason": "r"}
    assert plan(exclude=[rule]).excluded == ()


def test_a_plan_of_nothing_says_why():
    with pytest.raises(SuiteError, match="mine: nothing to run: harmonic: reads a distance, and the suite has none"):
        plan(metrics=[], losses=["harmonic"])


# Ids, keys, order.

OTHER = {
    "dataset": "mnist",
    "data_content": "abc",
    "backbone": "cnn",
    "backbone_content": "transformers 4",
    "distance": "cosine",
    "loss": "distance_softmax",
    "seed": 1,
    "protocol": Protocol(steps=31, evaluations=3),
    "meters": ("quality",),
    "device_kind": "cuda",
    "versions": {"harmbench": "0", "torch": "1", "timm": "0"},
}
OTHER_PROTOCOL = {
    "warmup_max_steps": 12,
    "analysis_samples": 500,
    "steps": 99,
    "epochs": 5.0,
    "batch_size": 32,
    "accumulate": 4,
    "optimizer": "sgd",
    "lr": 0.1,
    "weight_decay": 0.1,
    "decay": "matrices",
    "beta2": 0.95,
    "lr_min": 1e-5,
    "compile": True,
    "momentum": 0.5,
    "schedule": "cosine",
    "lr_warmup_steps": 3,
    "grad_clip": 1.0,
    "center_std": 0.1,
    "precision": "bfloat16",
    "warmup_steps": 1,
    "evaluations": 2,
    "target": 0.5,
    "target_nll": 2.0,
    "select": "last",
    "deterministic": False,
    "batched_seeds": 2,
    "threads": 2,
}


@pytest.mark.parametrize("field", [name for name in type(spec()).__struct_fields__ if name != "setting"])
def test_every_field_of_a_trial_is_in_its_id(field):
    assert spec().but(**{field: OTHER[field]}).id != spec().id


@pytest.mark.parametrize("field", Protocol.model_fields)
def test_every_field_of_the_protocol_is_in_the_id(field):
    protocol = {**spec().protocol.model_dump(), field: OTHER_PROTOCOL[field]}
    protocol |= {"steps": None} if field == "epochs" else {"target": None} if field == "target_nll" else {}
    assert spec().but(protocol=Protocol(**protocol)).id != spec().id


def test_an_id_is_of_values_and_stays_the_same():
    again = spec(versions={"timm": "0", "torch": "0", "harmbench": "0"})
    assert again.id == spec().id
    assert type(spec()).from_json(spec().to_json()).id == spec().id
    assert len(spec().id) == 12


def test_nothing_of_where_and_when_is_in_the_id():
    circumstances = {"order", "started", "environment", "device", "status", "measurements", "phases", "curve"}
    assert not circumstances & set(type(spec()).__struct_fields__)
    assert circumstances <= set(TrialRecord.__struct_fields__)


KEYS = {
    "seeds": ({"seeds": 9}, True),
    "question": ({"question": "Why?"}, True),
    "order of the metrics": ({"metrics": ["cosine", "euclidean"]}, True),
    "a metric": ({"metrics": ["cosine"]}, False),
    "a loss": ({"losses": ["harmonic"]}, False),
    "the budget": ({"protocol": {"steps": 11}}, False),
    "a meter": ({"meters": ["quality"]}, False),
}


@pytest.mark.parametrize(("changes", "same"), KEYS.values(), ids=KEYS)
def test_a_key_names_the_experiment_and_not_its_replicates(changes, same):
    assert (plan(**changes).key == plan().key) is same


def test_versions_data_and_device_are_in_the_key():
    checked = suite()
    others = [
        planning.expand(checked, "cuda", VERSIONS),
        planning.expand(checked, "cpu", {**VERSIONS, "torch": "3"}),
        planning.expand(checked, "cpu", VERSIONS, {"digits": "abc"}),
    ]
    assert len({planning.expand(checked, "cpu", VERSIONS).key, *(other.key for other in others)}) == 4


def test_trials_are_the_whole_matrix_once():
    expanded = plan(datasets=["digits", "digits[train_fraction=0.1]"], backbones=["mlp", "cnn"], seeds=2)
    found = [(t.dataset, t.backbone, t.distance, t.loss, t.seed) for t in expanded.trials]
    heads = [(None, "cross_entropy"), ("euclidean", "harmonic"), ("cosine", "harmonic")]
    parts = (["digits", "digits[train_fraction=0.1]"], ["mlp", "cnn"], heads, [0, 1])
    assert sorted(map(str, found)) == sorted(str((d, b, *head, seed)) for d, b, head, seed in itertools.product(*parts))
    assert len({trial.id for trial in expanded.trials}) == len(found) == 24


def test_the_order_is_interleaved_seed_by_seed():
    expanded = plan(seeds=3)
    assert [trial.seed for trial in expanded.trials] == [0] * 3 + [1] * 3 + [2] * 3
    orders = [[t.cell for t in expanded.trials if t.seed == seed] for seed in range(3)]
    assert all(sorted(order) == sorted(expanded.cells) for order in orders)
    assert expanded.cells[0] == ("digits", "mlp", "linear", "cross_entropy", "")
    assert plan(seeds=3).trials == expanded.trials, "the order must be the same every time"
    first = [plan(seeds=20).trials[3 * seed].head for seed in range(20)]
    assert len(set(first)) == 3, "no head is always the first"


def test_more_seeds_only_add_trials():
    assert [t.id for t in plan(seeds=5).trials[:6]] == [t.id for t in plan(seeds=2).trials]
