"""The frozen values that travel between the parts, and the results file's schema.

Results are one JSON object per line (`trials.jsonl`), a `TrialRecord` each: raw, unrounded, with units. Their
schema carries a version:

    1   2026-11   first
    2   2026-11   phase `examine`; `wall_seconds`, `machine` and `curves`, which older records lack; fields that came
                  later (energy's coverage, direct counters, telemetry, blocks) are optional
    3   2026-12   plain names (phase `analyze`, `invocation`, `group_size`, `center_std`); `_upgrade` has the old ones
"""

from __future__ import annotations

import hashlib
import json
import math
from fractions import Fraction
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from harmbench.results._rows import Row
from harmbench.results._upgrade import PROTOCOL_FIELDS, RECORD_FIELDS, renamed, upgraded_trial

SCHEMA_VERSION = 3
_CURRENT = b'{"schema_version":3,'

Component = Literal["cpu", "gpu", "ram"]
COMPONENTS: tuple[Component, ...] = ("cpu", "gpu", "ram")
CHARGED: tuple[Component, ...] = ("cpu", "gpu")  # memory's joules are a guess everywhere, and left out of verdicts
Phase = Literal["load", "warm-up", "train", "evaluate", "analyze"]
PHASES: tuple[Phase, ...] = ("load", "warm-up", "train", "evaluate", "analyze")
Direction = Literal["higher", "lower", "neither"]
Origin = Literal["measured", "modelled", "derived", "missing"]
Method = Literal["counter", "polled", "model", "missing"]
Inputs = Literal["images", "tokens", "text"]
ObjectiveKind = Literal["class", "next", "masked"]
MASKED_SHARE = 0.15  # of a window's tokens are asked for where the objective is `masked`
Artifact = Literal["class_weights", "confusion", "embedding", "features", "spectrum"]
Shape = Literal["lattice", "circle", "equivalence", "order", "tree", "permutation"]


class Record(BaseModel):
    """Base of all records: frozen, and closed to unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Protocol(Record):
    """How every trial is trained: the same for all heads.

    Time runs from left to right; only `train` is inside the measured window, `evaluate` interrupts it:

        load | warm-up | train | evaluate | train | ... | evaluate (validation, then test, once) | examine
    """

    steps: int | None = Field(default=None, ge=1, description="optimizer steps; give this or epochs")
    epochs: float | None = Field(default=None, gt=0, validate_default=True, description="passes over the training part")
    batch_size: int = Field(default=64, ge=1, description="samples per step")
    accumulate: int = Field(
        default=1,
        ge=1,
        validate_default=True,
        description="parts that a batch is taken in, one after the other, for want of memory; one step all the same",
    )
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    lr: float = Field(default=1e-3, gt=0, description="peak learning rate")
    weight_decay: float = Field(default=0.0, ge=0)
    decay: Literal["all", "matrices"] = Field(
        default="all",
        description="what weight decay applies to; matrices: not to biases, norms, embeddings and the head",
    )
    beta2: float = Field(default=0.999, gt=0, lt=1, description="of adam and adamw; beta1 is 0.9")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="of sgd")
    schedule: Literal["constant", "cosine"] = "constant"
    lr_min: float = Field(default=0.0, ge=0, validate_default=True, description="where the cosine ends")
    lr_warmup_steps: int = Field(default=0, ge=0, description="steps of linear rise to lr")
    grad_clip: float | None = Field(default=None, gt=0, description="bound on the global gradient norm")
    center_std: float | None = Field(
        default=None, gt=0, description="class centers start normal with this spread; as nn.Linear's rows unless given"
    )
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = Field(default=False, description="torch.compile of the backbone; its last bits differ")
    warmup_steps: int = Field(
        default=5, ge=0, validate_default=True, description="throwaway steps on a copy, before the window; at least"
    )
    warmup_max_steps: int = Field(default=30, ge=0, description="warm-up goes on up to here until step time settles")
    evaluations: int = Field(default=10, ge=1, description="validations, evenly spread over the steps")
    target: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="validation accuracy that counts as converged; the median of what the baseline's seeds end with "
        "unless given, and of text not that of accuracies but of losses",
    )
    target_nll: float | None = Field(
        default=None,
        gt=0,
        validate_default=True,
        description="validation loss (mean NLL of an answer, in nat) that counts as converged, in place of target",
    )
    select: Literal["best", "last"] = "best"
    analysis_samples: int = Field(default=1000, ge=2, description="test samples that meters look at after the test")
    batched_seeds: int = Field(
        default=1, ge=1, description="seeds trained in one process as one stack of so many; 1: each alone"
    )
    deterministic: bool = True
    threads: int = Field(default=1, ge=1, description="CPU threads of a trial")

    @model_validator(mode="before")
    @classmethod
    def _old_names(cls, fields: Any) -> Any:
        return renamed(fields, PROTOCOL_FIELDS) if isinstance(fields, dict) else fields

    @field_validator("epochs")
    @classmethod
    def _one_budget(cls, epochs: float | None, info: ValidationInfo) -> float | None:
        if "steps" in info.data and (info.data["steps"] is None) == (epochs is None):
            raise ValueError("give exactly one budget: steps or epochs")
        return epochs

    @field_validator("batched_seeds")
    @classmethod
    def _plain_steps(cls, group_size: int, info: ValidationInfo) -> int:
        asked = {"accumulate": info.data.get("accumulate", 1) > 1, "compile": info.data.get("compile", False)}
        if group_size > 1 and any(asked.values()):
            named = " and ".join(field for field, is_asked in asked.items() if is_asked)
            raise ValueError(f"seeds trained together know no {named}; set it to 1, or leave {named} out")
        return group_size

    @field_validator("target_nll")
    @classmethod
    def _one_target(cls, loss: float | None, info: ValidationInfo) -> float | None:
        if loss is not None and info.data.get("target") is not None:
            raise ValueError("give one target: target, an accuracy, or target_nll, a loss")
        return loss

    @field_validator("accumulate")
    @classmethod
    def _parts_have_samples(cls, accumulate: int, info: ValidationInfo) -> int:
        if accumulate > info.data.get("batch_size", accumulate):
            raise ValueError(f"must be at most batch_size, {info.data['batch_size']}, got {accumulate}")
        return accumulate

    @field_validator("warmup_steps")
    @classmethod
    def _compiles_before_it_counts(cls, steps: int, info: ValidationInfo) -> int:
        if info.data.get("compile") and not steps:
            raise ValueError("must be at least 1 with compile, or compiling would count as training")
        return steps

    @field_validator("lr_min")
    @classmethod
    def _ends_below_its_peak(cls, lr_min: float, info: ValidationInfo) -> float:
        if lr_min > info.data.get("lr", lr_min):
            raise ValueError(f"must be at most lr, {info.data['lr']:g}, got {lr_min:g}")
        return lr_min

    def budget(self, train_size: int) -> int:
        """Number of steps for a training part of this size."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        # As written, not as rounded to binary: 1.1 passes over 100 samples are 11 batches of 10, not 12.
        return math.ceil(Fraction(str(self.epochs)) * train_size / min(self.batch_size, train_size))


class Structure(Record):
    """What the tokens of a task are to each other, so that their embeddings can be held against it.

    Attributes:
        shape: of the whole; says what `size` is.
        size: side of a grid, length of a circle, number of equivalence classes, length of an order, generations of a
            binary tree, points that are permuted.
        tokens: so many tokens take part, in the order of the shape; others are answers or relations.
        first: of these tokens.
    """

    shape: Shape
    size: int
    tokens: int
    first: int = 0


class TrialSpec(Row, frozen=True, kw_only=True):
    """One trial: everything that can change its outcome.

    Attributes:
        setting: what the suite varies of the protocol, such as `weight_decay=0.1`; a name for a part of `protocol`.
    """

    dataset: str
    data_content: str = ""
    backbone: str
    backbone_content: str = ""
    distance: str | None
    loss: str
    seed: int
    protocol: Protocol
    meters: tuple[str, ...]
    device_kind: Literal["cpu", "cuda"]
    versions: dict[str, str]
    setting: str = ""

    @property
    def head(self) -> str:
        """What reports call the head: the distance, or `linear`."""
        return self.distance or "linear"

    @property
    def is_baseline(self) -> bool:
        """Linear head with cross-entropy."""
        return (self.head, self.loss) == ("linear", "cross_entropy")

    @property
    def cell(self) -> tuple[str, str, str, str, str]:
        """dataset, backbone, head, loss, setting."""
        return self.dataset, self.backbone, self.head, self.loss, self.setting

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits of a hash of every field; the setting is in the protocol."""
        return fingerprint({field: value for field, value in self.to_plain().items() if field != "setting"})

    def __str__(self) -> str:
        return " ".join(filter(None, (*self.cell, f"seed {self.seed}")))


class EnergyOrigin(Row, frozen=True, kw_only=True):
    """Where the joules of one component come from.

    Attributes:
        scope: what is counted: `process`, `board`, `whole board` (of which the trial has a part), `package`, `machine`.
        period_s: seconds between two renewals of what is read, or between two samples; None where nobody knows.
    """

    method: Method
    scope: str = ""
    detail: str = ""
    period_s: float | None = None


class EnergyFacts(Row, frozen=True, kw_only=True):
    """How a figure in joules was come by.

    Attributes:
        coverage: share of the window that readings stand for; None where nobody knows.
    """

    component: Component
    method: Method
    scope: str = ""
    period_s: float | None = None
    coverage: float | None = None


class BoardState(Record):
    """What a GPU says of itself; None where it does not say.

    Attributes:
        throttling: reasons for which its clocks are held back now.
        other_processes: at work on it, besides harmbench's own.
    """

    watts: float | None = None
    celsius: float | None = None
    sm_mhz: float | None = None
    memory_mhz: float | None = None
    throttling: tuple[str, ...] = ()
    other_processes: int | None = None


class Measurement(Row, frozen=True, kw_only=True):
    """A value with its unit, direction and origin; or None with the reason."""

    name: str
    value: float | None
    unit: str
    better: Direction
    origin: Origin = "measured"
    reason: str = ""
    energy: EnergyFacts | None = None

    @classmethod
    def of(cls, name: str, value: float | None, unit: str, better: Direction, reason: str = "", **more: Any) -> Self:
        """A measurement; None or a non-finite number becomes a missing one with the reason."""
        if value is None or not math.isfinite(value):
            reason = reason or ("undefined" if value is None else f"not finite ({value})")
            more["origin"] = "missing"
            return cls(name=name, value=None, unit=unit, better=better, reason=reason, **more)
        return cls(name=name, value=float(value), unit=unit, better=better, reason=reason, **more)


class EnergyReading(Record):
    """What a source of joules says at one moment.

    Attributes:
        joules: since the source started, by component; None where the component is not measured.
        gaps: why a component's joules since the last reading are not all there; it has none where they are.
        covered_s: seconds since the source started that its readings stand for.
        direct: the same from hardware counters that harmbench reads itself, to compare with.
        board: what the GPU says of itself.
    """

    joules: dict[Component, float | None]
    gaps: dict[Component, str] = Field(default_factory=dict)
    covered_s: dict[Component, float] = Field(default_factory=dict)
    direct: EnergyReading | None = None
    board: BoardState | None = None


class PhaseTotal(Row, frozen=True, kw_only=True):
    """Seconds and joules of one phase, all its windows together.

    Attributes:
        joules: by component; None where `reasons` says why.
        coverage: share of the seconds that the source's readings stand for, by component; where it is known.
        direct: joules by harmbench's own readings of hardware counters, where there are any; None where
            `direct_reasons` says why.
    """

    phase: Phase
    seconds: float
    joules: dict[Component, float | None]
    windows: int
    coverage: dict[Component, float] = {}
    reasons: dict[Component, str] = {}
    direct: dict[Component, float | None] = {}
    direct_reasons: dict[Component, str] = {}


class Telemetry(Row, frozen=True, kw_only=True):
    """What a GPU said of itself at the borders of a trial's phases: the least and the most, and all that was odd."""

    readings: int
    watts: tuple[float, float] | None = None
    celsius: tuple[float, float] | None = None
    sm_mhz: tuple[float, float] | None = None
    memory_mhz: tuple[float, float] | None = None
    throttling: tuple[str, ...] = ()
    other_processes: int | None = None


class IdleWindow(Record):
    """Joules of a machine on which no trial runs.

    Attributes:
        seconds: how long it was.
        joules: by component; None where `reasons` says why.
        direct: by harmbench's own readings of hardware counters.
    """

    seconds: float
    joules: dict[Component, float | None]
    reasons: dict[Component, str] = Field(default_factory=dict)
    direct: dict[Component, float | None] = Field(default_factory=dict)

    def watts(self, component: Component) -> float | None:
        """Mean power of a component; None where it was not measured."""
        joules = self.joules.get(component)
        return None if joules is None else joules / self.seconds


class _CallRecord(Record):
    """Base of what is recorded of one call of `run`."""

    invocation: str

    @model_validator(mode="before")
    @classmethod
    def _old_names(cls, fields: Any) -> Any:
        return renamed(fields, RECORD_FIELDS) if isinstance(fields, dict) else fields


class InvocationRecord(_CallRecord):
    """What was measured, and with what, at the start or end of one call of `run` on one device.

    Attributes:
        invocation: id of the call; each of its trials has it.
        instruments: the sources' settings, their origins and a short self-test; at the start only.
        idle: None where no idle window was asked for.
    """

    device: str
    environment: str
    moment: Literal["start", "end"]
    started: str
    instruments: dict[str, Any] = Field(default_factory=dict)
    idle: IdleWindow | None = None


class BudgetRecord(_CallRecord):
    """What one call of `run` was allowed to spend, and what it spent.

    Attributes:
        invocation: id of the call.
        asked: as on the command line.
        unit: of `limit` and `spent`: `s`, or `J` of processor and GPU.
        spent: from the start of the call, loading and idle windows included; None where it is not known.
        methods: how each component's joules were come by.
        trials: that ended in this call.
        left: planned trials that were not run yet.
        stopped: why no more trials were started; empty where nothing is left.
        incomplete: seeds of which only some trials have been run, with how many are left.
    """

    asked: str
    unit: Literal["s", "J"]
    limit: float
    spent: float | None
    methods: dict[Component, Method] = Field(default_factory=dict)
    started: str
    trials: int
    left: int
    stopped: str
    incomplete: dict[int, int] = Field(default_factory=dict)


class CurvePoint(Row, frozen=True, kw_only=True):
    """The state of a trial at one validation."""

    step: int
    epoch: float
    train_seconds: float
    train_joules: dict[Component, float | None]
    train_loss: float | None
    validation_accuracy: float
    validation_nll: float | None


class Curve(Row, frozen=True, kw_only=True):
    """A value over the steps: each point is a mean since the point before, up to and with its step."""

    name: str
    unit: str
    steps: tuple[int, ...]
    values: tuple[float | None, ...]


class MachineState(Row, frozen=True, kw_only=True):
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


class TrialRecord(Row, frozen=True, kw_only=True):
    """What became of one trial.

    Attributes:
        sizes: numbers of samples in each part, of classes and of parameters; of text, a sample is a window, and
            `train_tokens`, `validation_tokens` and `test_tokens` are the tokens that it asks for.
        together: trials of the same stack that were recorded with it, itself among them. Its seconds and joules, in
            phases, curve and `wall_seconds`, are then an equal share of theirs.
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
        """Read one, of this schema or of an earlier one.

        Raises:
            ValueError: for a text that is no trial record.
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
        for m in self.measurements:  # not in each of them: a call of Python takes as long as to read one
            if (m.value is None) != (m.origin == "missing") or (m.value is None and not m.reason):
                return f"{m.name}: a missing value has origin 'missing' and a reason, any other a number"
        return ""

    @property
    def is_of_text(self) -> bool:
        """Whether its answers are the tokens of a text."""
        return "test_tokens" in self.sizes

    def answers(self, part: Literal["train", "validation", "test"]) -> int:
        """How many answers a part of the data asks for: of text its tokens, else its samples; 0 where nobody knows."""
        return self.sizes.get(f"{part}_tokens", self.sizes.get(part, 0))

    def measurement(self, name: str) -> Measurement | None:
        """The measurement of a name; None where the trial has none."""
        place = _places.get(name, 0)
        if place < len(self.measurements) and (found := self.measurements[place]).name == name:
            return found
        for place, found in enumerate(self.measurements):
            if found.name == name:
                _places[name] = place
                return found
        return None

    def value(self, name: str) -> float | None:
        """The value of a measurement; None where it is missing."""
        found = self.measurement(name)
        return found.value if found else None


_places: dict[str, int] = {}  # where each measurement was found last: the trials of a run tell them in the same order


def fingerprint(value: Any) -> str:
    """Twelve hexadecimal digits that identify a JSON-like value."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
