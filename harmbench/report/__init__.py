"""RunData -> Report: what holds, what it cost, how sure we are. Knows no format.

groups        cells of one data set and backbone, ranked and compared with the baseline
overview      the first table
summary       sentences
figures       data of the plots
tables        of a group
notes         definitions and caveats
environment   machine, versions, instruments
tidy          raw rows
numbers       as text
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "MISSING": "harmbench.report.numbers",
    "Group": "harmbench.report.groups",
    "compose": "harmbench.report.one",
    "compose_together": "harmbench.report.together",
    "group_cells": "harmbench.report.groups",
}  # imported at first use: a format or a plot alone needs no statistics

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'harmbench.report' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)
