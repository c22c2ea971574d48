"""The frozen values that travel between the parts, and the results file's schema.

Results are one JSON object per line (`trials.jsonl`), a `TrialRecord` each: raw, unrounded, with units. Their
schema carries a version:

    1   2026-11   first
    2   2026-11   phase `examine`; `wall_seconds`, `machine` and `curves`, which older records lack
"""

from __future__ import annotations

import hashlib
import json
import math
from fractions import Fraction
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

SCHEMA_VERSION = 2

Component = Literal["cpu", "gpu", "ram"]
COMPONENTS: tuple[Component, ...] = ("cpu", "gpu", "ram")
Phase = Literal["load", "warm-up", "train", "evaluate", "examine"]
PHASES: tuple[Phase, ...] = ("load", "warm-up", "train", "evaluate", "examine")
Origin = Literal["measured", "modelled", "derived", "missing"]
Method = Literal["counter", "polled", "model", "missing"]
Inputs = Literal["images", "tokens"]


class Record(BaseModel):
    """Base of all records: frozen, and closed to unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Protocol(Record):
    """How every trial is trained: the same for all heads.

    Time runs from left to right; only `train` is inside the measured window, `evaluate` interrupts it:

        load | warm-up | train | evaluate | train | ... | evaluate (validation, then test, once) | examine
    """

    steps: int | None = Field(default=None, ge=1, description="optimiser steps; give this or epochs")
    epochs: float | None = Field(default=None, gt=0, validate_default=True, description="passes over the training part")
    batch_size: int = Field(default=64, ge=1, description="samples per step")
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    lr: float = Field(default=1e-3, gt=0, description="peak learning rate")
    weight_decay: float = Field(default=0.0, ge=0)
    momentum: float = Field(default=0.9, ge=0, lt=1, description="of sgd")
    schedule: Literal["constant", "cosine"] = "constant"
    lr_warmup_steps: int = Field(default=0, ge=0, description="steps of linear rise to lr")
    grad_clip: float | None = Field(default=None, gt=0, description="bound on the global gradient norm")
    centre_std: float | None = Field(
        default=None, gt=0, description="class centres start normal with this spread; as nn.Linear's rows unless given"
    )
    precision: Literal["float32", "bfloat16"] = "float32"
    warmup_steps: int = Field(default=5, ge=0, description="throwaway steps on a copy, before the window; at least")
    warmup_max_steps: int = Field(default=30, ge=0, description="warm-up goes on up to here until step time settles")
    evaluations: int = Field(default=10, ge=1, description="validations, evenly spread over the steps")
    target: float = Field(default=0.95, gt=0, le=1, description="validation accuracy that counts as converged")
    select: Literal["best", "last"] = "best"
    examine_samples: int = Field(default=1000, ge=2, description="test samples that meters look at after the test")
    deterministic: bool = True
    threads: int = Field(default=1, ge=1, description="CPU threads of a trial")

    @field_validator("epochs")
    @classmethod
    def _one_budget(cls, epochs: float | None, info: ValidationInfo) -> float | None:
        if "steps" in info.data and (info.data["steps"] is None) == (epochs is None):
            raise ValueError("give exactly one budget: steps or epochs")
        return epochs

    def budget(self, train_size: int) -> int:
        """Number of steps for a training part of this size."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        # As written, not as rounded to binary: 1.1 passes over 100 samples are 11 batches of 10, not 12.
        return math.ceil(Fraction(str(self.epochs)) * train_size / min(self.batch_size, train_size))


class TrialSpec(Record):
    """One trial: everything that can change its outcome."""

    dataset: str
    data_content: str = ""
    backbone: str
    distance: str | None
    loss: str
    seed: int
    protocol: Protocol
    meters: tuple[str, ...]
    device_kind: Literal["cpu", "cuda"]
    versions: dict[str, str]

    @property
    def head(self) -> str:
        """What reports call the head: the distance, or `linear`."""
        return self.distance or "linear"

    @property
    def cell(self) -> tuple[str, str, str, str]:
        """dataset, backbone, head, loss."""
        return self.dataset, self.backbone, self.head, self.loss

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits of a hash of every field."""
        return fingerprint(self.model_dump())

    def __str__(self) -> str:
        return f"{self.dataset} {self.backbone} {self.head} {self.loss} seed {self.seed}"


class Measurement(Record):
    """A value with its unit, direction and origin; or None with the reason."""

    name: str
    value: float | None
    unit: str
    better: Literal["higher", "lower", "neither"]
    origin: Origin = "measured"
    reason: str = ""

    @model_validator(mode="after")
    def _none_has_a_reason(self) -> Self:
        if (self.value is None) != (self.origin == "missing") or (self.value is None and not self.reason):
            raise ValueError(f"{self.name}: a missing value has origin 'missing' and a reason, any other a number")
        return self

    @classmethod
    def of(cls, name: str, value: float | None, unit: str, better: str, reason: str = "", **more: Any) -> Self:
        """A measurement; None or a non-finite number becomes a missing one with the reason."""
        if value is None or not math.isfinite(value):
            reason = reason or ("undefined" if value is None else f"not finite ({value})")
            return cls(name=name, value=None, unit=unit, better=better, origin="missing", reason=reason)
        return cls(name=name, value=float(value), unit=unit, better=better, reason=reason, **more)


class EnergyOrigin(Record):
    """Where the joules of one component come from."""

    method: Method
    scope: str = ""
    detail: str = ""


class EnergyReading(Record):
    """Joules since the source started, by component; None where the component is not measured."""

    joules: dict[Component, float | None]


class PhaseTotal(Record):
    """Seconds and joules of one phase, all its windows together."""

    phase: Phase
    seconds: float
    joules: dict[Component, float | None]
    windows: int


class CurvePoint(Record):
    """The state of a trial at one validation."""

    step: int
    epoch: float
    train_seconds: float
    train_joules: dict[Component, float | None]
    train_loss: float | None
    validation_accuracy: float
    validation_nll: float | None


class Curve(Record):
    """A value over the steps: each point is a mean since the point before, up to and with its step."""

    name: str
    unit: str
    steps: tuple[int, ...]
    values: tuple[float | None, ...]


class MachineState(Record):
    """How the machine was while a trial ran.

    Attributes:
        before, after: seconds of a small fixed workload on the trial's device, before training and after the trial.
        load_average: of the last minute, at the start; None where the system keeps none.
        busy_elsewhere: mean number of cores that other processes kept busy during the trial.
        cores: of the machine.
    """

    before: float
    after: float
    load_average: float | None
    busy_elsewhere: float
    cores: int


class TrialRecord(Record):
    """What became of one trial."""

    schema_version: int = SCHEMA_VERSION
    id: str
    spec: TrialSpec
    status: Literal["ok", "diverged", "failed"]
    reason: str = ""
    traceback: str = ""
    order: int
    started: str
    environment: str
    device: str
    kernels: dict[str, str] = Field(default_factory=dict)
    sizes: dict[str, int] = Field(default_factory=dict)
    measurements: tuple[Measurement, ...] = ()
    phases: tuple[PhaseTotal, ...] = ()
    energy_origins: dict[Component, EnergyOrigin] = Field(default_factory=dict)
    curve: tuple[CurvePoint, ...] = ()
    curves: tuple[Curve, ...] = ()
    wall_seconds: float | None = None
    machine: MachineState | None = None

    def value(self, name: str) -> float | None:
        """The value of a measurement; None where it is missing."""
        return next((m.value for m in self.measurements if m.name == name), None)


def fingerprint(value: Any) -> str:
    """Twelve hexadecimal digits that identify a JSON-like value."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
