"""Statistics of seeds: pure functions of numbers without global state. Random functions take a generator.

One seed of a head and the same seed of the baseline share their initial backbone and data order, so differences
are taken in pairs. A table of many heads is corrected for multiple tests (Holm).

    student      means, paired and unpaired differences, seeds needed, minimum detectable effect
    many         Holm's correction, and tests of "in at least k of these cells"
    over_cells   interquartile mean, performance profile, probability of improvement, with a stratified bootstrap
    censored     median of times that some trials do not reach
    cka          similarity of two models' features

Their error rates are simulated in benchmarks/statistics.md.
"""

from __future__ import annotations

from harmbench.analysis.stats.censored import CensoredMedian, censored_median
from harmbench.analysis.stats.cka import alignment, linear_cka
from harmbench.analysis.stats.many import at_least, holm
from harmbench.analysis.stats.over_cells import (
    BootstrapIndices,
    BootstrapInterval,
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
    Interval,
    MeanDifference,
    Signs,
    mean_interval,
    minimum_detectable_effect,
    paired_difference,
    seeds_to_decide,
    two_sided,
)

__all__ = [
    "LEVEL",
    "SURE",
    "BootstrapIndices",
    "BootstrapInterval",
    "CensoredMedian",
    "Comparison",
    "Interval",
    "MeanDifference",
    "Profile",
    "Signs",
    "aggregate",
    "alignment",
    "at_least",
    "censored_median",
    "holm",
    "interquartile_mean",
    "linear_cka",
    "mean_interval",
    "minimum_detectable_effect",
    "paired_difference",
    "performance_profile",
    "probability_of_improvement",
    "seeds_to_decide",
    "two_sided",
]
