"""The contract of a meter, over every registered one, and each meter against an independent computation."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics
from torch import nn

from harmbench.datasets import DATASETS
from harmbench.meters import METERS, Outcome, Step, Watcher
from harmbench.records import COMPONENTS, EnergyOrigin, EnergyReading, PhaseTotal, Protocol
from harmbench.runner.ledger import PhaseLedger
from harmbench.runner.model import Classifier, build
from harmbench.runner.train import Training
from tests.samples import COUNTED, MODELLED, point, spec

EVERY = [pytest.param(meter, id=str(meter)) for meter in METERS.every_variant()]
SPLITS = DATASETS.parse("digits").load(Path("data"), download=False, seed=0)
RNG = np.random.default_rng(0)
STEADY = settings(derandomize=True, deadline=None, max_examples=40)


def outcome(**more) -> Outcome:
    """What a trial of 100 steps of 0.05 s might have ended with."""
    joules = {"cpu": 600.0, "gpu": 900.0, "ram": 60.0}
    fields = {
        "protocol": Protocol(steps=100, target=0.9),
        "batch_size": 64,
        "steps": 100,
        "step_seconds": [0.05] * 100,
        "curve": [point(50, accuracy=0.8), point(100, accuracy=0.92)],
        "phases": [PhaseTotal(phase="train", seconds=6.0, joules=joules, windows=2)],
        "energy_origins": COUNTED,
        "best": point(100, accuracy=0.92),
        "test_logits": torch.from_numpy(RNG.normal(size=(40, 4))).float(),
        "test_targets": torch.from_numpy(RNG.integers(0, 4, 40)),
        "peak_memory_bytes": 5_000_000,
    }
    return Outcome(**{**fields, **more})


def measured(meter: str, found: Outcome, watcher: Watcher | None = None):
    watcher = watcher or METERS.parse(meter).watcher()
    return {measurement.name: measurement for measurement in watcher.measurements(found)}


def train(watchers: Sequence[Watcher], steps: int = 30, distance: str = "euclidean", **protocol) -> Classifier:
    """The MLP on digits, trained for a few steps."""
    torch.set_num_threads(1)
    trial = spec(distance, protocol={"steps": steps, "evaluations": 2, **protocol})
    model = build(trial, tuple(SPLITS.train_inputs.shape[1:]), SPLITS.num_classes)
    Training(trial, model, SPLITS, watchers, ledger(), lambda step, steps: None).run()
    return model


def ledger() -> PhaseLedger:
    return PhaseLedger(time.perf_counter, lambda: EnergyReading(joules={}), lambda: None)


# The contract.


@pytest.mark.parametrize("meter", EVERY)
def test_measurements_are_complete(meter):
    watcher = meter.watcher()
    train([watcher], steps=12)
    found = [*watcher.measurements(outcome()), *watcher.partial()]
    for measurement in found:
        assert measurement.unit
        assert measurement.better in {"higher", "lower", "neither"}
        assert (measurement.value is None) == (measurement.origin == "missing")
        assert measurement.reason or measurement.value is not None
    assert found


@pytest.mark.parametrize("meter", EVERY)
def test_nothing_to_measure_is_missing_with_a_reason(meter):
    nothing = dict.fromkeys(COMPONENTS, None)
    empty = outcome(
        phases=[PhaseTotal(phase="train", seconds=6.0, joules=nothing, windows=2)],
        curve=[point(100, accuracy=0.1, nll=None, train_loss=None, train_joules=nothing)],
        test_logits=torch.full((40, 4), torch.nan),
    )
    for measurement in meter.watcher().measurements(empty):
        assert measurement.value is not None or len(measurement.reason) > 3


def test_names_are_unique_over_all_meters():
    names = [m.name for meter in METERS.every_variant() for m in meter.watcher().measurements(outcome())]
    assert len(set(names)) == len(names)


def is_untouched_by(watchers: Sequence[Watcher], **options) -> None:
    alone, watched = train([], **options), train(watchers, **options)
    for (name, one), other in zip(alone.state_dict().items(), watched.state_dict().values(), strict=True):
        assert torch.equal(one, other), f"{name} differs: training is not bit-identical with the meter"


NOISY = "hamming[variant=gumbel]"  # draws from torch's generator while it trains
TRAINED = {"plain": {}, "clipped": {"grad_clip": 0.5}, "noisy": {"distance": NOISY}, "sgd": {"optimizer": "sgd"}}


@pytest.mark.parametrize("options", TRAINED.values(), ids=TRAINED)
def test_training_is_bit_identical_with_and_without_meters(options):
    is_untouched_by([meter.watcher() for meter in METERS.every_variant()], **options)


class DrawsNumbers(Watcher):
    def on_step(self, step: Step) -> None:
        torch.rand(1)


class ClipsWeights(Watcher):
    def on_step(self, step: Step) -> None:
        step.parameters[0].data.clamp_(-0.1, 0.1)


class StepsAgain(Watcher):
    def on_step(self, step: Step) -> None:
        for parameter in step.parameters:
            parameter.data.sub_(parameter.grad, alpha=1e-6)


@pytest.mark.parametrize("wrong", [DrawsNumbers, ClipsWeights, StepsAgain])
def test_a_meter_that_disturbs_training_is_caught(wrong):
    with pytest.raises(AssertionError, match="not bit-identical"):
        is_untouched_by([wrong()], distance=NOISY)


# Quality.


def quality(logits: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    found = measured("quality", outcome(test_logits=torch.from_numpy(logits), test_targets=torch.from_numpy(targets)))
    return {name.removeprefix("test_"): m.value for name, m in found.items() if name.startswith("test_")}


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def expected_calibration_error(probabilities: np.ndarray, targets: np.ndarray, bins: int = 15) -> float:
    total = 0.0
    confidence, right = probabilities.max(1), probabilities.argmax(1) == targets
    for low, high in zip(np.linspace(0, 1, bins + 1), np.linspace(0, 1, bins + 1)[1:], strict=False):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            total += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    return total


def is_sklearns(found: dict[str, float], logits: np.ndarray, targets: np.ndarray) -> None:
    predicted, probabilities = logits.argmax(1), softmax(logits)
    expected = {
        "accuracy": sklearn_metrics.accuracy_score(targets, predicted),
        "balanced_accuracy": sklearn_metrics.balanced_accuracy_score(targets, predicted),
        "macro_f1": sklearn_metrics.f1_score(targets, predicted, average="macro", zero_division=0),
        "nll": sklearn_metrics.log_loss(targets, probabilities, labels=range(logits.shape[1])),
        "calibration_error": expected_calibration_error(probabilities, targets),
    }
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)


@STEADY
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true", "ignore:A single label was found")
@given(st.integers(2, 6), st.integers(1, 60), st.sampled_from([0.1, 1.0, 5.0]), st.integers(0, 10**6))
def test_quality_is_sklearns(classes, samples, scale, seed):
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, classes, samples)
    logits = rng.normal(size=(samples, classes)) * scale + np.eye(classes)[targets]
    is_sklearns(quality(logits, targets), logits, targets)


ABSENT = {
    "a class that neither occurs nor is predicted": ([0, 1, 1], [0, 0, 1]),
    "a class that is predicted only": ([0, 0, 1], [0, 2, 1]),
    "a class that is never predicted": ([0, 1, 2], [0, 1, 1]),
    "all wrong": ([0, 0, 0], [1, 1, 1]),
}


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true", "ignore:A single label was found")
@pytest.mark.parametrize(("targets", "predicted"), ABSENT.values(), ids=ABSENT)
def test_quality_of_absent_classes_is_sklearns(targets, predicted):
    logits = 3 * np.eye(4)[predicted]
    is_sklearns(quality(logits, np.array(targets)), logits, np.array(targets))


def over_all_classes(logits, targets):
    found = quality(logits, targets)
    return {**found, "macro_f1": found["macro_f1"] * 2 / 4}


def with_accuracy_for_balanced(logits, targets):
    found = quality(logits, targets)
    return {**found, "balanced_accuracy": found["accuracy"]}


@pytest.mark.parametrize("wrong", [over_all_classes, with_accuracy_for_balanced])
def test_wrong_quality_is_caught(wrong):
    logits, targets = 3 * np.eye(4)[[0, 1, 1]], np.array([0, 0, 1])
    with pytest.raises(AssertionError, match="comparison failed"):
        is_sklearns(wrong(logits, targets), logits, targets)


# Convergence.

CURVES = {
    "in the middle": ([0.5, 0.9, 0.7, 0.95], 20),
    "at once": ([0.91], 10),
    "at the end": ([0.1, 0.2, 0.9], 30),
    "never": ([0.1, 0.89], None),
}


@pytest.mark.parametrize(("accuracies", "step"), CURVES.values(), ids=CURVES)
def test_convergence_is_the_first_validation_at_the_target(accuracies, step):
    curve = [point(10 * (i + 1), accuracy) for i, accuracy in enumerate(accuracies)]
    found = measured("convergence", outcome(curve=curve, energy_origins=MODELLED))
    joules = (found["cpu_joules_to_target"].value, found["ram_joules_to_target"].value)
    assert found["steps_to_target"].value == step
    assert found["seconds_to_target"].value == (step and step / 10)
    assert joules == ((2.0 * step, 1.0 * step) if step else (None, None))


def test_a_miss_is_censored_and_says_how_far_it_went():
    found = measured("convergence", outcome(curve=[point(50, 0.85), point(100, 0.8)]))
    for name in ("steps_to_target", "seconds_to_target", "cpu_joules_to_target"):
        assert found[name].value is None
        assert found[name].reason == "not reached in 100 steps: best 0.850, target 0.9"


# Throughput.


def test_throughput_is_numpys():
    seconds = RNG.lognormal(size=57)
    found = measured("throughput", outcome(step_seconds=list(seconds), batch_size=32))
    assert found["throughput"].value == pytest.approx(32 / seconds.mean())
    assert found["step_seconds_p50"].value == pytest.approx(np.percentile(seconds, 50))
    assert found["step_seconds_p95"].value == pytest.approx(np.percentile(seconds, 95))


def test_throughput_of_one_step():
    found = measured("throughput", outcome(step_seconds=[0.5]))
    assert [m.value for m in found.values()] == [128, 0.5, 0.5]


# Energy.


def energy(seconds: float, component: str, origin: EnergyOrigin, joules: float | None = 500.0):
    spent = {**dict.fromkeys(COMPONENTS), component: joules}
    phase = PhaseTotal(phase="train", seconds=seconds, joules=spent, windows=1)
    return measured("energy", outcome(phases=[phase], energy_origins={**COUNTED, component: origin}))


COUNTER = EnergyOrigin(method="counter", scope="board", detail="1 board(s) through NVML")
MODEL = EnergyOrigin(method="model", scope="machine", detail="cpu_load, TDP 100 W")
ENERGY = {
    "long counter window": (5.0, COUNTER, 500.0, "measured", "1 board(s) through NVML"),
    "short counter window": (4.9, COUNTER, 500.0, "measured", "window of 4.9 s is under 5 s: unreliable"),
    "too short a counter window": (0.99, COUNTER, None, "missing", "window of 0.99 s is under 1 s"),
    "model": (0.5, MODEL, 500.0, "modelled", "model: cpu_load, TDP 100 W"),
    "missing": (9.0, EnergyOrigin(method="missing", detail="no GPU here"), None, "missing", "no GPU here"),
}


@pytest.mark.parametrize(("seconds", "origin", "value", "kind", "reason"), ENERGY.values(), ids=ENERGY)
def test_energy_follows_its_rules(seconds, origin, value, kind, reason):
    found = energy(seconds, "gpu", origin)
    total, each = found["gpu_joules"], found["gpu_joules_per_sample"]
    assert (total.value, total.origin, total.reason, each.origin) == (value, kind, reason, kind)
    assert each.value == (value and value / 6400)


@pytest.mark.parametrize("component", COMPONENTS)
def test_joules_that_were_not_read_are_missing_and_not_blamed_on_their_source(component):
    found = energy(9.0, component, MODEL, joules=None)[f"{component}_joules"]
    assert (found.value, found.reason) == (None, "not read at every border of the window")


# Gradient stability.


class Recorder(Watcher):
    """Keeps what the meter sees, in float64."""

    def __init__(self) -> None:
        self.gradients: list[np.ndarray] = []
        self.clip_norms: list[float | None] = []
        self.losses: list[float] = []

    def on_step(self, step: Step) -> None:
        flat = [torch.zeros_like(p) if p.grad is None else p.grad for p in step.parameters]
        self.gradients.append(np.concatenate([g.double().numpy().ravel() for g in flat]))
        self.clip_norms.append(None if step.clip_norm is None else step.clip_norm.item())
        self.losses.append(step.loss.item())


def stability(recorded: Recorder, spike: float = 5.0, window: int = 101) -> dict[str, float]:
    """The definition in the meter's docstring, word for word, over the whole recording at once."""
    seen = np.array([np.linalg.norm(g) for g in recorded.gradients])
    norms = np.array([s if c is None else c for s, c in zip(seen, recorded.clip_norms, strict=True)])
    losses = np.array(recorded.losses)
    fine = np.isfinite(norms) & np.isfinite(losses)
    good, kept = norms[fine], losses[fine]
    spikes = [good[t] > spike * np.median(good[max(0, t - window) : t]) for t in range(10, len(good))]
    smooth = [kept[0]]
    for loss in kept[1:]:
        smooth.append(0.9 * smooth[-1] + 0.1 * loss)
    pairs = zip(recorded.gradients, recorded.gradients[1:], fine, fine[1:], strict=False)
    cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b, ok, ok_too in pairs if ok and ok_too]
    return {
        "gradient_norm_cv": good.std(ddof=1) / good.mean(),
        "gradient_spike_rate": float(np.mean(spikes)),
        "clipped_step_share": float(np.mean(fine & (norms > seen * 1.001))),
        "nonfinite_step_share": float(np.mean(~fine)),
        "loss_roughness": np.diff(kept).std(ddof=1) / np.std(smooth, ddof=1),
        "gradient_cosine": float(np.mean(cosines)),
    }


def values(watcher: Watcher) -> dict[str, float]:
    """Missing ones as NaN."""
    return {m.name: math.nan if m.value is None else m.value for m in watcher.partial()}


def is_its_definition(watcher: Watcher, recorded: Recorder, *options: float) -> None:
    expected = stability(recorded, *options)
    if None in recorded.clip_norms:
        expected["clipped_step_share"] = math.nan
    assert values(watcher) == pytest.approx(expected, rel=2e-4, abs=1e-9, nan_ok=True)


RUNS = {
    "plain": ({}, "gradient_stability"),
    "often clipped": ({"grad_clip": 0.5}, "gradient_stability"),
    "never clipped": ({"grad_clip": 1e6}, "gradient_stability"),
    "rough": ({"lr": 0.03, "batch_size": 4, "optimizer": "sgd"}, "gradient_stability[spike=1.5,window=11]"),
}


@pytest.mark.parametrize(("protocol", "meter"), RUNS.values(), ids=RUNS)
def test_gradient_stability_is_its_definition(protocol, meter):
    component = METERS.parse(meter)
    watcher, recorder = component.watcher(), Recorder()
    train([watcher, recorder], steps=70, **protocol)
    is_its_definition(watcher, recorder, component.spike, component.window)


def feed(watcher: Watcher, gradients: Sequence[float], losses: Sequence[float]) -> None:
    """Steps of one parameter of two numbers."""
    for index, (gradient, loss) in enumerate(zip(gradients, losses, strict=True), start=1):
        parameter = nn.Parameter(torch.zeros(2))
        parameter.grad = torch.tensor([gradient, 0.5 * gradient + 0.1])
        watcher.on_step(Step(index, torch.tensor(loss), [parameter], None))


def test_steps_that_are_not_finite_count_and_disturb_nothing_else():
    gradients, losses = RNG.normal(size=60), RNG.normal(size=60)
    gradients[[5, 6, 30]] = math.inf, math.nan, math.nan
    losses[[6, 30]] = math.nan
    watcher, recorder = METERS.parse("gradient_stability").watcher(), Recorder()
    for each in (watcher, recorder):
        feed(each, gradients.tolist(), losses.tolist())
    is_its_definition(watcher, recorder)
    assert values(watcher)["nonfinite_step_share"] == 3 / 60


def test_spikes_are_found_where_they_were_put():
    gradients = np.ones(50)
    gradients[[4, 20, 40]] = 50.0  # the first comes before there are ten steps to compare with
    watcher = METERS.parse("gradient_stability").watcher()
    feed(watcher, gradients.tolist(), [1.0] * 50)
    assert values(watcher)["gradient_spike_rate"] == 2 / 40


def test_a_loss_that_does_not_move_has_no_roughness():
    watcher = METERS.parse("gradient_stability").watcher()
    feed(watcher, [1.0] * 20, [1.0] * 20)
    found = {m.name: m for m in watcher.partial()}
    assert (found["loss_roughness"].value, found["loss_roughness"].reason) == (None, "undefined")
    assert found["clipped_step_share"].reason == "the protocol does not clip"


def test_few_steps_say_so():
    watcher = METERS.parse("gradient_stability").watcher()
    feed(watcher, [1.0] * 3, [1.0, 2.0, 1.0])
    assert {m.name: m.reason for m in watcher.partial()}["gradient_spike_rate"] == "too few steps (3)"


@pytest.mark.parametrize("wrong", ["gradient_stability[spike=2]", "gradient_stability[spike=1.2,window=11]"])
def test_another_definition_is_caught(wrong):
    gradients, losses = RNG.normal(size=(2, 60)).tolist()
    watcher, recorder = METERS.parse(wrong).watcher(), Recorder()
    for each in (watcher, recorder):
        feed(each, gradients, losses)
    with pytest.raises(AssertionError, match="comparison failed"):
        is_its_definition(watcher, recorder)
