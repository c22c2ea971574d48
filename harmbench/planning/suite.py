"""Reads suites. YAML -> SuiteSpec, or one SuiteError that lists every problem with its path.

A suite names the axes of the matrix (datasets, backbones, metrics, losses, seeds), the protocol and the meters:

    name: smoke
    question: Does everything work on this machine?
    datasets: [digits]
    backbones: [mlp]
    metrics: [euclidean, cosine]
    losses: [cross_entropy, harmonic]
    seeds: 1
    protocol: {steps: 60}
    meters: [quality, energy]

`vary` gives fields of the protocol several values, and each field is an axis. Heads are compared at equal values:

    vary: {weight_decay: [0, 0.01, 0.5]}

Its claims are statements about the results, which `harmbench claims` judges by named rules:

    claims:
      - id: cosine-accuracy
        sentence: On digits, the cosine distance with the harmonic loss is more accurate than linear + cross-entropy.
        source: arXiv 2603.10225, abstract
        measure: test_accuracy
        rule: better
        heads: cosine + harmonic

`metrics: all` stands for every registered distance with every named variant, `paper` for those of the papers.
A path wins over a shipped suite's name.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import product
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, TypeAdapter, ValidationError, ValidationInfo, field_validator

from harmbench.backbones import BACKBONES
from harmbench.datasets import DATASETS
from harmbench.errors import HarmbenchError, SuiteError, UnknownNameError
from harmbench.meters import METERS
from harmbench.nn.distances import DISTANCES
from harmbench.nn.losses import LOSSES
from harmbench.registry import Room, split_names
from harmbench.results._upgrade import MEASURES, PROTOCOL_FIELDS, renamed
from harmbench.results.records import Artifact, Protocol, Record


class Exclusion(Record):
    """A part of the matrix that a suite excludes, and why. In a pattern, `*` matches any text."""

    datasets: str = "*"
    backbones: str = "*"
    metrics: str = "*"
    losses: str = "*"
    reason: str

    @property
    def scope(self) -> str:
        """The patterns that narrow it."""
        axes = {"datasets": self.datasets, "backbones": self.backbones, "metrics": self.metrics, "losses": self.losses}
        return ", ".join(f"{axis} {pattern}" for axis, pattern in axes.items() if pattern != "*")


Rule = Literal["better", "better_on_average", "no_worse", "equivalent", "share_of_cells"]


class Claim(Record):
    """A statement about the results, with the rule that decides it.

    Heads are named as in reports, such as `cosine + harmonic`. In a name, `*` matches any text.
    """

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$", description="its name in tables")
    sentence: str = Field(min_length=1, description="what is tested, and on which data")
    source: str = Field(min_length=1, description="reference of the claim, without copied text")
    measure: str = Field(description="a measure's name; `joules` is processor and accelerator together")
    rule: Rule = Field(description="the rule that decides")
    heads: tuple[str, ...] = Field(min_length=1, description="the heads that the claim is about")
    baseline: str = Field(default="linear + cross_entropy", description="the head that they are compared with")
    direction: Literal["higher", "lower"] | None = Field(
        default=None, description="which direction is better; default: the direction of the measure"
    )
    margin: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        validate_default=True,
        description="0.01 is a point of an accuracy or share, a per cent of anything else",
    )
    share: float | None = Field(
        default=None,
        gt=0,
        le=1,
        validate_default=True,
        description="for the rule `share_of_cells`: the part of the cells that must agree",
    )
    accuracy_within: float | None = Field(
        default=None, ge=0, lt=1, description="a cell counts only if its mean test accuracy is at most so far behind"
    )
    loss_within: float | None = Field(
        default=None,
        ge=0,
        description="the same for its mean test loss, in nat: 0.05 is about 5 % of a perplexity",
    )
    datasets: tuple[str, ...] = Field(default=("*",), min_length=1, description="data sets that the claim covers")
    backbones: tuple[str, ...] = Field(default=("*",), min_length=1, description="backbones that the claim covers")
    settings: tuple[str, ...] = Field(
        default=("*",), min_length=1, description="settings that the claim covers, such as weight_decay=0"
    )

    @field_validator("measure")
    @classmethod
    def _present_name(cls, measure: str) -> str:
        return MEASURES.get(measure, measure)

    @field_validator("heads", "datasets", "backbones", "settings", mode="before")
    @classmethod
    def _one_or_many(cls, names: Any) -> Any:
        return _one_or_many(names)

    @field_validator("heads")
    @classmethod
    def _known_heads(cls, heads: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_head(label) for label in heads)

    @field_validator("baseline")
    @classmethod
    def _known_baseline(cls, label: str) -> str:
        if "*" in label:
            raise ValueError("is one head, not a pattern")
        return _head(label)

    @field_validator("datasets", "backbones")
    @classmethod
    def _known_addresses(cls, names: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        return tuple(_canonical(str(info.field_name), name) for name in names)

    @field_validator("margin")
    @classmethod
    def _needs_margin(cls, margin: float, info: ValidationInfo) -> float:
        if margin == 0 and info.data.get("rule") in ("no_worse", "equivalent"):
            raise ValueError(f"the rule {info.data['rule']} needs a margin above 0, such as 0.01")
        return margin

    @field_validator("share")
    @classmethod
    def _share_of_cells(cls, share: float | None, info: ValidationInfo) -> float | None:
        if "rule" not in info.data:
            return share
        takes_share = info.data["rule"] == "share_of_cells"
        if takes_share and share is None:
            raise ValueError("belongs to the rule share_of_cells, which needs it")
        if share is not None and not takes_share:
            raise ValueError("is of the rule share_of_cells only")
        return share


def _one_or_many(names: Any) -> Any:
    """A list of names from a comma-separated text, or from a list of such texts."""
    if isinstance(names, str):
        return split_names([names])
    if isinstance(names, list | tuple) and all(isinstance(name, str) for name in names):
        return split_names(names)
    return names


def _head(label: str) -> str:
    """Canonical form of `HEAD + LOSS`.

    Raises:
        ValueError: if it names an unknown distance or loss.
    """
    head, plus, loss = (part.strip() for part in label.partition("+"))
    if not (head and plus and loss):
        raise ValueError("write HEAD + LOSS, such as cosine + harmonic")
    if head != "linear":
        head = _canonical("metrics", head)
    return f"{head} + {_canonical('losses', loss)}"


def _canonical(field: str, name: str) -> str:
    """The canonical address of a name. A pattern is returned unchanged."""
    if "*" in name:
        return name
    try:
        return str(ROOMS[field].parse(name))
    except HarmbenchError as error:
        raise ValueError(str(error)) from None


def matches(pattern: str, name: str) -> bool:
    """Whether an address fits a pattern, in which `*` is any text and brackets are plain characters.

    >>> matches("hamming[*]", "hamming[variant=soft]"), matches("mlp", "mlp[hidden=8]")
    (True, False)
    """
    return fnmatchcase(_literal(name), _literal(pattern))


def _literal(text: str) -> str:
    """The text without brackets. Addresses have them, and a pattern would read them as a set of characters."""
    return text.replace("[", "<").replace("]", ">")


class SuiteSpec(Record):
    """A validated suite. Its names are canonical addresses."""

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9._-]+$")
    question: str = ""
    cost: str = ""
    datasets: tuple[str, ...] = Field(min_length=1)
    backbones: tuple[str, ...] = Field(min_length=1)
    metrics: tuple[str, ...] = ()
    losses: tuple[str, ...] = Field(min_length=1)
    seeds: int = Field(default=3, ge=1)
    protocol: Protocol
    vary: dict[str, tuple[Any, ...]] = Field(
        default={}, description="fields of the protocol with several values; each is an axis"
    )
    meters: tuple[str, ...] = (
        "quality",
        "convergence",
        "gradient_stability",
        "throughput",
        "memory",
        "energy",
        "representation",
    )
    idle_seconds: float = Field(
        default=5.0, ge=0, description="how long idle power is measured before the trials and after them; 0 skips it"
    )
    artifacts: tuple[Artifact, ...] = Field(
        default=(), description="arrays of each trial that are kept for plots; see plots.md"
    )
    exclude: tuple[Exclusion, ...] = ()
    claims: tuple[Claim, ...] = ()

    @field_validator("datasets", "backbones", "metrics", "losses", "meters", "artifacts", mode="before")
    @classmethod
    def _one_or_many(cls, names: Any) -> Any:
        return _one_or_many(names)

    @field_validator("vary", mode="before")
    @classmethod
    def _old_names(cls, vary: Any) -> Any:
        if not isinstance(vary, dict):
            return vary
        return renamed(vary, PROTOCOL_FIELDS)

    @field_validator("vary")
    @classmethod
    def _fits_the_protocol(cls, vary: dict[str, tuple[Any, ...]], info: ValidationInfo) -> dict[str, tuple[Any, ...]]:
        for field, values in vary.items():
            if field not in Protocol.model_fields:
                near = difflib.get_close_matches(field, Protocol.model_fields, n=1)
                advice = f"there is: {', '.join(Protocol.model_fields)}"
                if near:
                    advice = f"did you mean '{near[0]}'?"
                raise ValueError(f"the protocol has no field {field}; {advice}")
            if "protocol" in info.data:
                settings = settings_of(info.data["protocol"], {field: values})
                if len(settings) < len(values):
                    raise ValueError(f"{field} has a value twice")
            if not values:
                raise ValueError(f"{field} has no values")
        return vary

    @property
    def settings(self) -> dict[str, Protocol]:
        """The protocol at every combination of the varied values, by name."""
        return settings_of(self.protocol, self.vary)

    @field_validator("claims")
    @classmethod
    def _distinct(cls, claims: tuple[Claim, ...]) -> tuple[Claim, ...]:
        ids = [claim.id for claim in claims]
        twice = [name for name in ids if ids.count(name) > 1]
        if twice:
            raise ValueError(f"the id {min(twice)} is there twice")
        return claims


def settings_of(protocol: Protocol, vary: Mapping[str, Sequence[Any]]) -> dict[str, Protocol]:
    """A protocol at every combination of values of some of its fields, by name, in the order given.

    Raises:
        ValueError: if a field cannot have a value, or not with the rest of the protocol.

    >>> list(settings_of(Protocol(steps=60), {"weight_decay": [0, 0.5], "lr": [0.01]}))
    ['weight_decay=0 lr=0.01', 'weight_decay=0.5 lr=0.01']
    """
    settings = {}
    for values in product(*vary.values()):
        changes = dict(zip(vary, values, strict=True))
        try:
            changed = Protocol.model_validate(protocol.model_dump() | changes)
        except ValidationError as error:
            problems = [_problem(dict(entry)) for entry in error.errors()]
            raise ValueError("; ".join(problems)) from None
        texts = [f"{field}={_number_text(getattr(changed, field))}" for field in vary]
        settings[" ".join(texts)] = changed
    return settings


def _number_text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


ROOMS: dict[str, Room[Any]] = {
    "datasets": DATASETS,
    "backbones": BACKBONES,
    "metrics": DISTANCES,
    "losses": LOSSES,
    "meters": METERS,
}


def shipped() -> dict[str, Path]:
    """Paths of the suites that come with harmbench, by name."""
    package = Path(__file__).resolve().parent.parent
    folder = package / "suites"
    if not folder.is_dir():
        folder = package.parent / "suites"
    paths = sorted(folder.rglob("*.yaml"))
    return {str(path.relative_to(folder).with_suffix("")): path for path in paths}


def find(name: str) -> Path:
    """The file of a suite. An existing path takes precedence over a shipped name.

    Raises:
        UnknownNameError: if there is neither.
    """
    path = Path(name)
    if path.is_file():
        return path
    if path.suffix in {".yaml", ".yml"}:
        raise SuiteError(name, ["no such file; `harmbench ls suites` shows the shipped suites"])
    suites = shipped()
    if name not in suites:
        raise UnknownNameError("suite", name, suites, see="harmbench ls suites")
    return suites[name]


def load(name: str, overrides: Mapping[str, Any] | None = None) -> SuiteSpec:
    """Read and validate a suite.

    Args:
        name: a path or a shipped name.
        overrides: top-level fields that replace the file's; `protocol` is merged.

    Raises:
        UnknownNameError: for a suite that does not exist.
        SuiteError: with all problems of the file, each with its path in it.
    """
    path = find(name)
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise SuiteError(name, [f"cannot be read: {error}"]) from None
    except yaml.YAMLError as error:
        raise SuiteError(name, [f"not valid YAML: {' '.join(str(error).split())}"]) from None
    if not isinstance(content, dict):
        raise SuiteError(name, ["must be a mapping with name, datasets, backbones, losses and protocol"])
    return check(content, overrides or {}, source=name)


def check(content: Mapping[str, Any], overrides: Mapping[str, Any], source: str) -> SuiteSpec:
    """A suite from a mapping. All problems come in one error.

    Raises:
        SuiteError: with all problems.
    """
    changes = dict(overrides)
    protocol_changes = changes.pop("protocol", {})
    merged = {**content, **changes}
    if isinstance(content.get("protocol"), Mapping):
        merged["protocol"] = _override_protocol(content["protocol"], protocol_changes)
    problems: list[str] = []
    merged = {field: _resolve(field, value, problems) for field, value in merged.items()}
    try:
        spec = SuiteSpec.model_validate(merged)
    except ValidationError as error:
        # Further errors of these fields would mislead, because their lists are incomplete now.
        incomplete = {problem.partition(":")[0] for problem in problems}
        for entry in error.errors():
            if entry["loc"][0] not in incomplete:
                problems.append(_problem(dict(entry)))
        spec = None
    if problems or spec is None:
        raise SuiteError(source, problems)
    return spec


def check_claims(claims: Any, source: str) -> tuple[Claim, ...]:
    """Claims from a list of mappings.

    Raises:
        SuiteError: with all problems.
    """
    try:
        return TypeAdapter(tuple[Claim, ...]).validate_python(tuple(claims))
    except ValidationError as error:
        problems = []
        for entry in error.errors():
            problems.append(_problem({**entry, "loc": ("claims", *entry["loc"])}))
        raise SuiteError(source, problems) from None


def _override_protocol(protocol: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The protocol with the changes. A budget in steps replaces one in epochs, and the reverse."""
    budgets = {"steps", "epochs"}
    kept = dict(protocol)
    if budgets & changes.keys():
        kept = {field: value for field, value in protocol.items() if field not in budgets}
    return {**kept, **changes}


def _resolve(field: str, value: Any, problems: list[str]) -> Any:
    """Canonical addresses for a list of names. Anything else is returned unchanged, for the schema to check."""
    if field not in ROOMS or not isinstance(value, str | list | tuple):
        return value
    names = [value] if isinstance(value, str) else list(value)
    if not all(isinstance(name, str) for name in names):
        return value
    resolved: list[str] = []
    if names and not split_names(names):
        problems.append(f"{field}: names nothing")
    for name in split_names(names):
        try:
            resolved += expand_name(field, name)
        except HarmbenchError as error:
            problems.append(f"{field}: {error}")
    return list(dict.fromkeys(resolved))


def expand_name(field: str, name: str) -> list[str]:
    """Canonical addresses of one name. `all` and `paper` stand for sets of metrics.

    Raises:
        UnknownNameError, OptionError: as `Room.parse`.

    >>> expand_name("metrics", "minkowski[p=3.0]")
    ['minkowski[p=3]']
    """
    if field == "metrics" and name in {"all", "paper"}:
        return [str(d) for d in DISTANCES.every_variant() if name == "all" or d.is_in_papers]
    return [str(ROOMS[field].parse(name))]


def _problem(error: dict[str, Any]) -> str:
    """One of pydantic's errors, as `path: problem`."""
    path = ".".join(str(part) for part in error["loc"])
    if error["type"] == "missing":
        return f"{path}: is required"
    if error["type"] == "extra_forbidden":
        within: dict[Any, type[Record]] = {"protocol": Protocol, "exclude": Exclusion, "claims": Claim}
        *parents, field = error["loc"]
        record: type[Record] = SuiteSpec
        if parents:
            record = within.get(parents[0], SuiteSpec)
        near = difflib.get_close_matches(str(field), record.model_fields, n=1)
        if near:
            return f"{path}: no such field; did you mean '{near[0]}'?"
        return f"{path}: no such field (there is: {', '.join(record.model_fields)})"
    message = error["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    value = error["input"]
    first = value[0] if isinstance(value, list | tuple) and value else value
    if isinstance(first, dict):  # a whole mapping would hide the problem
        return f"{path}: {message}"
    return f"{path}: {message}, got {value!r}"
