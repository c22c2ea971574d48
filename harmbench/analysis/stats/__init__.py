"""Statistics of seeds: pure functions of numbers, no global state; what is random takes a generator.

One seed of a head and the same seed of the baseline share their initial backbone and data order, so differences
are taken in pairs; a table of many heads is corrected for looking many times (Holm).

    student      one cell, two cells by seed, two cells without pairs; how many seeds would decide
    many         Holm; "in at least so many of these cells"
    over_cells   interquartile mean, performance profile, probability of improvement, with a stratified bootstrap
    censored     median of times that some trials never reach
    cka          similarity of two models' features

How often they err is in benchmarks/statistics.md, by simulation.
"""

from __future__ import annotations

from harmbench.analysis.stats.censored import Median, censored_median
from harmbench.analysis.stats.cka import alignment, linear_cka
from harmbench.analysis.stats.many import at_least, holm
from harmbench.analysis.stats.over_cells import (
    Bracket,
    Draws,
    Profile,
    aggregate,
    interquartile_mean,
    performance_profile,
    probability_of_improvement,
)
from harmbench.analysis.stats.student import (
    LEVEL,
    SURE,
    Comparison,
    Estimate,
    Interval,
    Signs,
    detectable_difference,
    mean_interval,
    paired_difference,
    seeds_to_decide,
    two_sided,
)

__all__ = [
    "LEVEL",
    "SURE",
    "Bracket",
    "Comparison",
    "Draws",
    "Estimate",
    "Interval",
    "Median",
    "Profile",
    "Signs",
    "aggregate",
    "alignment",
    "at_least",
    "censored_median",
    "detectable_difference",
    "holm",
    "interquartile_mean",
    "linear_cka",
    "mean_interval",
    "paired_difference",
    "performance_profile",
    "probability_of_improvement",
    "seeds_to_decide",
    "two_sided",
]
