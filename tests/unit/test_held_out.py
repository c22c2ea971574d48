"""Phases of a whole trial, analysis of held-out samples, operations of a step, warm-up, the state of the machine."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
import torch

from harmbench.meters import WarmUp
from harmbench.nn.distances import DISTANCES
from harmbench.nn.heads import DistanceHead, LinearHead, Objective
from harmbench.results.records import Protocol
from harmbench.runner import machine, single_learner, warm_up
from harmbench.runner import trial as trials
from harmbench.runner.held_out import analyze, count_flops, distance_flops, spread_sample
from harmbench.runner.model import Classifier, build
from harmbench.runner.prediction import predict
from tests.support.samples import job_of, spec
from tests.support.training import SHAPE, SPLITS, copied, equal, learner_of, run_one

METERS = ("quality", "gradient_stability", "throughput", "memory", "representation")


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


# Phases.

STAGES = {"load": 2.0, "warm_up": 3.0, "train": 5.0, "predict": 7.0, "analyze": 11.0, "count_flops": 13.0}
BOOKED = {"load": 2.0, "warm-up": 3.0, "train": 5.0, "evaluate": 7.0, "analyze": 24.0}


class Clock:
    """Moves when a stage of a trial says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def spends(self, seconds: float, work):
        """The work, which also takes its time on this clock."""

        def slow(*arguments, **options):
            self.now += seconds
            return work(*arguments, **options)

        return slow


def test_every_stage_is_booked_and_the_phases_are_the_whole_trial(monkeypatch):
    clock = Clock()
    for name in ("load", "warm_up", "predict", "analyze", "count_flops"):
        monkeypatch.setattr(trials, name, clock.spends(STAGES[name], getattr(trials, name)))
    # The stage `train` is the first step alone, without the steps of the warm-up.
    step, plain_warm_up = single_learner.training_step, trials.warm_up
    slow_steps = iter([clock.spends(STAGES["train"], step)])

    def warm_up_then_slow_first_step(learner):
        warmed = plain_warm_up(learner)
        monkeypatch.setattr(single_learner, "training_step", lambda *rest: next(slow_steps, step)(*rest))
        return warmed

    monkeypatch.setattr(trials, "warm_up", warm_up_then_slow_first_step)
    record = run_one(job_of(spec(meters=METERS)), clock=clock)
    assert {phase.phase: phase.seconds for phase in record.phases} == BOOKED
    assert record.wall_seconds == sum(STAGES.values())


@pytest.mark.parametrize("protocol", [{}, {"lr": 1e30, "optimizer": "sgd"}], ids=["ok", "diverged"])
def test_phases_add_up_to_the_wall_time_of_a_real_trial(protocol):
    clock = itertools.count().__next__  # a second passes between two readings
    job = job_of(spec(None, "cross_entropy", meters=METERS, protocol=protocol))
    record = run_one(job, clock=clock)
    booked = sum(phase.seconds for phase in record.phases)
    assert record.wall_seconds == clock() - 1, "from the first reading to the last"
    assert booked == record.wall_seconds - 2, "only the first and the last second are outside of the boundaries"
    assert record.phases[-1].phase == "analyze"


# Analysis of held-out samples.


def test_the_sample_keeps_the_shares_of_the_classes():
    targets = torch.tensor([0] * 600 + [1] * 300 + [2] * 100)[torch.randperm(1000)]
    chosen = spread_sample(targets, 100)
    assert Counter(targets[chosen].tolist()) == {0: 60, 1: 30, 2: 10}
    assert len(set(chosen.tolist())) == 100
    assert sorted(spread_sample(targets, 5000).tolist()) == list(range(1000))


@pytest.mark.parametrize("backbone", ["mlp", "cnn"])
@pytest.mark.parametrize("distance", [None, "euclidean"])
def test_analysis_agrees_with_prediction(backbone, distance):
    loss = "harmonic" if distance else "cross_entropy"
    model = build(spec(distance, loss, backbone=backbone), SHAPE, 10)
    before = copied(model)
    found = analyze(model, SPLITS, Protocol(steps=1, analysis_samples=100))
    assert found.features.shape[0] == 100
    assert found.features.min() >= 0, "behind the last activation, as the head reads them"
    chosen = spread_sample(SPLITS.test_targets, 100)
    assert torch.equal(found.targets, SPLITS.test_targets[chosen])
    expected = predict(model, SPLITS.test_inputs[chosen], SPLITS.test_targets[chosen], Protocol(steps=1)).logits
    assert torch.equal(found.predicted, expected.argmax(-1))
    assert torch.equal(found.weights, model.head.weight.detach().double())
    assert found.has_centers == (distance is not None)
    assert equal(copied(model), before)


class NoisyBackbone(torch.nn.Module):
    """Differs between training and evaluation mode in two ways: batch norm and dropout."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Flatten(),
            torch.nn.Linear(64, 32),
            torch.nn.BatchNorm1d(32),
            torch.nn.ReLU(),
            torch.nn.Dropout(0.5),
        )

    def forward(self, inputs):
        return self.layers(inputs)


@pytest.mark.parametrize("was_training", [True, False])
def test_held_out_samples_are_analyzed_in_evaluation_mode(was_training):
    torch.manual_seed(0)
    model = Classifier(NoisyBackbone(), LinearHead(32, 10), Objective("cross_entropy", 32))
    with torch.no_grad():  # statistics of training, unlike those of the held-out batch
        for _ in range(3):
            model.train()(SPLITS.train_inputs[:64] * 3 - 1)
    model.train(was_training)
    before, protocol = copied(model), Protocol(steps=1, analysis_samples=100)
    held_out = analyze(model, SPLITS, protocol)
    assert model.training is was_training
    assert equal(copied(model), before), "the statistics of batch norm moved"
    sample = spread_sample(SPLITS.test_targets, 100)
    predicted = predict(model, SPLITS.test_inputs[sample], SPLITS.test_targets[sample], protocol)
    assert torch.equal(held_out.predicted, predicted.logits.argmax(-1))
    with torch.no_grad():
        features = model.eval().backbone(SPLITS.test_inputs[sample])
    assert torch.equal(held_out.features, features.double())


def test_held_out_samples_are_analyzed_once_and_only_if_a_meter_asks(monkeypatch):
    looked = []
    monkeypatch.setattr(trials, "analyze", lambda *rest: looked.append(rest) or analyze(*rest))
    run_one(job_of(spec(meters=("quality", "memory"))))
    assert looked == []
    run_one(job_of(spec(meters=("representation", "quality"))))
    assert len(looked) == 1


def test_analysis_changes_no_result():
    without = run_one(job_of(spec()))
    watched = run_one(job_of(spec(meters=("quality", *METERS[1:]))))
    assert [p.validation_nll for p in without.curve] == [p.validation_nll for p in watched.curve]
    assert without.value("test_nll") == watched.value("test_nll")


# Operations.


def test_operations_of_a_linear_classifier_are_those_on_paper():
    model = build(spec(None, "cross_entropy", backbone="mlp[hidden=32-16]"), SHAPE, 10)
    before = copied(model)
    flops = count_flops(model, SPLITS.train_inputs[:8], SPLITS.train_targets[:8], Protocol(steps=1))
    forward = 2 * 8 * (64 * 32 + 32 * 16)
    inputs_gradient = 2 * 8 * 64 * 32  # of the images: nobody needs it
    assert flops.backbone == 3 * forward - inputs_gradient
    assert flops.head == 3 * 2 * 8 * 16 * 10
    assert flops.is_counted
    assert equal(copied(model), before)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_operations_of_a_distance_head_are_its_formula():
    model = build(spec("manhattan", backbone="mlp[hidden=32-16]"), SHAPE, 10)
    flops = count_flops(model, SPLITS.train_inputs[:8], SPLITS.train_targets[:8], Protocol(steps=1))
    assert flops.head == 3 * 3 * 8 * 16 * 10
    assert not flops.is_counted
    assert flops.backbone == 3 * 2 * 8 * (64 * 32 + 32 * 16) - 2 * 8 * 64 * 32


def test_a_euclidean_head_costs_what_a_linear_layer_costs_and_a_full_matrix_its_maps():
    linear = 3 * 2 * 64 * 256 * 10
    assert distance_flops(DistanceHead(256, 10, "euclidean"), rows=64) == linear
    assert distance_flops(DistanceHead(256, 10, "mahalanobis[variant=diagonal]"), rows=64) == linear
    maps = 3 * 2 * (64 + 10) * 256**2
    assert distance_flops(DistanceHead(256, 10, "mahalanobis"), rows=64) == linear + maps


@pytest.mark.parametrize("distance", DISTANCES.every_variant(), ids=str)
def test_every_distance_with_an_operator_has_a_formula(distance):
    found = distance_flops(DistanceHead(8, 3, distance), rows=4)
    assert (found is not None) == (distance.operator is not None)


# Warm-up and the machine.


def warmed(seconds: list[float], monkeypatch, **protocol) -> WarmUp:
    """Warm-up whose steps take these seconds, by a clock that reads them off the list."""
    readings = iter([reading for step_seconds in seconds for reading in (0.0, step_seconds)])
    learner = learner_of(spec(protocol={"steps": 1, "evaluations": 1, **protocol}))
    with monkeypatch.context() as patch:
        patch.setattr(warm_up.time, "perf_counter", lambda: next(readings))
        return warm_up.warm_up(learner)


def test_warm_up_goes_on_until_the_step_time_settles(monkeypatch):
    assert warmed([1.0] * 40, monkeypatch) == WarmUp(10, settled=True)
    assert warmed([9.0] * 5 + [1.0] * 40, monkeypatch) == WarmUp(13, settled=True)
    assert warmed([2.0**-i for i in range(60)], monkeypatch) == WarmUp(30, settled=False)
    assert warmed([1.0] * 40, monkeypatch, warmup_steps=17) == WarmUp(17, settled=True)
    assert warmed([1.0] * 40, monkeypatch, warmup_steps=4, warmup_max_steps=4) == WarmUp(4, settled=False)
    assert warmed([1.0] * 40, monkeypatch, warmup_steps=0) == WarmUp(0, settled=False)


def test_the_machine_is_watched(monkeypatch):
    record = run_one(job_of(spec()))
    assert record.machine.before > 0
    assert record.machine.after > 0
    busy, own = iter([100.0, 130.0]), iter([10.0, 25.0])
    elapsed = iter([0.0, 10.0])
    monkeypatch.setattr(machine, "_busy_seconds", lambda: next(busy))
    monkeypatch.setattr(machine, "_own_seconds", lambda: next(own))
    monkeypatch.setattr(machine.time, "perf_counter", lambda: next(elapsed))
    workload = iter([1.0, 1.25])
    monkeypatch.setattr(machine, "calibrate", lambda device: next(workload))
    watch = machine.MachineWatch(torch.device("cpu"))
    watch.before()
    found = watch.after()
    assert found.busy_elsewhere == pytest.approx(1.5)  # 30 s of the machine, 15 of them ours, in 10 s
    assert (found.before, found.after) == (1.0, 1.25)
