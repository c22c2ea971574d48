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

from harmbench.report.groups import Group, group_cells
from harmbench.report.numbers import MISSING
from harmbench.report.one import compose
from harmbench.report.together import compose_together

__all__ = ["MISSING", "Group", "compose", "compose_together", "group_cells"]
