"""What tests of the training loop share: the digits, a timer without joules, weights to compare."""

from __future__ import annotations

import time

import torch
from torch import Tensor, nn

from harmbench.datasets import DATASETS
from harmbench.results.records import EnergyReading
from harmbench.runner.phase_timer import PhaseTimer
from tests.support.paths import DATA

SPLITS = DATASETS.parse("digits").load(DATA, download=False, seed=0)
SHAPE = (1, 8, 8)


def phase_timer() -> PhaseTimer:
    """A timer of real seconds and no joules."""
    return PhaseTimer(time.perf_counter, lambda: EnergyReading(joules={}), lambda: None)


def copied(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the model's state."""
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether two states are equal, bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
