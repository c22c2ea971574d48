"""The plan of a named suite on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

from harmbench.backbones import BACKBONES
from harmbench.datasets import DATASETS
from harmbench.planning import suite as suites
from harmbench.planning.environment import result_versions
from harmbench.planning.plan import Plan, expand


def make_plan(suite: str, overrides: Mapping[str, Any], devices: Sequence[str], data_dir: Path) -> Plan:
    """The plan of a suite.

    Args:
        suite: a shipped suite's name, or the path of a YAML file.
        overrides: fields that replace those of the suite.
        devices: that run the trials, all of one kind.
        data_dir: folder of data sets.

    Raises:
        UnknownNameError: if there is no such suite.
        SuiteError: if the suite has problems, or leaves nothing to run.
    """
    spec = suites.load(suite, overrides)
    kind = cast(Literal["cpu", "cuda"], devices[0].split(":")[0])
    contents = {address: DATASETS.parse(address).content(data_dir) for address in spec.datasets}
    contents |= {address: BACKBONES.parse(address).content() for address in spec.backbones}
    return expand(spec, kind, result_versions(), contents)
