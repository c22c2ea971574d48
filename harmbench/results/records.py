"""Results of trials, and the schema of the results file.

Results are one JSON object per line (`trials.jsonl`). Each line is a `TrialRecord`: raw and unrounded, with units.
The schema carries a version:

    1   2026-11   first
    2   2026-11   phase `examine`; `wall_seconds`, `machine` and `curves`, which older records lack; fields that came
                  later (energy's coverage, direct counters, telemetry, blocks) are optional
    3   2026-12   plain names (phase `analyze`, `invocation`, `group_size`, `center_std`); `_upgrade` has the old ones
"""

from __future__ import annotations

import json
import math
from typing import Any, Literal, Self

from harmbench.results._rows import Record, Row
from harmbench.results._upgrade import upgraded_trial
from harmbench.results.energy import (
    BoardState,
    EnergyFacts,
    EnergyOrigin,
    EnergyReading,
    IdleWindow,
    PhaseTotal,
    Telemetry,
)
from harmbench.results.invocation import BudgetRecord, InvocationRecord
from harmbench.results.protocol import Protocol
from harmbench.results.spec import TrialSpec, fingerprint
from harmbench.results.structure import Shape, Structure
from harmbench.results.vocabulary import (
    CHARGED,
    COMPONENTS,
    MASKED_SHARE,
    PHASES,
    Artifact,
    Component,
    Direction,
    Inputs,
    Method,
    ObjectiveKind,
    Origin,
    Phase,
)

__all__ = [
    "CHARGED",
    "COMPONENTS",
    "MASKED_SHARE",
    "PHASES",
    "SCHEMA_VERSION",
    "Artifact",
    "BoardState",
    "BudgetRecord",
    "Component",
    "Curve",
    "CurvePoint",
    "Direction",
    "EnergyFacts",
    "EnergyOrigin",
    "EnergyReading",
    "IdleWindow",
    "Inputs",
    "InvocationRecord",
    "MachineState",
    "Measurement",
    "Method",
    "ObjectiveKind",
    "Origin",
    "Phase",
    "PhaseTotal",
    "Protocol",
    "Record",
    "Shape",
    "Structure",
    "Telemetry",
    "TrialRecord",
    "TrialSpec",
    "fingerprint",
]

SCHEMA_VERSION = 3
_CURRENT = b'{"schema_version":3,'


class Measurement(Row, frozen=True, kw_only=True):
    """A value with its unit, direction and origin, or None with a reason."""

    name: str
    value: float | None
    unit: str
    better: Direction
    origin: Origin = "measured"
    reason: str = ""
    energy: EnergyFacts | None = None

    @classmethod
    def of(cls, name: str, value: float | None, unit: str, better: Direction, reason: str = "", **more: Any) -> Self:
        """Return a measurement. None and non-finite numbers become a missing value with a reason."""
        if value is None or not math.isfinite(value):
            reason = reason or ("undefined" if value is None else f"not finite ({value})")
            more["origin"] = "missing"
            return cls(name=name, value=None, unit=unit, better=better, reason=reason, **more)
        return cls(name=name, value=float(value), unit=unit, better=better, reason=reason, **more)


class CurvePoint(Row, frozen=True, kw_only=True):
    """State of a trial at one validation."""

    step: int
    epoch: float
    train_seconds: float
    train_joules: dict[Component, float | None]
    train_loss: float | None
    validation_accuracy: float
    validation_nll: float | None


class Curve(Row, frozen=True, kw_only=True):
    """A value over the steps. Each point is the mean since the previous point, its own step included."""

    name: str
    unit: str
    steps: tuple[int, ...]
    values: tuple[float | None, ...]


class MachineState(Row, frozen=True, kw_only=True):
    """Load and speed of the machine while a trial ran.

    Attributes:
        before, after: seconds of a small fixed workload on the trial's device, before training and after the trial.
        load_average: load average of the last minute at the start. None if the system has none.
        busy_elsewhere: mean number of cores that other processes kept busy during the trial.
        cores: number of cores.
    """

    before: float
    after: float
    load_average: float | None
    busy_elsewhere: float
    cores: int


class TrialRecord(Row, frozen=True, kw_only=True):
    """Result of one trial.

    Attributes:
        sizes: numbers of samples in each part, of classes and of parameters. A sample of text is a window, and
            `train_tokens`, `validation_tokens` and `test_tokens` count its targets.
        group_size: number of trials that were trained as one batch of seeds, this one included. Seconds and joules in
            `phases`, `curve` and `wall_seconds` are then an equal share of the group's.
    """

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
    kernels: dict[str, str] = {}
    sizes: dict[str, int] = {}
    measurements: tuple[Measurement, ...] = ()
    phases: tuple[PhaseTotal, ...] = ()
    energy_origins: dict[Component, EnergyOrigin] = {}
    telemetry: Telemetry | None = None
    caveats: tuple[str, ...] = ()
    invocation: str = ""
    curve: tuple[CurvePoint, ...] = ()
    curves: tuple[Curve, ...] = ()
    wall_seconds: float | None = None
    group_size: int = 1
    machine: MachineState | None = None

    @classmethod
    def from_json(cls, text: bytes | str) -> Self:
        """Return the trial record that a JSON text holds, of this schema or an earlier one.

        Raises:
            ValueError: if the text is no trial record.
        """
        line = text.encode() if isinstance(text, str) else text
        if line.startswith(_CURRENT):
            return super().from_json(line)
        try:
            plain = json.loads(line)
        except ValueError as error:
            raise ValueError(f"not a TrialRecord: {error}") from None
        if not isinstance(plain, dict):
            raise ValueError("not a TrialRecord: not an object")
        try:
            return cls.from_plain(upgraded_trial(plain))
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a TrialRecord: {error!r}") from None

    def flaw(self) -> str:
        for m in self.measurements:  # here and not in Measurement, where the call takes as long as reading
            is_missing = m.value is None
            if is_missing != (m.origin == "missing") or (is_missing and not m.reason):
                return f"{m.name}: a missing value has origin 'missing' and a reason, any other a number"
        return ""

    @property
    def is_of_text(self) -> bool:
        """Whether the targets are tokens of a text."""
        return "test_tokens" in self.sizes

    def answers(self, part: Literal["train", "validation", "test"]) -> int:
        """Return the number of targets in a part of the data: tokens of a text, otherwise samples. 0 if unknown."""
        return self.sizes.get(f"{part}_tokens", self.sizes.get(part, 0))

    def measurement(self, name: str) -> Measurement | None:
        """Return the measurement of this name, or None."""
        position = _positions.get(name, 0)
        if position < len(self.measurements) and self.measurements[position].name == name:
            return self.measurements[position]
        for position, measurement in enumerate(self.measurements):
            if measurement.name == name:
                _positions[name] = position
                return measurement
        return None

    def value(self, name: str) -> float | None:
        """Return the value of a measurement, or None if it is missing."""
        measurement = self.measurement(name)
        return measurement.value if measurement else None


_positions: dict[str, int] = {}  # where each measurement was seen last: all trials of a run list them in one order
