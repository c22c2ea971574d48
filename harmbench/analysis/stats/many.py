"""Corrections for multiple tests."""

from __future__ import annotations

import math
from collections.abc import Sequence


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given. NaN stays NaN and does not count as a test.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted((i for i, p in enumerate(p_values) if not math.isnan(p)), key=lambda i: p_values[i])
    adjusted = [math.nan] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def at_least(count: int, p_values: Sequence[float]) -> float:
    """p-value against "the alternative holds in fewer than `count` of these tests" (Benjamini & Heller 2008).

    A `count` of all tests gives the largest p-value, which needs no correction. A `count` of 1 gives Bonferroni's
    p-value. NaN counts as 1.

    >>> at_least(3, [0.01, 0.02, 0.04]), at_least(1, [0.01, 0.02, 0.04])
    (0.04, 0.03)
    """
    ranked = sorted(1.0 if math.isnan(p) else p for p in p_values)
    return min(1.0, (len(ranked) - count + 1) * ranked[count - 1])
