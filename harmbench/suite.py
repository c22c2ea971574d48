"""Suites: YAML -> SuiteSpec, or one SuiteError that lists every problem with its path.

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

`metrics: all` stands for every registered distance with every named variant, `paper` for those of the papers.
A path wins over a shipped suite's name.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError, field_validator

from harmbench.backbones import BACKBONES
from harmbench.datasets import DATASETS
from harmbench.distances import DISTANCES
from harmbench.errors import HarmbenchError, SuiteError, UnknownNameError
from harmbench.losses import LOSSES
from harmbench.meters import METERS
from harmbench.records import Protocol, Record
from harmbench.registry import Room, split_names


class Exclusion(Record):
    """A part of the matrix that a suite leaves out, and why; patterns as in file names, `*` for any text."""

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


class SuiteSpec(Record):
    """A validated suite; names are canonical addresses."""

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9._-]+$")
    question: str = ""
    cost: str = ""
    datasets: tuple[str, ...] = Field(min_length=1)
    backbones: tuple[str, ...] = Field(min_length=1)
    metrics: tuple[str, ...] = ()
    losses: tuple[str, ...] = Field(min_length=1)
    seeds: int = Field(default=3, ge=1)
    protocol: Protocol
    meters: tuple[str, ...] = ("quality", "convergence", "gradient_stability", "throughput", "memory", "energy")
    exclude: tuple[Exclusion, ...] = ()

    @field_validator("datasets", "backbones", "metrics", "losses", "meters", mode="before")
    @classmethod
    def _one_or_many(cls, names: Any) -> Any:
        if isinstance(names, str):
            return split_names([names])
        if isinstance(names, list | tuple) and all(isinstance(name, str) for name in names):
            return split_names(names)
        return names


ROOMS: dict[str, Room[Any]] = {
    "datasets": DATASETS,
    "backbones": BACKBONES,
    "metrics": DISTANCES,
    "losses": LOSSES,
    "meters": METERS,
}


def shipped() -> dict[str, Path]:
    """Suites that come with harmbench, by name: from the wheel, or from the checkout it runs from."""
    package = Path(__file__).resolve().parent
    folder = package / "suites" if (package / "suites").is_dir() else package.parent / "suites"
    return {str(path.relative_to(folder).with_suffix("")): path for path in sorted(folder.rglob("*.yaml"))}


def find(name: str) -> Path:
    """The file of a suite: a path that exists, else a shipped name.

    Raises:
        UnknownNameError: where there is neither.
    """
    path = Path(name)
    if path.is_file():
        return path
    if path.suffix in {".yaml", ".yml"}:
        raise SuiteError(name, ["no such file; `harmbench ls suites` shows the shipped suites"])
    known = shipped()
    if name not in known:
        raise UnknownNameError("suite", name, known, see="harmbench ls suites")
    return known[name]


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
    """A suite from a mapping; problems of every kind come together.

    Raises:
        SuiteError: with all problems.
    """
    merged = {**content, **{key: value for key, value in overrides.items() if key != "protocol"}}
    if "protocol" in overrides and isinstance(content.get("protocol"), Mapping):
        merged["protocol"] = _override_protocol(content["protocol"], overrides["protocol"])
    problems: list[str] = []
    merged = {field: _resolve(field, value, problems) for field, value in merged.items()}
    try:
        spec = SuiteSpec.model_validate(merged)
    except ValidationError as error:
        named = {problem.partition(":")[0] for problem in problems}  # what is left of their lists says nothing new
        problems += [_problem(dict(entry)) for entry in error.errors() if entry["loc"][0] not in named]
        spec = None
    if problems or spec is None:
        raise SuiteError(source, problems)
    return spec


def _override_protocol(protocol: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """One budget replaces the other."""
    budgets = {"steps", "epochs"}
    kept = {k: v for k, v in protocol.items() if not (k in budgets and budgets & changes.keys())}
    return {**kept, **changes}


def _resolve(field: str, value: Any, problems: list[str]) -> Any:
    """Canonical addresses for a list of names; whatever else passes through to the schema."""
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
    """Canonical addresses of one name; `all` and `paper` stand for sets of metrics.

    Raises:
        UnknownNameError, OptionError: as `Room.parse`.

    >>> expand_name("metrics", "minkowski[p=3.0]")
    ['minkowski[p=3]']
    """
    if field == "metrics" and name in {"all", "paper"}:
        return [str(d) for d in DISTANCES.every_variant() if name == "all" or d.is_in_papers]
    return [str(ROOMS[field].parse(name))]


def _problem(error: dict[str, Any]) -> str:
    """One of pydantic's errors as `path: what is wrong`."""
    path = ".".join(str(part) for part in error["loc"])
    if error["type"] == "missing":
        return f"{path}: is required"
    if error["type"] == "extra_forbidden":
        within: dict[Any, type[Record]] = {"protocol": Protocol, "exclude": Exclusion}
        fields = within.get(error["loc"][0] if len(error["loc"]) > 1 else None, SuiteSpec).model_fields
        near = difflib.get_close_matches(str(error["loc"][-1]), fields, n=1)
        return f"{path}: no such field" + (
            f"; did you mean '{near[0]}'?" if near else f" (there is: {', '.join(fields)})"
        )
    said = error["msg"].removeprefix("Value error, ")
    got = "" if isinstance(error["input"], dict) else f", got {error['input']!r}"
    return f"{path}: {said[:1].lower()}{said[1:]}{got}"
