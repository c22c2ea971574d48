"""What tests of the training loop share: the digits, a training of one model, weights to compare."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from harmbench.datasets import DATASETS, Splits
from harmbench.meters import Watcher
from harmbench.results.records import EnergyReading, TrialRecord, TrialSpec
from harmbench.runner.model import Classifier, build
from harmbench.runner.phase_timer import PhaseTimer
from harmbench.runner.single_learner import SingleLearner
from harmbench.runner.training import Trained, Training
from harmbench.runner.trial import SilentLink, TrialJob, run_trial
from tests.support.paths import DATA

SPLITS = DATASETS.parse("digits").load(DATA, download=False, seed=0)
SHAPE = (1, 8, 8)


def phase_timer() -> PhaseTimer:
    """A timer of real seconds and no joules."""
    return PhaseTimer(time.perf_counter, lambda: EnergyReading(joules={}), lambda: None)


def learner_of(trial: TrialSpec, model: Classifier | None = None, splits: Splits = SPLITS) -> SingleLearner:
    """The learner of one model, by default a fresh one on the digits."""
    return SingleLearner([trial], [model or build(trial, splits.input_shape, splits.num_classes)], [splits])


def training_of(
    trial: TrialSpec,
    model: Classifier | None = None,
    splits: Splits = SPLITS,
    watchers: Sequence[Watcher] = (),
    checkpoints: Any = None,
) -> Training:
    """The training of one model."""
    learner = learner_of(trial, model, splits)
    return Training(learner, {0: watchers}, phase_timer(), lambda step, steps: None, checkpoints)


def train(
    trial: TrialSpec, model: Classifier | None = None, splits: Splits = SPLITS, watchers: Sequence[Watcher] = ()
) -> Trained:
    """Train one model, and return its results."""
    return training_of(trial, model, splits, watchers).run()[0]


def run_one(job: TrialJob, link: SilentLink | None = None, **more: Any) -> TrialRecord:
    """Run a job without siblings, and return its record."""
    (record,) = run_trial(job, link or SilentLink(), **more)
    return record


def copied(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the model's state."""
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether two states are equal, bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
