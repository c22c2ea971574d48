"""Small made-up specs and records that several tests share."""

from __future__ import annotations

from typing import Any

from harmbench.results.records import (
    COMPONENTS,
    CurvePoint,
    EnergyOrigin,
    Measurement,
    PhaseTotal,
    Protocol,
    TrialRecord,
    TrialSpec,
)
from harmbench.runner.trial import TrialJob
from tests.support.paths import DATA

MODELLED = {
    "cpu": EnergyOrigin(method="model", scope="machine", detail="cpu_load, TDP 100 W"),
    "gpu": EnergyOrigin(method="missing", detail="no GPU takes part"),
    "ram": EnergyOrigin(method="model", scope="machine", detail="watts per assumed memory module"),
}
COUNTED = {**MODELLED, "gpu": EnergyOrigin(method="counter", scope="board", detail="1 board(s) through NVML")}


def spec(distance: str | None = "euclidean", loss: str = "harmonic", seed: int = 0, **more: Any) -> TrialSpec:
    """A trial on digits with an MLP."""
    protocol = Protocol(**{"steps": 30, "evaluations": 3, "target": 0.95, **more.pop("protocol", {})})
    fields = {
        "dataset": "digits",
        "backbone": "mlp",
        "meters": ("quality", "energy"),
        "device_kind": "cpu",
        "versions": {"harmbench": "0", "torch": "0", "timm": "0"},
        **more,
    }
    return TrialSpec(distance=distance, loss=loss, seed=seed, protocol=protocol, **fields)


def job_of(trial: TrialSpec, **more: Any) -> TrialJob:
    """To run a trial on the processor, with joules from a model."""
    fields = {"order": 0, "device": "cpu", "environment": "here", "data_dir": str(DATA), "download": False, **more}
    return TrialJob(spec=trial, **{"energy_origins": MODELLED, **fields})


def point(step: int = 10, accuracy: float = 0.9, nll: float | None = 0.3, **more: Any) -> CurvePoint:
    """A validation."""
    fields = {"epoch": step / 17, "train_seconds": step / 10, "train_loss": 0.5, **more}
    fields.setdefault("train_joules", {"cpu": 2.0 * step, "gpu": None, "ram": 1.0 * step})
    return CurvePoint(step=step, validation_accuracy=accuracy, validation_nll=nll, **fields)


def record(
    trial: TrialSpec | None = None, status: str = "ok", accuracy: float = 0.95, order: int = 0, **more: Any
) -> TrialRecord:
    """What became of a trial; joules are modelled for processor and memory, and missing for the GPU."""
    trial = trial or spec()
    values = [
        Measurement.of("test_accuracy", accuracy, "1", "higher"),
        Measurement.of("steps_to_target", None, "step", "lower", "not reached in 30 steps: best 0.9, target 0.95"),
        Measurement.of("throughput", 1000 / 3 + trial.seed, "sample/s", "higher"),
        Measurement.of("cpu_joules", 100 / 3 + trial.seed, "J", "lower", origin="modelled"),
        Measurement.of("gpu_joules", None, "J", "lower", "no GPU takes part"),
        Measurement.of("ram_joules", 10 / 3, "J", "lower", origin="modelled"),
    ]
    joules = {"cpu": 100 / 3 + trial.seed, "gpu": None, "ram": 10 / 3}
    fields = {
        "order": order,
        "started": "2026-01-01T00:00:00.000+00:00",
        "environment": "here",
        "device": "cpu",
        "sizes": {"train": 1079, "validation": 359, "test": 359},
        "measurements": tuple(values) if status == "ok" else (),
        "phases": (PhaseTotal(phase="train", seconds=1.5, joules=joules, windows=3),) if status != "failed" else (),
        "energy_origins": MODELLED if status != "failed" else {},
        "curve": (point(),) if status == "ok" else (),
        "reason": {"ok": "", "diverged": "loss nan at step 7", "failed": "ValueError: a | b\nc"}[status],
        **more,
    }
    return TrialRecord(id=trial.id, spec=trial, status=status, **fields)


def nothing_spent() -> dict[str, float | None]:
    """Zero joules of each component."""
    return dict.fromkeys(COMPONENTS, 0.0)
