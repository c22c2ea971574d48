"""Made-up ends of trials, for meters to measure."""

from __future__ import annotations

import numpy as np
import torch

from harmbench.meters import METERS, Flops, HeldOut, Outcome, WarmUp, Watcher
from harmbench.results.records import Measurement, PhaseTotal, Protocol
from tests.support.samples import COUNTED, point

RNG = np.random.default_rng(0)


def outcome(**more) -> Outcome:
    """What a trial of 100 steps of 0.05 s hands to its meters at the end."""
    joules = {"cpu": 600.0, "gpu": 900.0, "ram": 60.0}
    fields = {
        "protocol": Protocol(steps=100, target=0.9),
        "batch_size": 64,
        "steps": 100,
        "step_seconds": [0.05] * 100,
        "batch_seconds": [0.005] * 100,
        "warm_up": WarmUp(12, settled=True),
        "curve": [point(50, accuracy=0.8), point(100, accuracy=0.92)],
        "phases": [PhaseTotal(phase="train", seconds=6.0, joules=joules, windows=2)],
        "energy_origins": COUNTED,
        "best": point(100, accuracy=0.92),
        "test_logits": torch.from_numpy(RNG.normal(size=(40, 4))).float(),
        "test_targets": torch.from_numpy(RNG.integers(0, 4, 40)),
        "token_bytes": None,
        "batch_tokens": None,
        "device_name": "NVIDIA H200",
        "held_out": examined,
        "count_flops": lambda: Flops(6_000_000, 3_000_000, "counted", is_counted=True),
        **more,
    }
    logits, targets = fields["test_logits"].double(), fields["test_targets"]
    nll = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    return Outcome(**{"test_nll": nll, "test_hits": logits.argmax(-1) == targets, **fields})


def examined(**more) -> HeldOut:
    """Forty held-out samples of four classes, with 6 features each."""
    fields = {
        "features": torch.from_numpy(RNG.normal(size=(40, 6))),
        "targets": torch.arange(40) % 4,
        "predicted": torch.from_numpy(RNG.integers(0, 4, size=40)),
        "weights": torch.from_numpy(RNG.normal(size=(4, 6))),
        "has_centers": True,
    }
    return HeldOut(**{**fields, **more})


def measured(meter: str, ended: Outcome, watcher: Watcher | None = None) -> dict[str, Measurement]:
    """A meter's measurements by name."""
    watcher = watcher or METERS.parse(meter).watcher()
    return {measurement.name: measurement for measurement in watcher.measurements(ended)}
