"""The scale of an axis: from which value to which it goes, and how far along it a value is."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import numpy as np

Kind = Literal["linear", "whole", "each", "log"]  # ticks of "whole" are at whole numbers, of "each" at all of them
MARGIN = 0.05  # on either side of what is shown, as a share of what it spans
WIDENED = 0.05  # of a value, on either side, where there is no other
FLOAT = 1e-15  # share of values that they may differ by and be one


class Scale(NamedTuple):
    """The values at the start and the end of an axis; the first may be the larger one."""

    start: float
    end: float
    kind: Kind = "linear"

    def shares(self, values: Any) -> Any:
        """How far along the axis an array's values are: 0 at its start, 1 at its end."""
        start, end = self.start, self.end
        if self.kind == "log":  # far below the panel is what has no logarithm
            start, end, values = math.log10(start), math.log10(end), np.log10(np.maximum(values, sys.float_info.min))
        return (values - start) / (end - start)


def around(values: Iterable[float], kind: Kind = "linear", margin: float = MARGIN) -> Scale:
    """A scale with room for all values, as matplotlib would choose it.

    >>> around([0.0, 10.0]), around([1.0, 100.0], "log", margin=0.5)
    (Scale(start=-0.5, end=10.5, kind='linear'), Scale(start=0.1, end=1000.0, kind='log'))
    """
    if kind != "log":
        known = [value for value in values if math.isfinite(value)] or [0.0]
        low, high = min(known), max(known)
        if math.isclose(low, high, rel_tol=FLOAT):
            low, high = low - WIDENED * (abs(low) or 1), high + WIDENED * (abs(high) or 1)
        aside = margin * (high - low)
        return Scale(low - aside, high + aside, kind)
    powers = [math.log10(value) for value in values if 0 < value < math.inf] or [0.0, 1.0]
    low, high = min(powers), max(powers)
    if low == high:
        low, high = math.ceil(low) - 1, math.floor(high) + 1
    aside = margin * (high - low)
    return Scale(10 ** (low - aside), 10 ** (high + aside), kind)
