"""Training: order of the data, schedule, selection, divergence, equal ground for all heads."""

from __future__ import annotations

import copy
import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harmbench.datasets import DATASETS, Splits
from harmbench.nn.losses import LOSSES
from harmbench.results.records import Protocol
from harmbench.runner import trial as trials
from harmbench.runner.batches import batch_indices
from harmbench.runner.model import build, count_features, derived_seed, learning_rate, optimizer_for
from harmbench.runner.prediction import predict
from harmbench.runner.training import Divergence, Trained, evaluation_steps
from harmbench.runner.warm_up import warm_up
from tests.support.paths import DATA
from tests.support.samples import job_of, point, spec
from tests.support.training import SHAPE, SPLITS, copied, equal, learner_of, run_one, train

STEADY = settings(derandomize=True, deadline=None, max_examples=60)
SIZES = {"train_size": st.integers(1, 60), "batch_size": st.integers(1, 80), "steps": st.integers(0, 60)}


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


# Order.


@STEADY
@given(**SIZES)
def test_batches_are_full_and_every_pass_is_a_permutation(train_size, batch_size, steps):
    batches = list(batch_indices(train_size, batch_size, steps, seed=3))
    stream = torch.cat([torch.empty(0, dtype=torch.long), *batches]).tolist()
    assert [len(batch) for batch in batches] == [min(batch_size, train_size)] * steps
    for start in range(0, len(stream), train_size):
        seen = stream[start : start + train_size]
        assert len(set(seen)) == len(seen)
        assert set(seen) <= set(range(train_size))


def test_the_order_depends_on_its_arguments_only():
    first = torch.stack(list(batch_indices(50, 8, 9, seed=1)))
    torch.manual_seed(99)
    assert torch.equal(torch.stack(list(batch_indices(50, 8, 9, seed=1))), first)
    assert torch.equal(torch.stack(list(batch_indices(50, 8, 20, seed=1)))[:9], first)
    assert not torch.equal(torch.stack(list(batch_indices(50, 8, 9, seed=2))), first)


def test_drawing_batches_leaves_torchs_generator_alone():
    before = torch.get_rng_state()
    list(batch_indices(50, 8, 9, seed=1))
    assert torch.equal(torch.get_rng_state(), before)


# Budget, evaluations, schedule.

BUDGETS = {
    "steps": ({"steps": 7}, 1000, 7),
    "whole passes": ({"epochs": 2, "batch_size": 10}, 100, 20),
    "a started batch is taken": ({"epochs": 1, "batch_size": 64}, 65, 2),
    "as written, not as binary": ({"epochs": 1.1, "batch_size": 10}, 100, 11),
    "part of a pass": ({"epochs": 0.01, "batch_size": 10}, 100, 1),
    "batch above the data": ({"epochs": 3, "batch_size": 64}, 5, 3),
}


@pytest.mark.parametrize(("fields", "train_size", "steps"), BUDGETS.values(), ids=BUDGETS)
def test_budget(fields, train_size, steps):
    assert Protocol(**fields).budget(train_size) == steps


@STEADY
@given(st.integers(1, 500), st.integers(1, 50))
def test_evaluations_are_evenly_spread_and_end_with_the_last_step(steps, evaluations):
    stops = sorted(evaluation_steps(steps, evaluations))
    gaps = [late - early for early, late in itertools.pairwise([0, *stops])]
    assert stops[-1] == steps
    assert len(stops) == min(steps, evaluations)
    assert max(gaps) - min(gaps) <= 1


SCHEDULES = {
    "constant": ({}, [2.0] * 4),
    "rise": ({"lr_warmup_steps": 4}, [0.5, 1.0, 1.5, 2.0]),
    "cosine": ({"schedule": "cosine"}, [2.0, 1 + math.cos(math.pi / 4), 1.0, 1 + math.cos(3 * math.pi / 4)]),
    "rise and cosine": ({"schedule": "cosine", "lr_warmup_steps": 2}, [1.0, 2.0, 2.0, 1.0]),
    "longer rise than training": ({"lr_warmup_steps": 8}, [0.25, 0.5, 0.75, 1.0]),
}


@pytest.mark.parametrize(("fields", "expected"), SCHEDULES.values(), ids=SCHEDULES)
def test_learning_rates(fields, expected):
    protocol = Protocol(steps=4, lr=2.0, **fields)
    assert [learning_rate(protocol, step, steps=4) for step in (1, 2, 3, 4)] == pytest.approx(expected)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("distance", [None, "euclidean"])
def test_training_ends_where_a_loop_in_plain_torch_ends(optimizer, distance):
    fields = {"steps": 20, "schedule": "cosine", "lr_warmup_steps": 5, "optimizer": optimizer, "evaluations": 3}
    trial = spec(distance, "harmonic" if distance else "cross_entropy", protocol=fields)
    ours, theirs = (build(trial, SHAPE, 10) for _ in range(2))
    train(trial, ours)
    chosen, rise = optimizer_for(theirs, trial.protocol), 5
    schedule = torch.optim.lr_scheduler.LambdaLR(
        chosen,
        lambda taken: (taken + 1) / rise if taken < rise else 0.5 * (1 + math.cos(math.pi * (taken - rise) / 15)),
    )
    for rows in batch_indices(len(SPLITS.train_targets), trial.protocol.batch_size, 20, derived_seed(trial, "order")):
        chosen.zero_grad()
        theirs.loss(SPLITS.train_inputs[rows], SPLITS.train_targets[rows]).backward()
        chosen.step()
        schedule.step()
    assert equal(copied(ours), copied(theirs))


# Selection.


class KeepsTheModelsOwn(Trained):
    def keep(self, point, model, protocol):
        self.best, self.best_state = point, model.state_dict()


def keeps_a_copy(trained: Trained) -> None:
    model = build(spec(), SHAPE, 10)
    before = copied(model)
    trained.keep(point(), model, spec().protocol)
    train(spec(), model)
    assert not equal(copied(model), before)
    assert equal(trained.best_state, before), "the kept state trains on"


def test_the_kept_state_is_a_copy():
    keeps_a_copy(Trained())


def test_a_kept_state_that_trains_on_is_caught():
    with pytest.raises(AssertionError, match="the kept state trains on"):
        keeps_a_copy(KeepsTheModelsOwn())


CHOICES = {
    "the more accurate": ([(0.8, 0.1), (0.9, 0.9), (0.85, 0.1)], "best", 1),
    "a tie goes to the lower loss": ([(0.9, 0.5), (0.9, 0.3), (0.9, 0.4)], "best", 1),
    "a full tie goes to the first": ([(0.9, 0.5), (0.9, 0.5)], "best", 0),
    "a loss that is not finite loses": ([(0.9, None), (0.9, 7.0), (0.9, None)], "best", 1),
    "the last": ([(0.9, 0.1), (0.2, 3.0)], "last", 1),
}


@pytest.mark.parametrize(("validations", "select", "kept"), CHOICES.values(), ids=CHOICES)
def test_selection(validations, select, kept):
    trained, model = Trained(), torch.nn.Linear(1, 1)
    for step, (accuracy, nll) in enumerate(validations):
        torch.nn.init.constant_(model.weight, step)
        trained.keep(point(step, accuracy, nll), model, Protocol(steps=1, select=select))
    assert (trained.best.step, trained.best_state["weight"].item()) == (kept, kept)


def test_the_best_state_is_the_one_that_was_validated():
    trial = spec(protocol={"steps": 60, "evaluations": 6})
    model = build(trial, SHAPE, 10)
    trained = train(trial, model)
    model.load_state_dict(trained.best_state)
    right = predict(model, SPLITS.validation_inputs, SPLITS.validation_targets, trial.protocol).hits
    assert right.double().mean().item() == trained.best.validation_accuracy
    assert trained.best.validation_accuracy == max(p.validation_accuracy for p in trained.curve)


def test_the_curve_is_what_happened():
    trial = spec(protocol={"steps": 50, "evaluations": 5, "batch_size": 100})
    trained = train(trial)
    assert [p.step for p in trained.curve] == [10, 20, 30, 40, 50]
    assert [p.epoch for p in trained.curve] == pytest.approx([p.step * 100 / 1079 for p in trained.curve])
    assert trained.curve[-1].train_loss < trained.curve[0].train_loss
    assert len(trained.step_seconds) == 50


# Divergence.


def spoiled(step: int, trial) -> Splits:
    """Digits with one image that is not a number, first seen at this step."""
    order = list(batch_indices(len(SPLITS.train_targets), 64, step, derived_seed(trial, "order")))
    inputs = SPLITS.train_inputs.clone()
    inputs[order[-1][5]] = math.nan
    return SPLITS._replace(train_inputs=inputs)


@pytest.mark.parametrize("step", [1, 9, 10, 11, 15, 16])
def test_divergence_names_the_exact_step(step):
    trial = spec()
    assert str(train(trial, splits=spoiled(step, trial)).divergence) == f"loss nan at step {step}"


@pytest.mark.parametrize("evaluations", [1, 2, 10])
def test_divergence_names_the_exact_step_however_seldom_one_looks(evaluations):
    trial = spec(protocol={"steps": 40, "evaluations": evaluations, "batch_size": 16})
    splits = SPLITS._replace(train_inputs=SPLITS.train_inputs.clone())
    order = list(batch_indices(1079, 16, 37, derived_seed(trial, "order")))
    splits.train_inputs[order[-1][0]] = math.inf
    assert str(train(trial, splits=splits).divergence) == "loss nan at step 37"


def test_a_huge_learning_rate_diverges():
    trial = spec(None, "cross_entropy", protocol={"lr": 1e30, "optimizer": "sgd"})
    divergence = train(trial).divergence
    assert isinstance(divergence, Divergence)
    assert 2 <= divergence.step < 10
    assert not math.isfinite(divergence.loss)


# Equal ground.

HEADS = {
    "linear": (None, "cross_entropy"),
    "euclidean": ("euclidean", "harmonic"),
    "learnable": ("cosine", "harmonic[n=learnable]"),
    "mahalanobis": ("mahalanobis", "harmonic"),
    "another loss": ("euclidean", "distance_softmax"),
}


@pytest.mark.parametrize("backbone", ["mlp", "cnn"])
@pytest.mark.parametrize(("distance", "loss"), HEADS.values(), ids=HEADS)
def test_heads_start_from_the_same_backbone_and_rows(distance, loss, backbone):
    torch.manual_seed(5)  # whatever happened before
    model = build(spec(distance, loss, backbone=backbone), SHAPE, 10)
    torch.manual_seed(6)
    reference = build(spec(None, "cross_entropy", backbone=backbone), SHAPE, 10)
    assert equal(copied(model.backbone), copied(reference.backbone))
    assert torch.equal(model.head.weight, reference.head.weight)


@pytest.mark.parametrize("backbone", ["token_mlp", "token_mlp[tied=false]", "token_transformer"])
def test_heads_over_tokens_start_from_the_same_numbers(backbone):
    models = [build(spec(*head, backbone=backbone), (2, 31), 31) for head in HEADS.values()]
    for model in models[1:]:
        assert equal(copied(model.backbone), copied(models[0].backbone))
        assert torch.equal(model.head.weight, models[0].head.weight)


@pytest.mark.parametrize("tied", [True, False])
def test_a_distance_head_learns_modular_addition(tied):
    backbone = f"token_mlp[tied={tied}]"
    protocol = {"steps": 800, "batch_size": 128, "lr": 0.01, "optimizer": "adamw", "weight_decay": 0.01}
    trial = spec(dataset="modular_addition", backbone=backbone, protocol=protocol)
    splits = DATASETS.parse("modular_addition").load(DATA, download=False, seed=0)
    model = build(trial, splits.input_shape, splits.num_classes)
    assert train(trial, model, splits).curve[-1].validation_accuracy > 0.9
    assert (model.head.weight is model.backbone.embedding.weight) == tied


def test_heads_share_the_draw_of_wide_centers_too():
    one, other = (build(spec(d, protocol={"center_std": 0.3}), SHAPE, 10) for d in ("cosine", "mahalanobis"))
    assert torch.equal(one.head.weight, other.head.weight)
    assert one.head.weight.std().item() == pytest.approx(0.3, rel=0.05)


def test_seeds_data_sets_and_backbones_start_apart():
    specs = [spec(), spec(seed=1), spec(dataset="digits[train_fraction=0.5]"), spec(backbone="mlp[hidden=512-256]")]
    for purpose in ("backbone", "head", "order", "train", "share"):
        assert len({derived_seed(each, purpose) for each in specs}) == 4
    assert len({derived_seed(spec(), purpose) for purpose in ("backbone", "head", "order", "train", "share")}) == 5


LEARNED = {
    "mahalanobis": (
        "mahalanobis",
        "harmonic",
        {"head.distance_parameters.log_diagonal", "head.distance_parameters.lower"},
    ),
    "diagonal": ("mahalanobis[variant=diagonal]", "harmonic", {"head.distance_parameters.log_diagonal"}),
    "order": ("minkowski[p=learnable]", "harmonic", {"head.distance_parameters.log_excess"}),
    "exponent": ("euclidean", "harmonic[n=learnable]", {"objective.loss_parameters.log_n"}),
}


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize(("distance", "loss", "names"), LEARNED.values(), ids=LEARNED)
def test_learned_tensors_reach_the_optimizer_and_move(distance, loss, names, optimizer):
    trial = spec(distance, loss, protocol={"steps": 3, "optimizer": optimizer})
    model = build(trial, SHAPE, 10)
    before = copied(model)
    train(trial, model)
    moved = {name for name, tensor in model.named_parameters() if not torch.equal(tensor, before[name])}
    assert names <= moved
    groups = optimizer_for(model, trial.protocol.model_copy(update={"weight_decay": 0.1})).param_groups
    held = [id(p) for group in groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in model.parameters())
    spared = {id(p) for group in groups if group["weight_decay"] == 0 for p in group["params"]}
    assert spared == {id(p) for name, p in model.named_parameters() if name in names}


@pytest.mark.parametrize(
    "loss", ["cross_entropy", *(a for a in map(str, LOSSES.every_variant()) if a != "cross_entropy")]
)
def test_every_loss_learns_digits(loss):
    trial = spec(None if loss == "cross_entropy" else "cosine", loss, protocol={"steps": 60, "lr": 2e-3})
    assert train(trial).best.validation_accuracy > 0.8


# What must leave no trace.


@pytest.mark.parametrize("backbone", ["mlp", "cnn"])
def test_warm_up_leaves_the_model_as_it_is(backbone):
    model = build(spec("mahalanobis", backbone=backbone), SHAPE, 10)
    before, mode = copied(model), model.training
    warm_up(learner_of(spec("mahalanobis", backbone=backbone, protocol={"warmup_steps": 4}), model))
    assert equal(copied(model), before)
    assert model.training == mode
    assert all(parameter.grad is None for parameter in model.parameters())


def test_warm_up_and_counting_features_change_no_outcome():
    with_warm_up, without = (build(spec(backbone="cnn"), SHAPE, 10) for _ in range(2))
    warm_up(learner_of(spec(backbone="cnn"), with_warm_up))
    count_features(with_warm_up.backbone, SPLITS.train_inputs[:1])
    for model in (with_warm_up, without):
        train(spec(backbone="cnn"), model)
    assert equal(copied(with_warm_up), copied(without))


@pytest.mark.parametrize("was_training", [True, False])
def test_prediction_puts_the_mode_back_and_comes_in_blocks(was_training):
    model = build(spec(backbone="cnn"), SHAPE, 10).train(was_training)
    inputs = torch.randn(1500, *SHAPE, generator=torch.Generator().manual_seed(0))
    before = copied(model)
    logits = predict(model, inputs, torch.zeros(1500, dtype=torch.long), spec().protocol).logits
    assert model.training is was_training
    assert equal(copied(model), before)
    torch.testing.assert_close(logits, copy.deepcopy(model).eval()(inputs).detach())


def test_the_test_part_is_read_once(monkeypatch):
    looked_at = []

    def counting(model, inputs, targets, protocol):
        looked_at.append(len(inputs))
        return predict(model, inputs, targets, protocol)

    monkeypatch.setattr(trials, "predict", counting)
    monkeypatch.setattr("harmbench.runner.single_learner.predict", counting)
    splits = SPLITS._replace(test_inputs=SPLITS.test_inputs[:100], test_targets=SPLITS.test_targets[:100])
    monkeypatch.setattr(trials, "load", lambda job: splits)
    record = run_one(job_of(spec()))
    assert record.status == "ok"
    assert looked_at == [359, 359, 359, 359, 100]  # warm-up, three validations, one test


def test_the_test_part_changes_nothing_before_the_test(monkeypatch):
    clean = run_one(job_of(spec()))
    hidden = SPLITS._replace(test_inputs=torch.full_like(SPLITS.test_inputs, math.nan))
    monkeypatch.setattr(trials, "load", lambda job: hidden)
    blind = run_one(job_of(spec()))
    learned = [
        [(p.step, p.train_loss, p.validation_accuracy, p.validation_nll) for p in r.curve] for r in (clean, blind)
    ]
    assert learned[0] == learned[1]
    assert clean.value("test_accuracy") > 0.5
    assert blind.value("test_nll") is None


def test_the_selected_state_is_the_one_that_is_tested():
    trial = spec(protocol={"steps": 40, "evaluations": 20, "lr": 0.05})
    model = build(trial, SHAPE, 10)
    trained = train(trial, model)
    assert trained.best.step < 40

    def nll() -> float:
        logits = predict(model, SPLITS.test_inputs, SPLITS.test_targets, trial.protocol).logits.double()
        return torch.nn.functional.cross_entropy(logits, SPLITS.test_targets).item()

    last = nll()
    model.load_state_dict(trained.best_state)
    tested = run_one(job_of(trial)).value("test_nll")
    assert tested == pytest.approx(nll(), rel=1e-6)
    assert tested != pytest.approx(last, rel=1e-6)


def test_a_diverged_trial_is_a_result(monkeypatch):
    trial = spec(meters=("quality", "gradient_stability"))
    monkeypatch.setattr(trials, "load", lambda job: spoiled(4, trial))
    record = run_one(job_of(trial))
    assert (record.status, record.reason) == ("diverged", "loss nan at step 4")
    assert record.value("nonfinite_step_share") == 1 / 4, "steps after the end of the trial count"
    assert record.value("clipped_step_share") is None
    assert [phase.phase for phase in record.phases] == ["load", "warm-up", "train", "analyze"]
