"""Checkpoints: a trial that was cut off goes on, and finds what it would have found."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from harmbench.datasets import DATASETS
from harmbench.errors import UsageError
from harmbench.meters import METERS, Watcher
from harmbench.results import store
from harmbench.results.records import TrialRecord
from harmbench.runner import checkpoints
from harmbench.runner.checkpoints import Checkpoint
from harmbench.runner.model import build
from harmbench.runner.training import Trained, Training
from tests.support.commands import findings, harmbench, start, wait_until
from tests.support.paths import DATA
from tests.support.samples import job_of, spec
from tests.support.training import run_one, training_of

METERS_HERE = tuple(str(meter) for meter in METERS.every_variant())
TASK = {"dataset": "modular_addition", "meters": METERS_HERE}
CASES: dict[str, dict[str, Any]] = {
    "adam, the best state": {"distance": "euclidean", "backbone": "token_mlp", **TASK},
    "dropout and noise": {"distance": "hamming[variant=gumbel]", "backbone": "token_transformer", **TASK},
    "a learned matrix and exponent": {
        "distance": "mahalanobis[variant=full]",
        "loss": "harmonic[n=learnable]",
        "backbone": "token_mlp",
        **TASK,
    },
    "batch norm, momentum": {
        "distance": "cosine",
        "backbone": "cnn",
        "meters": METERS_HERE,
        "protocol": {"optimizer": "sgd"},
    },
    "the last state, clipped, a cosine with its rise": {
        "distance": None,
        "loss": "cross_entropy",
        "backbone": "token_mlp",
        "protocol": {"select": "last", "grad_clip": 0.1, "schedule": "cosine", "lr_warmup_steps": 9, "lr_min": 1e-4},
        **TASK,
    },
}


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class CutOffError(Exception):
    """What a power cut is to a trial."""


class Cut:
    """Writes a checkpoint after each of these steps; cut off after the last of them, a few steps on."""

    def __init__(self, folder: Path, *steps: int) -> None:
        self._folder, self._steps, self._step = folder, steps, 0

    def is_due(self) -> bool:
        self._step += 1
        if self._step == self._steps[-1] + 3:
            raise CutOffError
        return self._step in self._steps

    def write(self, step: int, state: dict[str, Any]) -> None:
        checkpoints.save(self._folder, "trial", Checkpoint(step, "here", (), state))

    def begin_at(self, step: int) -> None:
        self._step = step


def set_up(case: dict[str, Any], manager: Any = None) -> tuple[Training, Any, list[Watcher]]:
    trial = spec(**{"loss": "harmonic", **case, "protocol": {"evaluations": 3, **case.get("protocol", {})}})
    splits = DATASETS.parse(trial.dataset).load(DATA, download=False, seed=0)
    model = build(trial, splits.input_shape, splits.num_classes)
    watchers = [METERS.parse(meter).watcher() for meter in trial.meters]
    return training_of(trial, model, splits, watchers, manager), model, watchers


def found(trained: Trained, model: Any, watchers: list[Watcher]) -> dict[str, Any]:
    """All that a training leaves, but for times."""
    return {
        "weights": {name: tensor.tolist() for name, tensor in model.state_dict().items()},
        "best": {name: tensor.tolist() for name, tensor in trained.best_state.items()},
        "curve": [point.but(train_seconds=0.0) for point in trained.curve],
        "watched": [[*watcher.partial(), *watcher.curves()] for watcher in watchers],
        "steps": [len(trained.step_seconds), len(trained.batch_seconds)],
    }


def resumed(case: dict[str, Any], folder: Path, *steps: int) -> dict[str, Any]:
    """What a training finds that is cut off a few steps after each of these steps."""
    for step in steps:
        manager = Cut(folder, step)
        training, _, _ = set_up(case, manager)
        checkpoint = checkpoints.load(folder, "trial")
        if checkpoint:
            training.resume_from(checkpoint.state)
            manager.begin_at(checkpoint.step)
        with pytest.raises(CutOffError):
            training.run()
    training, model, watchers = set_up(case)
    checkpoint = checkpoints.load(folder, "trial")
    assert checkpoint is not None
    assert checkpoint.step == steps[-1]
    training.resume_from(checkpoint.state)
    return found(training.run()[0], model, watchers)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_was_cut_off_goes_on_bit_for_bit(case: dict[str, Any], tmp_path: Path) -> None:
    training, model, watchers = set_up(case)
    whole = found(training.run()[0], model, watchers)
    # Between two validations and two looks at gradients; right after a validation; between the two of a look.
    assert resumed(case, tmp_path, 7, 10, 17) == whole
    assert whole["steps"] == [30, 30]


@pytest.mark.parametrize("lost", ["generators", "optimizer", "losses", "watchers", "best_state"])
def test_a_state_that_lacks_something_is_caught(lost: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deliberately wrong: a part of the state is that of another step."""
    case = {**CASES["dropout and noise"], "protocol": {"lr": 0.3, "evaluations": 10}}
    training, model, watchers = set_up(case)
    fresh = set_up(case)[0].state(0)
    fresh["best_state"] = fresh["model"]
    trained = training.run()[0]
    assert trained.best is not None
    assert trained.best.step <= 25, "the best state is still to come, so that of before does not matter"
    whole = found(trained, model, watchers)
    state = Training.state
    monkeypatch.setattr(Training, "state", lambda self, step: {**state(self, step), lost: fresh[lost]})
    assert resumed(case, tmp_path, 25) != whole


def test_every_meter_carries_what_it_has_seen() -> None:
    assert [meter for meter in METERS_HERE if METERS.parse(meter).watcher().state() is None] == []


def test_a_watcher_that_cannot_tell_is_named(tmp_path: Path) -> None:
    from harmbench.runner.checkpoint_manager import CheckpointManager, without_saved_state

    class Blind(Watcher):
        def on_step(self, step: Any) -> None: ...

    assert without_saved_state([Blind(), Watcher()], ["blind", "seeing"]) == ("blind",)
    manager = CheckpointManager(tmp_path, "trial", 60, "there")
    assert list(manager.caveats(["blind"])) == []
    checkpoints.save(tmp_path, "trial", Checkpoint(40, "here", (20,), {"step": 40}))
    assert manager.read() == {"step": 40}
    sums, elsewhere, seen = manager.caveats(["blind"])
    assert "from step 20, 40" in sums
    assert "another environment" in elsewhere
    assert seen.endswith("saw the last part only: blind")


# Files.


def test_only_the_latest_is_kept_and_none_when_done(tmp_path: Path) -> None:
    for step in (1, 2):
        checkpoints.save(tmp_path, "a", Checkpoint(step, "here", (), {"x": torch.tensor([step])}))
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["a-2.pt", "a.json"]
    loaded = checkpoints.load(tmp_path, "a")
    assert loaded is not None
    assert (loaded.step, loaded.state["x"].item()) == (2, 2)
    checkpoints.discard(tmp_path, "a")
    assert not (tmp_path / "checkpoints").exists()
    checkpoints.discard(tmp_path, "a")


def test_a_write_that_was_cut_off_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints.save(tmp_path, "a", Checkpoint(1, "here", (), {"x": 1}))
    monkeypatch.setattr(json, "dumps", lambda _: (_ for _ in ()).throw(CutOffError))
    with pytest.raises(CutOffError):
        checkpoints.save(tmp_path, "a", Checkpoint(2, "here", (), {"x": 2}))
    loaded = checkpoints.load(tmp_path, "a")
    assert loaded is not None
    assert loaded.step == 1


class Evil:
    """Would leave a file if it were unpickled."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self._mark,)


def damage(folder: Path, how: str) -> None:
    content, said = folder / "a-3.pt", folder / "a.json"
    if how == "a flipped bit":
        whole = bytearray(content.read_bytes())
        whole[len(whole) // 2] ^= 1
        content.write_bytes(whole)
    elif how == "no file":
        content.unlink()
    elif how == "a torn head":
        said.write_text(said.read_text()[:20])
    elif how == "code":
        torch.save({"x": Evil(folder / "mark")}, content)
        digest = checkpoints._checksum(content)
        said.write_text(json.dumps({**json.loads(said.read_text()), "sha256": digest}))
    else:
        key, value = {"another trial": ("trial", "b"), "another format": ("format", 0)}[how]
        said.write_text(json.dumps({**json.loads(said.read_text()), key: value}))


@pytest.mark.parametrize("how", ["a flipped bit", "no file", "a torn head", "code", "another trial", "another format"])
def test_what_is_damaged_or_foreign_is_set_aside_on_one_line(
    how: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    checkpoints.save(tmp_path, "a", Checkpoint(3, "here", (), {"x": torch.arange(1000)}))
    folder = tmp_path / "checkpoints"
    damage(folder, how)
    assert checkpoints.load(tmp_path, "a") is None
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert "set aside as a.json.aside, the trial starts from the beginning" in said
    assert not (folder / "mark").exists(), "code was run"
    assert not (folder / "a.json").exists()
    assert checkpoints.load(tmp_path, "a") is None
    assert capfd.readouterr().err == ""


def test_a_state_that_does_not_fit_is_set_aside(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    trial = spec()
    checkpoints.save(tmp_path, trial.id, Checkpoint(3, "here", (), {"step": 3, "model": {}}))
    order = job_of(trial, folder=str(tmp_path), checkpoint_seconds=60)
    with pytest.raises(UsageError, match="run the same command to start the trial from the beginning"):
        run_one(order)
    assert "it does not fit the trial" in capfd.readouterr().err
    assert run_one(order).caveats == ()


# The command.

SUITE = """
name: cut
question: Does a trial go on?
datasets: ["text:corpus[length=16,vocabulary=300]"]
backbones: ["gpt2[dropout=0.1]"]
metrics: ["mahalanobis[variant=diagonal]"]
losses: [harmonic]
seeds: 1
protocol: {steps: 80, batch_size: 4, evaluations: 5, optimizer: adamw, weight_decay: 0.1, decay: matrices,
  accumulate: 2}
meters: [quality, perplexity, gradient_stability, energy, memory, throughput]
artifacts: [class_weights]
idle_seconds: 0
"""


@pytest.mark.slow
def test_kill_9_in_the_middle_of_a_language_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "corpus").mkdir()
    for number in range(100):
        words = " ".join(f"word{number * i % 97} and {i}" for i in range(80))
        (tmp_path / "corpus" / f"{number}.txt").write_text(words)
    (tmp_path / "cut.yaml").write_text(SUITE)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    said = harmbench("run", "cut.yaml", "--out", whole, "--checkpoint", 0, cwd=tmp_path)
    assert said.returncode == 0, said.stdout + said.stderr
    assert not (whole / "checkpoints").exists()

    process = start("run", "cut.yaml", "--out", cut, "--checkpoint", 0.005, cwd=tmp_path)
    wait_for_a_step(cut, 20, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (cut / "trials.jsonl").exists(), "the trial was done before it was killed"
    said = harmbench("run", "cut.yaml", "--out", cut, "--checkpoint", 600, cwd=tmp_path)  # each writes all weights
    assert said.returncode == 0, said.stdout + said.stderr

    one, other = (store.read(folder).trials[0] for folder in (whole, cut))
    assert findings(other) == findings(one)
    assert curves(other) == curves(one)
    assert other.phases[0].windows >= 2, "load is not summed over the parts"
    (caveat,) = [caveat for caveat in other.caveats if caveat.startswith("went on after an interruption")]
    assert "seconds and joules are the sum of the parts" in caveat
    seconds = sum(phase.seconds for phase in other.phases)
    assert other.wall_seconds is not None
    assert 0 < seconds <= other.wall_seconds * (1 + 1e-9), "the seconds of one part only"
    arrays = [(folder / "artifacts" / f"{one.id}.npz").read_bytes() for folder in (whole, cut)]
    assert arrays[0] == arrays[1], "other weights"
    assert not (cut / "checkpoints").exists()


LONG = """
name: long
question: Is the checkpoint of a failed trial kept?
datasets: [digits]
backbones: [mlp]
losses: [cross_entropy]
seeds: 1
protocol: {steps: 1000000, evaluations: 1}
meters: [quality]
idle_seconds: 0
"""


@pytest.mark.slow
def test_the_checkpoint_of_a_failed_trial_is_kept(tmp_path: Path) -> None:
    (tmp_path / "long.yaml").write_text(LONG)
    process = start("run", "long.yaml", "--out", "run", "--checkpoint", 1e-6, cwd=tmp_path)
    wait_for_a_step(tmp_path / "run", 1, process)
    server = psutil.Process(process.pid)
    (trial,) = [worker for child in server.children() for worker in child.children()]
    trial.kill()
    process.communicate()
    (record,) = store.read(tmp_path / "run").trials
    assert record.status == "failed"
    kept = checkpoints.load(tmp_path / "run", record.id)
    assert kept is not None
    assert kept.state["step"] == kept.step >= 1


def curves(record: TrialRecord) -> list[dict[str, Any]]:
    return [curve.to_plain() for curve in record.curves]


def wait_for_a_step(folder: Path, least: int, process: Any) -> None:
    """Until there is a checkpoint at that step or later."""

    def is_there() -> bool:
        paths = (folder / "checkpoints").glob("*.json")
        return any(int(json.loads(path.read_text())["step"]) >= least for path in paths)

    wait_until(is_there, process, f"checkpoint at step {least}")
