"""One trial: seed -> data -> backbone + head -> loss -> meters -> train -> select -> test once.

Everything is seeded inside, so a trial alone gives bit for bit what it gives in company.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import torch

from harmbench import kernels
from harmbench.datasets import DATASETS, Splits
from harmbench.meters import METERS, Outcome
from harmbench.records import Component, EnergyOrigin, EnergyReading, Record, TrialRecord, TrialSpec
from harmbench.runner.ledger import PhaseLedger
from harmbench.runner.model import Classifier, build, derived_seed
from harmbench.runner.timing import synchronise
from harmbench.runner.train import DivergedError, Training, predict, warm_up


class TrialOrder(Record):
    """A trial and the circumstances that cannot change its outcome."""

    spec: TrialSpec
    order: int
    device: str
    environment: str
    data_dir: str
    download: bool
    energy_origins: dict[Component, EnergyOrigin]


class Link:
    """What a trial may ask of whoever runs it."""

    def read_energy(self) -> EnergyReading:
        """Joules since some start."""
        return EnergyReading(joules={})

    def progress(self, step: int, steps: int) -> None:
        """Told after each validation."""


def run_trial(order: TrialOrder, link: Link) -> TrialRecord:
    """Run one trial in this process and say what became of it.

    Args:
        order: the trial, and where it runs.
        link: for joules and progress.

    Raises:
        whatever a component raises; a loss that is not finite is no error but the status `diverged`.
    """
    spec, device = order.spec, torch.device(order.device)
    started = datetime.now(UTC).isoformat(timespec="milliseconds")
    memory = PeakMemory(device)
    settle(spec, device)
    ledger = PhaseLedger(time.perf_counter, link.read_energy, lambda: synchronise(device))
    watchers = [METERS.parse(meter).watcher() for meter in spec.meters]

    ledger.enter("load")
    splits = load(order).to(device)
    channels, height, width = splits.train_inputs.shape[1:]
    model = build(spec, (channels, height, width), splits.num_classes).to(device)
    ledger.enter("warm-up")
    warm_up(model, splits, spec.protocol)
    known: dict[str, Any] = {
        "id": spec.id,
        "spec": spec,
        "order": order.order,
        "started": started,
        "environment": order.environment,
        "device": order.device,
        "energy_origins": order.energy_origins,
        "kernels": kernels_used(),
        "sizes": sizes(splits, model),
    }
    try:
        trained = Training(spec, model, splits, watchers, ledger, link.progress).run()
    except DivergedError as end:
        ledger.close()
        partial = tuple(value for watcher in watchers for value in watcher.partial())
        return TrialRecord(**known, status="diverged", reason=str(end), measurements=partial, phases=ledger.totals())
    model.load_state_dict(trained.best_state)
    test_logits = predict(model, splits.test_inputs, spec.protocol)
    ledger.close()
    assert trained.best is not None
    outcome = Outcome(
        protocol=spec.protocol,
        batch_size=min(spec.protocol.batch_size, len(splits.train_targets)),
        steps=len(trained.step_seconds),
        step_seconds=trained.step_seconds,
        curve=trained.curve,
        phases=ledger.totals(),
        energy_origins=order.energy_origins,
        best=trained.best,
        test_logits=test_logits.cpu(),
        test_targets=splits.test_targets.cpu(),
        peak_memory_bytes=memory.peak(),
    )
    values = tuple(value for watcher in watchers for value in watcher.measurements(outcome))
    return TrialRecord(**known, status="ok", measurements=values, phases=outcome.phases, curve=tuple(trained.curve))


def load(order: TrialOrder) -> Splits:
    """The trial's data; which share of the training part is drawn depends on (seed, dataset, backbone)."""
    dataset = DATASETS.parse(order.spec.dataset)
    return dataset.load(Path(order.data_dir), order.download, derived_seed(order.spec, "share"))


def kernels_used() -> dict[str, str]:
    """What computes the distances here; where the library lies is nobody's business, that there is none is."""
    return {what: said for what, said in kernels.status().items() if not Path(said).is_file()}


def sizes(splits: Splits, model: Classifier) -> dict[str, int]:
    """Numbers of samples, classes and parameters."""
    return {
        "train": len(splits.train_targets),
        "validation": len(splits.validation_targets),
        "test": len(splits.test_targets),
        "classes": splits.num_classes,
        "parameters": sum(p.numel() for p in model.parameters()),
        "head_parameters": sum(p.numel() for p in model.head.parameters()),
    }


def settle(spec: TrialSpec, device: torch.device) -> None:
    """Threads and determinism of this process."""
    torch.set_num_threads(spec.protocol.threads)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it, cuBLAS has no deterministic algorithms
    torch.use_deterministic_algorithms(spec.protocol.deterministic)
    # It costs a tenth of a step, and no result reads uninitialised memory.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    if device.type == "cuda":
        torch.cuda.set_device(device)


class PeakMemory:
    """Peak memory of this process from now on."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._at_start = psutil.Process().memory_info().rss
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    def peak(self) -> int:
        """Bytes: allocated by torch on CUDA, resident above the size at the start on the CPU."""
        if self._device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self._device))
        unit = 1 if sys.platform == "darwin" else 1024
        return max(0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit - self._at_start)
