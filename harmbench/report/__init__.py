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

from harmbench.report.conditions import Condition, conditions_of
from harmbench.report.numbers import MISSING
from harmbench.report.one import compose
from harmbench.report.several import compose_runs

__all__ = ["MISSING", "Condition", "compose", "compose_runs", "conditions_of"]
