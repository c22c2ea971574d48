"""The contract of a meter, over every registered one, and each meter against an independent computation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics
from torch import nn

from harmbench.meters import METERS, Flops, Step, Validation, WarmUp, Watcher
from harmbench.results.records import COMPONENTS, CurvePoint, EnergyOrigin, PhaseTotal, Protocol
from harmbench.runner.model import Classifier, build
from tests.support.outcomes import RNG, measured, outcome
from tests.support.samples import COUNTED, MODELLED, point, spec
from tests.support.training import SPLITS, training_of

STEADY = settings(derandomize=True, deadline=None, max_examples=40)


def train(
    watchers: Sequence[Watcher], steps: int = 30, distance: str = "euclidean", backbone: str = "mlp", **protocol
) -> Classifier:
    """An MLP on digits, trained for a few steps."""
    torch.set_num_threads(1)
    trial = spec(distance, backbone=backbone, protocol={"steps": steps, "evaluations": 2, **protocol})
    model = build(trial, tuple(SPLITS.train_inputs.shape[1:]), SPLITS.num_classes)
    training_of(trial, model, watchers=watchers).run()
    return model


# Training is the same with and without meters.


def is_untouched_by(watchers: Sequence[Watcher], **options) -> None:
    alone, watched = train([], **options), train(watchers, **options)
    for (name, one), other in zip(alone.state_dict().items(), watched.state_dict().values(), strict=True):
        assert torch.equal(one, other), f"{name} differs: training is not bit-identical with the meter"


NOISY = "hamming[variant=gumbel]"  # draws from torch's generator while it trains
TRAINED = {"plain": {}, "clipped": {"grad_clip": 0.5}, "noisy": {"distance": NOISY}, "sgd": {"optimizer": "sgd"}}


@pytest.mark.parametrize("options", TRAINED.values(), ids=TRAINED)
def test_training_is_bit_identical_with_and_without_meters(options):
    is_untouched_by([meter.watcher() for meter in METERS.every_variant()], **options)


class Seer(Watcher):
    """Wants to see one step of every few."""

    def __init__(self, every: int) -> None:
        self._every = every
        self.steps: dict[int, float] = {}
        self.losses: list[float] = []

    def on_step(self, step: Step) -> None:
        self.steps[step.index] = step.loss.item()
        self.due = step.index + self._every

    def on_losses(self, first: int, losses: Sequence[float]) -> None:
        assert first == len(self.losses) + 1, "losses are missing, or come twice"
        self.losses += losses

    def on_validation(self, seen: Validation) -> None:
        assert len(self.losses) == seen.point.step


def test_a_watcher_sees_the_steps_that_it_wants_and_the_losses_of_all():
    every, third, none = Seer(1), Seer(3), Watcher()
    train([every, none, third], steps=40)
    assert list(every.steps) == list(range(1, 41))
    assert list(third.steps) == list(range(1, 41, 3))
    assert every.losses == third.losses == list(every.steps.values())
    assert third.steps.items() <= every.steps.items()


def test_losses_are_told_up_to_the_one_that_is_not_finite():
    seer = Seer(1)
    trial = spec(protocol={"steps": 40, "evaluations": 2, "lr": 1e30, "optimizer": "sgd"})
    divergence = training_of(trial, watchers=[seer]).run()[0].divergence
    finite = [math.isfinite(loss) for loss in seer.losses]
    assert finite.index(False) + 1 == divergence.step


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


def test_throughput_is_numpys_without_the_first_step():
    seconds, waits = RNG.lognormal(size=(2, 257))
    found = measured("throughput", outcome(step_seconds=list(seconds), batch_seconds=list(waits), batch_size=32))
    assert found["throughput"].value == pytest.approx(32 / seconds[1:].mean())
    for percent in (50, 95, 99):
        assert found[f"step_seconds_p{percent}"].value == pytest.approx(np.percentile(seconds[1:], percent))
    assert found["data_wait_share"].value == pytest.approx(waits[1:].sum() / seconds[1:].sum())


def test_throughput_of_one_step():
    found = measured("throughput", outcome(step_seconds=[0.5], batch_seconds=[0.1]))
    names = ("throughput", "step_seconds_p50", "step_seconds_p95", "step_seconds_p99", "data_wait_share")
    assert [found[name].value for name in names] == [128, 0.5, 0.5, 0.5, 0.2]
    assert found["step_seconds_p99"].reason == "of 1 steps"


def test_warm_up_that_did_not_settle_says_so():
    found = measured("throughput", outcome(warm_up=WarmUp(30, settled=False)))["warm_up_steps"]
    assert (found.value, found.reason) == (30, "the step time had not settled")


UTILIZATION = {
    "counted": ("NVIDIA H200", 3_000_000, True, "float32", 9e6 / 0.05 / 67e12, "measured"),
    "by formula": ("NVIDIA H200", 3_000_000, False, "bfloat16", 9e6 / 0.05 / 989e12, "modelled"),
    "of another device": ("NVIDIA A100-SXM4-80GB", 3_000_000, True, "bfloat16", 9e6 / 0.05 / 312e12, "measured"),
    "a processor": ("AMD EPYC", 3_000_000, True, "float32", None, "measured"),
    "no such units": ("Tesla T4", 3_000_000, True, "bfloat16", None, "measured"),
    "no formula": ("NVIDIA H200", None, False, "float32", None, "missing"),
}


@pytest.mark.parametrize(
    ("device", "head", "counted", "precision", "mfu", "origin"), UTILIZATION.values(), ids=UTILIZATION
)
def test_mfu_is_the_rate_over_the_listed_peak(device, head, counted, precision, mfu, origin):
    flops, protocol = Flops(6_000_000, head, "how", counted), Protocol(steps=100, precision=precision)
    found = measured("throughput", outcome(device_name=device, count_flops=lambda: flops, protocol=protocol))
    assert found["mfu"].value == (mfu and pytest.approx(mfu))
    assert (found["flops_per_step"].value, found["flops_per_step"].origin) == (head and 9e6, origin)
    assert mfu is not None or found["mfu"].reason


# Memory.


def test_memory_is_what_the_steps_took():
    watcher = METERS.parse("memory").watcher()
    watcher.on_start(torch.device("cpu"))
    ballast = torch.ones(20_000_000)  # 80 MB
    watcher.on_step(Step(1, ballast[0], [], None))
    del ballast
    found = measured("memory", outcome(), watcher)
    assert found["peak_memory"].value == pytest.approx(80e6, rel=0.05)
    assert found["peak_memory_total"].value > 80e6
    again = METERS.parse("memory").watcher()
    again.on_start(torch.device("cpu"))
    again.on_step(Step(1, torch.zeros(()), [], None))
    assert measured("memory", outcome(), again)["peak_memory"].value < 20e6, "what was before counts"


def test_memory_that_was_exceeded_before_is_missing(monkeypatch):
    monkeypatch.setattr("harmbench.meters.memory._reset_mark", lambda: False)
    torch.ones(20_000_000)  # once and gone
    watcher = METERS.parse("memory").watcher()
    watcher.on_start(torch.device("cpu"))
    watcher.on_step(Step(1, torch.zeros(()), [], None))
    found = measured("memory", outcome(), watcher)["peak_memory"]
    assert found.value is None
    assert "larger before training" in found.reason


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


NVML = EnergyOrigin(method="counter", scope="board", detail="nvml", period_s=0.1)
LOAD = EnergyOrigin(method="model", scope="machine", detail="cpu_load", period_s=0.5)
NOTES = {
    "a few windows": (NVML, 10.0, 4, 1.0, "nvml"),
    "many windows": (NVML, 10.0, 96, 1.0, "nvml; ±8% from the edges of 96 window(s)"),
    "partly covered": (NVML, 10.0, 1, 0.93, "nvml; readings cover 93% of it"),
    "long modelled windows": (LOAD, 10.0, 10, 1.0, "model: cpu_load"),
    "short modelled windows": (LOAD, 1.0, 100, 1.0, "model: cpu_load; windows of 0.01 s get the mean power of 0.5 s"),
}


@pytest.mark.parametrize(("origin", "seconds", "windows", "coverage", "note"), NOTES.values(), ids=NOTES)
def test_a_figure_says_how_it_was_come_by(origin, seconds, windows, coverage, note):
    joules, covered = {**dict.fromkeys(COMPONENTS), "gpu": 500.0}, {"gpu": coverage}
    phase = PhaseTotal(phase="train", seconds=seconds, joules=joules, windows=windows, coverage=covered)
    found = measured("energy", outcome(phases=[phase], energy_origins={**COUNTED, "gpu": origin}))["gpu_joules"]
    assert found.reason == note
    facts = found.energy
    assert (facts.component, facts.method, facts.scope) == ("gpu", origin.method, origin.scope)
    assert (facts.period_s, facts.coverage) == (origin.period_s, coverage)


def test_the_edges_of_windows_are_as_unsure_as_a_simulation_says():
    # A counter shows what was spent up to its last step; windows of any length, between others, are read off it.
    rng, period, count = np.random.default_rng(1), 0.1, 50
    lengths, rests = rng.uniform(0.2, 0.5, size=(2, 4000, count))
    ends = np.cumsum(lengths + rests, axis=1)
    shown = (np.floor(ends / period) - np.floor((ends - lengths) / period)) * period
    spread = 2 * (shown - lengths).sum(1).std()
    assert 2 * period * math.sqrt(count / 6) == pytest.approx(spread, rel=0.05)


@pytest.mark.parametrize("component", COMPONENTS)
def test_joules_that_were_not_read_are_missing_and_not_blamed_on_their_source(component):
    found = energy(9.0, component, MODEL, joules=None)[f"{component}_joules"]
    assert (found.value, found.reason) == (None, "not read at every border of the window")


# Gradient stability.


class Recorder(Watcher):
    """Keeps what the meter sees, in float64."""

    def __init__(self) -> None:
        self.backbone = 0  # length of its part, where the head is told apart
        self.gradients: list[np.ndarray] = []
        self.clip_norms: list[float | None] = []
        self.losses: list[float] = []

    def on_step(self, step: Step) -> None:
        if step.head:
            self.backbone = sum(p.numel() for p in step.parameters) - sum(p.numel() for p in step.head)
        flat = [torch.zeros_like(p) if p.grad is None else p.grad for p in step.parameters]
        self.gradients.append(np.concatenate([g.double().numpy().ravel() for g in flat]))
        self.clip_norms.append(None if step.clip_norm is None else step.clip_norm.item())
        self.losses.append(step.loss.item())


def stability(recorded: Recorder, spike: float = 5.0, window: int = 101, every: int = 24) -> dict[str, float]:
    """The definition in the meter's docstring, word for word, over the whole recording at once."""
    losses = np.array(recorded.losses)
    ended = np.flatnonzero(~np.isfinite(losses))
    steps = ended[0] + 1 if len(ended) else len(losses)
    looked = [t for t in range(steps) if (t + 1) % every in (every - 1, 0)] if every > 2 else list(range(steps))
    norms = np.array([np.linalg.norm(g) for g in recorded.gradients])
    bad = {t for t in range(steps) if not np.isfinite(losses[t]) or (t in looked and not np.isfinite(norms[t]))}
    looked = [t for t in looked if t not in bad]
    clips = np.array([n if c is None else c for n, c in zip(norms, recorded.clip_norms, strict=True)])
    kept = np.array([losses[t] for t in range(steps) if t not in bad])
    smooth = [kept[0]]
    for loss in kept[1:]:
        smooth.append(0.9 * smooth[-1] + 0.1 * loss)
    found = {
        "clipped_step_share": float(np.mean(clips[looked] > norms[looked] * 1.001)),
        "nonfinite_step_share": len(bad) / steps,
        "loss_roughness": np.diff(kept).std(ddof=1) / np.std(smooth, ddof=1),
    }
    backbone = recorded.backbone
    parts = {"": slice(None), "_backbone": slice(0, backbone), "_head": slice(backbone, None)}
    for group, part in parts.items() if backbone else [("", slice(None))]:
        own = [recorded.gradients[t][part] * clips[t] / norms[t] for t in looked]
        good = np.array([np.linalg.norm(g) for g in own])
        spikes = [good[i] > spike * np.median(good[max(0, i - window) : i]) for i in range(10, len(good))]
        pairs = [(own[i], own[i + 1]) for i in range(len(own) - 1) if looked[i + 1] == looked[i] + 1]
        found[f"gradient_norm_cv{group}"] = good.std(ddof=1) / good.mean()
        found[f"gradient_spike_rate{group}"] = float(np.mean(spikes))
        found[f"gradient_cosine{group}"] = float(np.mean([a @ b / math.sqrt((a @ a) * (b @ b)) for a, b in pairs]))
    return found


def values(watcher: Watcher) -> dict[str, float]:
    """Missing ones as NaN."""
    return {m.name: math.nan if m.value is None else m.value for m in watcher.partial()}


def is_its_definition(watcher: Watcher, recorded: Recorder, *options: float) -> None:
    expected = stability(recorded, *options)
    if None in recorded.clip_norms:
        expected["clipped_step_share"] = math.nan
    found = values(watcher)
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=2e-4, abs=1e-9, nan_ok=True)


RUNS = {
    "plain": ({}, "gradient_stability"),
    "often clipped": ({"grad_clip": 0.5}, "gradient_stability[every=3]"),
    "never clipped": ({"grad_clip": 1e6}, "gradient_stability[every=1]"),
    "rough": ({"lr": 0.03, "batch_size": 4, "optimizer": "sgd"}, "gradient_stability[spike=1.5,window=11,every=2]"),
}


@pytest.mark.parametrize(("protocol", "meter"), RUNS.values(), ids=RUNS)
def test_gradient_stability_is_its_definition(protocol, meter):
    component = METERS.parse(meter)
    watcher, recorder = component.watcher(), Recorder()
    train([watcher, recorder], steps=150, backbone="mlp[hidden=32]", **protocol)
    is_its_definition(watcher, recorder, component.spike, component.window, component.every)


EVERY_STEP = "gradient_stability[every=1]"


POINT = CurvePoint(
    step=1, epoch=1, train_seconds=1, train_joules={}, train_loss=1, validation_accuracy=0.5, validation_nll=1
)


def feed(watcher: Watcher, gradients: np.ndarray, losses: Sequence[float], validated_every: int = 10**9) -> None:
    """Steps of one parameter: the gradients (T, n), or (T,) for one of two numbers, of which the second is constant."""
    rows = np.stack([gradients, np.full_like(gradients, 0.1)], axis=1) if gradients.ndim == 1 else gradients
    parameter = nn.Parameter(torch.zeros(rows.shape[1]))
    for index, (row, loss) in enumerate(zip(rows, losses, strict=True), start=1):
        parameter.grad = torch.from_numpy(row).float()
        if index >= watcher.due:
            watcher.on_step(Step(index, torch.tensor(float(loss)), [parameter], None))
        watcher.on_losses(index, [float(loss)])
        if index % validated_every == 0:
            watcher.on_validation(Validation(POINT, [parameter], None, lambda: 0.5))


def test_gradients_that_are_not_finite_count_and_disturb_nothing_else():
    gradients, losses = RNG.normal(size=60), RNG.normal(size=60)
    gradients[[5, 6, 30]] = math.inf, math.nan, math.nan
    watcher, recorder = METERS.parse(EVERY_STEP).watcher(), Recorder()
    for each in (watcher, recorder):
        feed(each, gradients, losses)
    found, expected = values(watcher), stability(recorder, every=1)
    for name in ("gradient_norm_cv", "gradient_spike_rate", "loss_roughness"):
        assert found[name] == pytest.approx(expected[name], rel=2e-4)
    assert found["nonfinite_step_share"] == 3 / 60


@pytest.mark.parametrize("meter", ["gradient_stability", EVERY_STEP])
@pytest.mark.parametrize("end", [45, 50, 64])
def test_what_follows_the_first_loss_that_is_not_finite_does_not_count(meter, end):
    gradients, losses = RNG.normal(size=80), RNG.normal(size=80)
    losses[end - 1 :] = math.nan
    gradients[end:] = 1e6
    cut, whole = METERS.parse(meter).watcher(), METERS.parse(meter).watcher()
    feed(whole, gradients, losses)
    feed(cut, gradients[:end], losses[:end])
    assert values(whole) == pytest.approx(values(cut), nan_ok=True)
    assert values(whole)["nonfinite_step_share"] == 1 / end
    assert whole.curves() == cut.curves()


@pytest.mark.parametrize(("meter", "chances"), [("gradient_stability", 2), (EVERY_STEP, 150)])
def test_a_spike_is_counted_once(meter, chances):
    gradients = np.ones(160)
    gradients[143] = 50.0  # step 144, which both look at
    watcher = METERS.parse(meter).watcher()
    feed(watcher, gradients, np.ones(160))
    assert values(watcher)["gradient_spike_rate"] == 1 / chances


def test_validations_change_nothing_of_what_is_said():
    gradients, losses = RNG.normal(size=(2, 1200))
    plain, validated = METERS.parse("gradient_stability").watcher(), METERS.parse("gradient_stability").watcher()
    feed(plain, gradients, losses)
    feed(validated, gradients, losses, validated_every=7)
    assert values(validated) == pytest.approx(values(plain), nan_ok=True)
    assert validated.curves() == plain.curves()


def test_a_spike_before_there_is_anything_to_compare_with_is_none():
    gradients = np.ones(50)
    gradients[[4, 20, 40]] = 50.0
    watcher = METERS.parse(EVERY_STEP).watcher()
    feed(watcher, gradients, np.ones(50))
    assert values(watcher)["gradient_spike_rate"] == 2 / 40


@pytest.mark.parametrize("meter", ["gradient_stability", EVERY_STEP])
def test_constant_gradients_do_not_vary(meter):
    watcher = METERS.parse(meter).watcher()
    feed(watcher, np.full((150, 7), 0.3), np.ones(150))
    found = values(watcher)
    assert found["gradient_norm_cv"] == pytest.approx(0, abs=1e-9)
    assert found["gradient_cosine"] == pytest.approx(1)
    assert (found["gradient_spike_rate"], found["nonfinite_step_share"]) == (0, 0)


def test_white_noise_gives_what_theory_expects():
    size, steps, rng = 50, 4000, np.random.default_rng(0)  # its own: which tests ran before must not matter
    watcher = METERS.parse(EVERY_STEP).watcher()
    feed(watcher, rng.normal(size=(steps, size)), rng.normal(size=steps))
    mean = math.sqrt(2) * math.exp(math.lgamma((size + 1) / 2) - math.lgamma(size / 2))  # of the chi distribution
    found = values(watcher)
    assert found["gradient_norm_cv"] == pytest.approx(math.sqrt(size - mean**2) / mean, rel=0.05)
    assert found["gradient_cosine"] == pytest.approx(0, abs=4 / math.sqrt(size * steps))
    # Differences have twice the variance, the smoothed losses alpha / (2 - alpha) of it.
    assert found["loss_roughness"] == pytest.approx(math.sqrt(2 / (0.1 / 1.9)), rel=0.15)  # of 200 independent
    assert found["gradient_spike_rate"] == 0


def test_curves_are_of_bounded_length_and_hold_the_mean():
    watcher = METERS.parse(EVERY_STEP).watcher()
    gradients = RNG.uniform(1, 2, size=1000)
    feed(watcher, gradients, np.ones(1000))
    (curve,) = watcher.curves()
    assert len(curve.steps) <= 128
    assert curve.steps[-1] == 1000
    firsts = [np.hypot(gradients[a:b], 0.1).mean() for a, b in zip((0, *curve.steps), curve.steps, strict=False)]
    assert curve.values == pytest.approx(firsts)


def test_head_and_trunk_have_curves_of_their_own():
    watcher = METERS.parse("gradient_stability").watcher()
    train([watcher], steps=30)
    whole, head, backbone = (np.array(curve.values) for curve in watcher.curves())
    assert whole == pytest.approx(np.hypot(head, backbone))


def test_a_loss_that_does_not_move_has_no_roughness():
    watcher = METERS.parse("gradient_stability").watcher()
    feed(watcher, np.ones(150), np.ones(150))
    found = {m.name: m for m in watcher.partial()}
    assert (found["loss_roughness"].value, found["loss_roughness"].reason) == (None, "undefined")
    assert found["clipped_step_share"].reason == "the protocol does not clip"
    assert found["gradient_cosine_head"].reason == "the head is not told apart"


def test_few_steps_say_so():
    watcher = METERS.parse("gradient_stability").watcher()
    feed(watcher, np.ones(3), [1.0, 2.0, 1.0])
    reason = {m.name: m.reason for m in watcher.partial()}["gradient_spike_rate"]
    assert reason == "too few steps (3, looked at 2 of every 24 steps)"


@pytest.mark.parametrize("wrong", ["[spike=2,every=1]", "[spike=1.2,window=11,every=1]", ""])
def test_another_definition_is_caught(wrong):
    gradients, losses = RNG.normal(size=(2, 120))
    watcher, recorder = METERS.parse(f"gradient_stability{wrong}").watcher(), Recorder()
    for each in (watcher, recorder):
        feed(each, gradients, losses)
    expected, found = stability(recorder, every=1), values(watcher)
    with pytest.raises(AssertionError, match="comparison failed"):
        assert found["gradient_spike_rate"] + found["gradient_norm_cv"] == pytest.approx(
            expected["gradient_spike_rate"] + expected["gradient_norm_cv"], rel=2e-4
        )
