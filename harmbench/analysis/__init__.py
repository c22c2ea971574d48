"""Records -> values. Makes no text for people beyond reasons.

cells            trials of one condition, head and loss       conditions       names and order of conditions
measures         names, units and scales of measures          collapse         whether a trial collapsed
primary          the metric that heads are ranked by          comparisons      difference of two cells
claims           verdicts on a suite's claims                 compare          changes between two runs
time_to_target   times until a target is reached              similarity       CKA of features
stats/           statistics of seeds, as pure functions
"""

from __future__ import annotations
