"""Trainings that go wrong: what records, claims and reports say of each; most through the real command."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from harmbench import report as reports
from harmbench.analysis.claims import judge
from harmbench.analysis.collapse import is_collapsed
from harmbench.energy.carbon import grid
from harmbench.planning.suite import check_claims
from harmbench.report.formats import FORMATS
from harmbench.results import store
from harmbench.results.records import COMPONENTS, Measurement, TrialRecord
from harmbench.results.store import RunData
from harmbench.runner.trial import TrialJob
from tests.support.paths import ROOT
from tests.support.samples import MODELLED, record, spec
from tests.support.training import run_one

PLUGIN = '''
import math
import torch
from harmbench.backbones import Backbone
from harmbench.datasets.digits import Digits


class Spoiled(Digits):
    """Digits, of which one training image is not a number."""

    name = "spoiled"

    def splits(self, data_dir, download):
        splits = super().splits(data_dir, download)
        splits.train_inputs[500] = math.nan
        return splits


class Flat(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.bias = torch.nn.Parameter(torch.ones(16))

    def forward(self, inputs):
        return self.bias.expand(len(inputs), -1)


class Dead(Backbone):
    """The same features whatever it sees."""

    name = "dead"

    def build(self, input_shape):
        return Flat()
'''
POINTS = "[harmbench.datasets]\nspoiled = wrong:Spoiled\n[harmbench.backbones]\ndead = wrong:Dead\n"
SUITE = """
name: wrong
datasets: [digits, spoiled]
backbones: [mlp, dead]
metrics: [euclidean]
losses: [cross_entropy, harmonic]
seeds: 2
idle_seconds: 0
protocol: {steps: 40, evaluations: 4, target: 0.5}
exclude:
  - {datasets: spoiled, backbones: dead, reason: one thing wrong at a time}
  - {datasets: spoiled, losses: cross_entropy, reason: one head shows it}
claims:
  - id: fast
    sentence: Every model trains at no less than a hundredth of the baseline's speed.
    source: nobody
    measure: throughput
    rule: no_worse
    margin: 0.99
    heads: euclidean + harmonic
    datasets: digits
"""


PACKAGES = "packages"  # a folder of its own, since the current one is no place to import from


def harmbench(*arguments: object, folder: Path) -> str:
    """Runs the command, with the plugin; its output."""
    done = subprocess.run(
        [sys.executable, "-m", "harmbench", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder / PACKAGES), str(ROOT)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plugin whose data set and backbone are spoiled, and a run of these."""
    path = tmp_path_factory.mktemp("wrong")
    packages = path / PACKAGES
    info = packages / "wrong-1.0.dist-info"
    info.mkdir(parents=True)
    (packages / "wrong.py").write_text(PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: wrong\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(POINTS)
    (path / "wrong.yaml").write_text(SUITE)
    harmbench("run", "wrong.yaml", "--out", "wrong", folder=path)
    return path


def text_of(run: RunData) -> str:
    return FORMATS.parse("md").render(reports.compose(run, grid("FRA")))


def summary_of(run: RunData, title: str) -> str:
    """The report's sentence on a group."""
    found = reports.compose(run, grid("FRA")).conclusions
    return next(sentence for sentence in found if sentence.startswith(f"**{title}**"))


def trials_of(run: RunData, place: str) -> list[TrialRecord]:
    return [t for t in run.trials if f"{t.spec.backbone} on {t.spec.dataset}" == place]


def test_an_image_that_is_not_a_number_ends_the_trial_at_its_step(folder: Path) -> None:
    run = store.read(folder / "wrong")
    found = trials_of(run, "mlp on spoiled")
    assert {trial.status for trial in found} == {"diverged"}
    for trial in found:
        step = int(re.fullmatch(r"loss nan at step (\d+)", trial.reason)[1])  # type: ignore[index]
        assert trial.value("nonfinite_step_share") == 1 / step, "the partial values are those up to this step"
        assert [point.step for point in trial.curve] == [s for s in (10, 20, 30, 40) if s < step]
        assert trial.value("test_accuracy") is trial.value("steps_to_target") is None
    assert summary_of(run, "mlp on spoiled") == "**mlp on spoiled**: no trial ended well."
    assert re.search(r"0 ok, 2 diverged: loss nan at step \d+", text_of(run))


def test_a_collapsed_model_is_flagged_and_wins_nothing(folder: Path) -> None:
    run = store.read(folder / "wrong")
    found = trials_of(run, "dead on digits")
    assert {(trial.status, trial.value("collapsed")) for trial in found} == {("ok", 1.0)}
    assert all(trial.value("effective_rank") is None and trial.value("steps_to_target") is None for trial in found)
    assert not any(is_collapsed(trial) for trial in trials_of(run, "mlp on digits"))
    without = [t.but(measurements=t.measurements[:1]) for t in found]
    assert all(map(is_collapsed, without)), "chance shows in the accuracy too, where the meter was not on"
    text = text_of(run)
    assert "4 of those that ended well collapsed" in text
    assert "2 ok, 2 collapsed" in text
    assert "no valid head" in summary_of(run, "dead on digits")
    assert "highest mean test accuracy" in summary_of(run, "mlp on digits")
    (verdict,) = judge(check_claims(run.header["suite"]["claims"], "test"), run.trials)
    assert verdict.verdict == "not decided"
    assert "2 of its trials collapsed" in verdict.reason


def at_a_learning_rate_of_a_million() -> RunData:
    """Real trials, of both heads, in this process."""
    protocol = {"steps": 40, "evaluations": 4, "target": 0.5, "optimizer": "sgd", "lr": 1e6, "threads": 1}
    meters = (*spec().meters, "gradient_stability", "convergence", "representation")
    specs = [
        spec(None, "cross_entropy", protocol=protocol, meters=meters),
        spec("euclidean", "harmonic", protocol=protocol, meters=meters),
    ]
    around = {"device": "cpu", "environment": "here", "data_dir": "data", "download": False}
    orders = [TrialJob(spec=each, order=i, energy_origins=MODELLED, **around) for i, each in enumerate(specs)]
    suite = {"name": "high", "datasets": ["digits"], "backbones": ["mlp"], "claims": []}
    header = {"suite": {**suite, "protocol": specs[0].protocol.model_dump()}, "planned": len(specs)}
    threads = torch.get_num_threads()
    try:
        trials = tuple(run_one(order) for order in orders)
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(False)
    return RunData(folder="high", header=header, trials=trials, environments={}, unreadable_lines=0)


def test_a_learning_rate_of_a_million_wins_nothing() -> None:
    run = at_a_learning_rate_of_a_million()
    for trial in run.trials:
        assert trial.status == "diverged" or is_collapsed(trial), trial.spec
        assert trial.value("steps_to_target") is None
    assert re.search("no trial ended well|no valid head", summary_of(run, "mlp on digits"))


def test_a_target_is_reached_by_the_clock_of_training_alone(folder: Path) -> None:
    for trial in trials_of(store.read(folder / "wrong"), "mlp on digits"):
        phases = {phase.phase: phase for phase in trial.phases}
        last = trial.curve[-1]
        assert last.train_seconds == pytest.approx(phases["train"].seconds)
        assert phases["evaluate"].seconds > 0
        hit = next((point for point in trial.curve if point.validation_accuracy >= 0.5), None)
        assert trial.value("seconds_to_target") == (hit and hit.train_seconds)
        for component in COMPONENTS:
            joules = trial.value(f"{component}_joules_to_target")
            assert joules is None or (hit is not None and joules == hit.train_joules[component])


# Made-up results, where the head that went wrong is ahead.

SEEDS = 4


def made_up(bad: int = 0, collapsed: int = 0, ours: float = 0.95, whose: str = "euclidean") -> RunData:
    """A linear head, a Euclidean one that is ahead, and one behind; of one of them, some trials went wrong."""
    found = []
    for head, accuracy in ((None, 0.9), ("euclidean", ours), ("manhattan", 0.8)):
        for seed in range(SEEDS):
            trial = spec(head, "harmonic" if head else "cross_entropy", seed)
            is_it = (head or "linear") == whose
            status = "diverged" if is_it and seed < bad else "ok"
            made = record(trial, status, accuracy + seed / 1000, order=len(found))
            signs = Measurement.of("collapsed", float(is_it and seed < collapsed), "1", "neither")
            speed = Measurement.of("cheapness", (2.0 if head else 1.0) + seed / 1000, "1/J", "higher")
            more = (*made.measurements, signs, speed) if status == "ok" else ()
            found.append(made.but(measurements=more))
    suite = {"name": "made-up", "datasets": ["digits"], "backbones": ["mlp"], "claims": []}
    header = {"suite": {**suite, "protocol": found[0].spec.protocol.model_dump()}, "planned": len(found)}
    return RunData(folder="made-up", header=header, trials=tuple(found), environments={}, unreadable_lines=0)


def cheapest(run: RunData) -> str:
    said = {
        "id": "c",
        "sentence": "It is cheap.",
        "source": "nobody",
        "measure": "cheapness",
        "rule": "better",
    }
    (verdict,) = judge(check_claims([{**said, "heads": "euclidean + harmonic"}], "test"), run.trials)
    return verdict.verdict


def test_a_sound_head_that_is_ahead_wins() -> None:
    """Else the tests below would prove nothing."""
    (condition,) = reports.conditions_of(made_up().trials)
    assert [cell.head for cell in condition.cells] == ["euclidean", "linear", "manhattan"]
    assert [condition.verdict(cell) for cell in condition.cells] == ["better", "baseline", "worse"]
    assert "(euclidean + harmonic)" in summary_of(made_up(), "mlp on digits")
    assert cheapest(made_up()) == "supported"


@pytest.mark.parametrize("wrong", [{"bad": 1}, {"collapsed": 1}], ids=["diverged", "collapsed"])
def test_a_head_that_went_wrong_once_is_ahead_in_nothing(wrong: dict[str, int]) -> None:
    run = made_up(**wrong)
    (condition,) = reports.conditions_of(run.trials)
    assert [cell.head for cell in condition.cells] == ["linear", "manhattan", "euclidean"]
    assert condition.verdict(condition.cells[-1]).startswith("not decided (1 ")
    assert "(linear + cross_entropy), the baseline itself" in summary_of(run, "mlp on digits")
    assert cheapest(run) == "not decided"


@pytest.mark.parametrize("wrong", [{"bad": 1}, {"collapsed": 1}], ids=["diverged", "collapsed"])
def test_a_baseline_that_went_wrong_once_beats_nothing(wrong: dict[str, int]) -> None:
    run = made_up(**wrong, whose="linear")
    (condition,) = reports.conditions_of(run.trials)
    assert condition.verdict(next(cell for cell in condition.cells if cell.head == "manhattan")).startswith(
        "not decided (of the baseline 1 "
    )
    assert re.search(r"baseline .* % \(1 (ended badly|collapsed)\)", summary_of(run, "mlp on digits"))
