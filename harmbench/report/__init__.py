"""RunData -> Report: verdicts, costs and uncertainty, before they have a format.

one           the report of one run            several       the report of several runs
conditions    cells of one condition, ranked and compared with the baseline
overview      the first table                  summary       sentences
tables        tables of a condition            aggregates    tables over all conditions
grokking, time_to_target, phases, similarity   tables of one topic
figures       plots as files                   files         a report as files, with its figures
notes         definitions and caveats          environment   machine, versions, instruments
tidy          raw rows                         numbers       numbers as text
claims, compare, doctor                        texts of the commands with these names
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "MISSING": "harmbench.report.numbers",
    "Condition": "harmbench.report.conditions",
    "compose": "harmbench.report.one",
    "compose_runs": "harmbench.report.several",
    "conditions_of": "harmbench.report.conditions",
}  # imported at first use: a format or a plot alone needs no statistics

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'harmbench.report' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)
