"""A curve of bounded length, however many steps there are."""

from __future__ import annotations

from typing import Any

from harmbench.results.records import Curve

MAX_POINTS = 128


class CurveKeeper:
    """Means of a stream of values over runs of equal length, which double when there are too many of them.

    Args:
        name, unit: of the curve.

    >>> checkpoints = CurveKeeper("loss", "nat")
    >>> for step in range(1, 301):
    ...     checkpoints.add(step, 1.0)
    >>> len(checkpoints.curve().steps), checkpoints.curve().steps[:2]
    (75, (4, 8))
    """

    def __init__(self, name: str, unit: str) -> None:
        self._name, self._unit = name, unit
        self._width = 1  # values that make a point
        self._points: list[tuple[int, float, int]] = []  # last step, sum, number of values

    def add(self, step: int, value: float) -> None:
        """Take in a finite value."""
        if self._points and self._points[-1][2] < self._width:
            _, total, count = self._points.pop()
            self._points.append((step, total + value, count + 1))
            return
        if len(self._points) == MAX_POINTS:
            pairs = zip(self._points[::2], self._points[1::2], strict=True)
            self._points = [(late, one + other, n + m) for (_, one, n), (late, other, m) in pairs]
            self._width *= 2
        self._points.append((step, value, 1))

    def state(self) -> list[Any]:
        """For `restore`."""
        return [self._width, [list(point) for point in self._points]]

    def restore(self, state: list[Any]) -> None:
        """Go on from a state."""
        self._width, points = state
        self._points = [(step, total, count) for step, total, count in points]

    def curve(self) -> Curve:
        """Return the points so far. The last one may stand for fewer values than the others."""
        steps = tuple(step for step, _, _ in self._points)
        values = tuple(total / count for _, total, count in self._points)
        return Curve(name=self._name, unit=self._unit, steps=steps, values=values)
