"""Batched seeds: each gives the same result whatever its siblings, and shared time and energy are marked as shared."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import pytest
import torch

from harmbench.backbones import BACKBONES
from harmbench.backbones._token_networks import TokenMlpNetwork
from harmbench.errors import SuiteError, UsageError
from harmbench.nn.distances import DISTANCES
from harmbench.planning import plan
from harmbench.planning import suite as suites
from harmbench.planning.budget import Budget, Watch
from harmbench.results import store
from harmbench.results.records import Protocol
from harmbench.runner import trial
from harmbench.runner.batched_learner import BatchedLearner
from harmbench.runner.jobs import group_seeds
from harmbench.runner.model import Classifier, build
from harmbench.runner.prediction import predict
from harmbench.runner.stack import ModelStack
from tests.support.samples import job_of, spec
from tests.support.training import SPLITS, run_one

GROUP = 3
TASK = "modular_addition[p=11]"
# What the trials took is not part of what they found.
TIMED = ("second", "joules", "throughput", "memory", "wait", "warm_up", "mfu")
METERS = (
    "quality",
    "convergence",
    "throughput",
    "energy",
    "memory",
    "gradient_stability[every=4]",
    "grokking",
    "structure",
)
CELLS = (
    ("token_mlp", None, "cross_entropy"),
    ("token_mlp", "euclidean", "harmonic"),
    ("token_mlp[tied=false]", "cosine", "harmonic[n=learnable]"),
    ("token_mlp", "mahalanobis[variant=diagonal]", "harmonic"),
    ("token_mlp", "hamming[variant=gumbel]", "harmonic"),
    ("token_transformer", "euclidean", "distance_softmax"),
)


def a_spec(backbone="token_mlp", distance="euclidean", loss="harmonic", seed=0, dataset=TASK, **protocol):
    """A trial of a group of three."""
    settings = {"steps": 24, "batch_size": 16, "evaluations": 2, "optimizer": "adamw", "warmup_steps": 0, **protocol}
    settings = {"batched_seeds": GROUP, "target": 0.01, **settings}
    return spec(distance, loss, seed, dataset=dataset, backbone=backbone, meters=METERS, protocol=settings)


def run(specs, link=None, **more):
    """Records by seed of trials of one group."""
    siblings = [trial.Sibling(spec=other, order=other.seed) for other in specs[1:]]
    job = job_of(specs[0], order=specs[0].seed, siblings=tuple(siblings))
    return {record.spec.seed: record for record in trial.run_trial(job, link or Joules(), **more)}


class Joules(trial.SilentLink):
    """Six more of the processor at each reading."""

    def __init__(self):
        self.readings = 0

    def read_energy(self):
        self.readings += 1
        joules = {"cpu": 6.0 * self.readings, "gpu": None, "ram": None}
        return super().read_energy().model_copy(update={"joules": joules})


def findings(record):
    """Everything a trial found, without what it took."""
    values = {m.name: m.value for m in record.measurements if not any(word in m.name for word in TIMED)}
    curve = [(p.step, p.train_loss, p.validation_accuracy, p.validation_nll) for p in record.curve]
    return record.status, record.reason, values, curve, record.curves


@pytest.mark.parametrize(("backbone", "distance", "loss"), CELLS)
def test_a_seed_is_bit_for_bit_the_same_in_any_company(backbone, distance, loss):
    specs = [a_spec(backbone, distance, loss, seed) for seed in range(GROUP)]
    everyone = run(specs)
    assert all(record.status == "ok" and record.group_size == GROUP for record in everyone.values())
    assert len({findings(record)[2]["test_nll"] for record in everyone.values()}) == GROUP, "seeds differ"
    alone, two = run(specs[1:2]), run([specs[2], specs[0]])
    assert findings(alone[1]) == findings(everyone[1])
    assert {seed: findings(record) for seed, record in two.items()} == {
        seed: findings(everyone[seed]) for seed in (0, 2)
    }


@pytest.mark.parametrize(
    ("backbone", "distance", "loss", "dataset"),
    [
        *((*cell, TASK) for cell in CELLS[:4]),
        ("token_transformer[dropout=0]", "euclidean", "harmonic", "lattice[train_fraction=0.5]"),
        ("mlp[hidden=16]", "manhattan", "harmonic", "digits"),
        ("pixels", None, "cross_entropy", "digits"),
    ],
)
def test_a_seed_trains_as_it_does_alone_but_for_rounding(backbone, distance, loss, dataset):
    protocol = {"steps": 8, "grad_clip": 0.5, "optimizer": "sgd", "lr": 0.1}
    together = run([a_spec(backbone, distance, loss, seed, dataset, **protocol) for seed in (1, 2)])
    for seed in (1, 2):
        one = a_spec(backbone, distance, loss, seed, dataset, batched_seeds=1, **protocol)
        alone = run_one(job_of(one), Joules())
        mine = together[seed]
        assert mine.sizes == alone.sizes
        for ours, theirs in zip(mine.curve, alone.curve, strict=True):
            assert ours.train_loss == pytest.approx(theirs.train_loss, rel=2e-4)
            assert ours.validation_nll == pytest.approx(theirs.validation_nll, rel=2e-3)
        for name in ("weight_norm", "gradient_norm_cv", "clipped_step_share"):
            assert mine.value(name) == pytest.approx(alone.value(name), rel=1e-2), name


@pytest.mark.parametrize(("backbone", "distance", "loss"), [CELLS[0], CELLS[1], CELLS[5]])
def test_one_that_diverges_is_recorded_and_disturbs_nobody(backbone, distance, loss, monkeypatch):
    specs = [a_spec(backbone, distance, loss, seed, steps=40) for seed in range(GROUP)]
    calm = run(specs)
    real = trial.build

    def build_a_bad_one(one, *shape):
        model = real(one, *shape)
        if one.seed == 1:
            with torch.no_grad():
                next(iter(model.backbone.layers.parameters())).fill_(math.nan)
        return model

    monkeypatch.setattr(trial, "build", build_a_bad_one)
    wild = run(specs)
    assert (wild[1].status, wild[1].reason) == ("diverged", "loss nan at step 1")
    assert wild[1].curve == ()
    assert wild[1].value("nonfinite_step_share") == 1
    assert [findings(wild[seed]) for seed in (0, 2)] == [findings(calm[seed]) for seed in (0, 2)]
    assert wild[0].group_size == GROUP, "its share of the time is still a third"
    assert run([specs[1]])[1].status == "diverged", "and training ends where nobody is left"


def test_seconds_and_joules_are_equal_shares_and_nobodys_measure():
    ticks = iter(range(1000))
    link = Joules()
    records = run([a_spec(seed=seed) for seed in (0, 1)], link, clock=lambda: float(next(ticks)))
    phases = [phase for record in records.values() for phase in record.phases]
    wall = sum(record.wall_seconds for record in records.values())
    assert sum(phase.seconds for phase in phases) == pytest.approx(wall - 2), "two ticks are outside the boundaries"
    assert sum(phase.joules["cpu"] for phase in phases) == pytest.approx(6.0 * (link.readings - 1))
    one = records[0]
    assert one.group_size == 2
    assert any("equal share" in said and "2 trial" in said for said in one.caveats)
    for name in ("throughput", "step_seconds_p50", "peak_memory", "cpu_joules", "seconds_to_target", "mfu"):
        missing = next(m for m in one.measurements if m.name == name)
        assert missing.value is None
        assert "2 seeds were trained together" in missing.reason, name
    assert one.value("steps_to_target") is not None
    assert one.value("flops_per_step") is not None


def stack(backbone="token_mlp", distance=None, loss="cross_entropy", shape=(2, 11), classes=11, count=3):
    specs = [a_spec(backbone, distance, loss, seed) for seed in range(count)]
    return ModelStack([build(one, shape, classes) for one in specs])


def a_batch(address, rows=12, count=3):
    """Inputs (S, B, ...) that a backbone takes, and the shape of one."""
    generator = torch.Generator().manual_seed(0)
    if BACKBONES.parse(address).takes == "tokens":
        return torch.randint(11, (count, rows, 3), generator=generator), (3, 11)
    return torch.randn(count, rows, 1, 8, 8, generator=generator), (1, 8, 8)


STACKED = [name for name, member in BACKBONES.members.items() if member.stacks]


@pytest.mark.parametrize("address", [*STACKED, "token_transformer[heads=1,layers=3]", "token_mlp[width=5]"])
def test_every_backbone_that_stacks_gives_what_its_modules_give(address):
    inputs, shape = a_batch(address)
    made = stack(address, shape=shape)
    for model in made.models:
        model.eval()
    with torch.no_grad():
        each = torch.stack([model.backbone(own) for model, own in zip(made.models, inputs, strict=True)])
        torch.testing.assert_close(made.features(inputs), each, rtol=1e-5, atol=1e-5)


def mixed(made, inputs, targets):
    """Whether what is learned at place 0 depends on what is at the others."""

    def gradients():
        for model in made.models:
            model.train()
        for p in made.parameters.values():
            p.grad = None
        torch.manual_seed(1)
        made.losses(inputs, targets).sum().backward()
        return [None if p.grad is None else p.grad[0].clone() for p in made.parameters.values()]

    before = gradients()
    with torch.no_grad():
        for p in made.parameters.values():
            p[1].mul_(-3), p[2].fill_(math.nan)
    return any(old is not None and not torch.equal(old, new) for old, new in zip(before, gradients(), strict=True))


@pytest.mark.parametrize("address", STACKED)
@pytest.mark.parametrize(("distance", "loss"), [(None, "cross_entropy"), ("euclidean", "harmonic")])
def test_models_of_a_stack_do_not_mix(address, distance, loss):
    inputs, shape = a_batch(address)
    targets = torch.arange(12).remainder(11).expand(3, 12)
    assert not mixed(stack(address, distance, loss, shape), inputs, targets)


class Leaky(TokenMlpNetwork):
    """Wrong: looks at the other models."""

    def stacked(self, parameters, tokens):
        features = super().stacked(parameters, tokens)
        return features - features.mean(0)


def test_a_network_that_mixes_models_is_caught():
    made = stack()
    made.models[0].backbone.__class__ = Leaky
    inputs, targets = torch.randint(11, (3, 12, 2)), torch.randint(11, (3, 12))
    assert mixed(made, inputs, targets)


def test_models_with_buffers_are_refused():
    models = stack("mlp", shape=(1, 8, 8)).models
    for model in models:
        model.backbone.append(torch.nn.BatchNorm1d(256))
    with pytest.raises(UsageError, match=r"buffers \(backbone.5.running_mean\) cannot be stacked"):
        ModelStack(models)


@pytest.mark.parametrize("loss", ["harmonic", "harmonic[n=learnable]", "distance_softmax"])
@pytest.mark.parametrize("distance", [str(each) for each in DISTANCES.every_variant()])
def test_distance_heads_lose_and_learn_what_each_does_alone(distance, loss):
    made = stack("token_mlp[tied=false]", distance, loss)
    inputs, targets = torch.randint(11, (3, 200, 2)), torch.randint(11, (3, 200))  # too many for the formula
    with torch.no_grad():  # one whose numbers must be scaled before they are squared
        made.parameters["backbone.layers.2.weight"][2].mul_(1e9)
        made.parameters["head.weight"][2].mul_(1e9)
        features = made.features(inputs)
    torch.manual_seed(3)
    losses = made.losses(inputs, targets)
    losses.sum().backward()
    made.assign_gradients()
    ours = [[p.grad.clone() for p in model.head_parameters()] for model in made.models]
    torch.manual_seed(3)
    for position, model in enumerate(made.models):
        loss_alone, _, *alone = made.head_gradients(features[position], targets[position], position)
        assert torch.equal(losses[position].detach(), loss_alone)
        for name, mine, its in zip(model.head_parameters(), ours[position], alone, strict=True):
            # n's own gradient goes through the exponential once more, or once less.
            assert torch.equal(mine, its) or torch.allclose(mine, its, rtol=1e-5), name.shape


def test_the_kernel_takes_all_heads_in_one_call():
    made = stack(distance="euclidean", loss="harmonic")
    if "native" not in made.models[0].how(200):
        pytest.skip("no compiled kernels here")
    assert made.one_call is not None
    assert "one call" in made.how()
    assert stack(distance="hellinger", loss="harmonic").one_call is None, "it maps its vectors first"


def test_dropout_keeps_its_share_and_differs_between_models():
    network = BACKBONES.parse("token_transformer[dropout=0.25]").build((3, 11))
    masks = network._masks(4, 3, 64, 16, torch.zeros(1))
    for mask in masks:
        assert mask.unique().tolist() == pytest.approx([0, 1 / 0.75])
        assert (mask > 0).float().mean().item() == pytest.approx(0.75, abs=0.03)
        assert not torch.equal(mask[0], mask[1])
    assert len(masks) == 8


class Dropout(torch.nn.Module):
    """A backbone that a group runs by torch.func.vmap, and that differs between training and evaluation mode."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Linear(64, 32), torch.nn.LayerNorm(32), torch.nn.ReLU(), torch.nn.Dropout(0.5)
        )

    def forward(self, inputs):
        return self.layers(inputs)


@pytest.mark.parametrize(
    ("distance", "loss"),
    [(None, "cross_entropy"), ("euclidean", "harmonic"), ("hamming[variant=gumbel]", "harmonic")],  # the last draws
)
@pytest.mark.parametrize("was_training", [True, False])
def test_validation_of_a_group_is_the_prediction_of_each_model(distance, loss, was_training):
    specs = [a_spec("mlp[hidden=32]", distance, loss, seed, "digits") for seed in range(GROUP)]
    models = [build(one, (1, 8, 8), 10) for one in specs]
    models = [Classifier(Dropout(), model.head, model.objective).train(was_training) for model in models]
    learner = BatchedLearner(specs, models, [SPLITS] * GROUP)
    accuracies, nlls = learner.validate()
    assert all(module.training is was_training for model in models for module in model.modules())
    alone = [predict(model, SPLITS.validation_inputs, SPLITS.validation_targets, specs[0].protocol) for model in models]
    assert accuracies == [predicted.hits.double().mean().item() for predicted in alone]
    assert nlls == pytest.approx([predicted.nll.mean().item() for predicted in alone], rel=1e-5)
    assert len(set(nlls)) == GROUP


def test_a_plan_refuses_backbones_that_cannot_be_stacked():
    content = {
        "name": "s",
        "datasets": ["digits"],
        "backbones": ["mlp", "timm:resnet18"],
        "losses": ["cross_entropy"],
        "protocol": {"steps": 3, "batched_seeds": 2},
    }
    with pytest.raises(SuiteError, match=r"batched_seeds: seeds of timm:resnet18.* cannot be trained together .*mlp"):
        plan.expand(suites.check(content, {}, "s"), "cpu", {})
    assert Protocol(steps=3).batched_seeds == 1, "off unless asked for"


def test_stacks_are_of_one_cell_and_of_neighboring_seeds():
    trials = [(order, a_spec(seed=seed, lr=lr)) for order, (seed, lr) in enumerate([(4, 1), (0, 1), (5, 1), (4, 2)])]
    assert [[order for order, _ in stack] for stack in group_seeds(trials)] == [[0, 2], [1], [3]]
    lone = [(order, a_spec(seed=order, batched_seeds=1)) for order in range(3)]
    assert [len(stack) for stack in group_seeds(lone)] == [1, 1, 1]


def test_a_budget_counts_all_seeds_of_a_stack():
    specs = [a_spec(seed=seed) for seed in range(6)]
    watch = Watch(Budget("25s", 25.0, "s"), specs)
    assert watch.may_start(specs[:3], "cpu", 0.0)
    assert not watch.may_start(specs[3:], "cpu", 15.0), "three of 5 s do not fit into 10"
    assert watch.stopped == "the next 3 trials, trained together, take about 15 s, and 10 s are left"


SUITE = """
name: tiny
datasets: ["modular_addition[p=11]"]
backbones: [token_mlp]
metrics: [euclidean]
losses: [cross_entropy, harmonic]
seeds: 4
protocol: {steps: 20, batch_size: 16, evaluations: 2, batched_seeds: 3}
meters: [quality, energy, grokking]
artifacts: [embedding]
idle_seconds: 0
"""


@pytest.mark.slow
def test_run_goes_on_with_the_seeds_that_are_missing(tmp_path):
    (tmp_path / "tiny.yaml").write_text(SUITE)

    def harmbench(*arguments):
        command = [sys.executable, "-m", "harmbench", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)

    harmbench("run", "tiny.yaml", "--out", "whole")
    harmbench("run", "tiny.yaml", "--out", "parts", "--seeds", "2")
    lines = (tmp_path / "parts" / "trials.jsonl").read_text().splitlines()
    kept = [line for line in lines if json.loads(line)["spec"]["seed"] == 1]  # as if the rest had been lost
    (tmp_path / "parts" / "trials.jsonl").write_text("\n".join(kept) + "\n")
    said = harmbench("run", "tiny.yaml", "--out", "parts")
    assert "6 ok, 2 done before" in said.stdout
    whole, parts = ({r.id: r for r in store.read(tmp_path / name).trials} for name in ("whole", "parts"))
    assert {key: findings(record) for key, record in parts.items()} == {
        key: findings(record) for key, record in whole.items()
    }
    assert sorted(record.group_size for record in parts.values()) == [1, 1, 2, 2, 2, 2, 2, 2]
    assert len(list((tmp_path / "parts" / "artifacts").glob("*.npz"))) == 8
    assert "equal share" in harmbench("report", "parts", "--format", "md").stdout
