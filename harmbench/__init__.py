"""harmbench benchmarks harmonic losses and their energy.

The folders are the stages that data pass through. A room is a folder where one file adds one component.

    nn          the library: heads, harmonic_loss; rooms `distances` and `losses`; kernels
    backbones   room: inputs -> features
    datasets    room: training, validation and test parts
    meters      room: what is measured in a trial
    energy      joules and CO2
    planning    suite file -> plan, and what it will cost
    executors   room: where trials run
    runner      plan -> records
    results     what is on disk
    analysis    records -> values
    report      values -> documents; rooms `formats` and `plots`
    testing     contracts that components of every room must pass
    cli         one file per command

Names that need torch are imported at first use, so planning and reporting start without it.
"""

from __future__ import annotations

import importlib
from typing import Any

from harmbench import _moved

__version__ = "0.2.0.dev1"

_moved.install()

_HOMES = {
    "DistanceHead": "harmbench.nn.heads",
    "HarmbenchError": "harmbench.errors",
    "HarmonicHead": "harmbench.nn.heads",
    "LinearHead": "harmbench.nn.heads",
    "Objective": "harmbench.nn.heads",
    "harmonic_loss": "harmbench.nn.functional",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'harmbench' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
