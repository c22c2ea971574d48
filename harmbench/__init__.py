"""harmbench: benchmarks harmonic losses and their energy.

The map: `distances/`, `losses/`, `backbones/`, `datasets/`, `meters/`, `formats/`, `executors/` are open rooms, one
component per file. `suite` -> `plan` -> `runner` -> `store` -> `stats` -> `report` -> `formats` is the way through.
Names that need torch load on first use, so that planning and reporting start without it.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "DistanceHead": "harmbench.heads",
    "HarmbenchError": "harmbench.errors",
    "HarmonicHead": "harmbench.heads",
    "LinearHead": "harmbench.heads",
    "Objective": "harmbench.heads",
    "harmonic_loss": "harmbench.fused",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'harmbench' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
