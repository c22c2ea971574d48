"""What marks and lines mean, in columns. matplotlib's own legend takes longer than the panels that it explains."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from harmbench.report.charts._marks import Marker, Polyline, markers, polylines
from harmbench.report.charts._panel import points_of
from harmbench.report.charts._style import Look

SIZE = 7.0  # of the font
ROW, GAP = 1.45 * SIZE, 2 * SIZE  # points from line to line, and between columns
BESIDE = 5.0  # points between a mark and its name
MARKER = 5.0


class Legend:
    """Looks by their names.

    Args:
        entries: what is explained.
        lines: whether that are lines.
    """

    def __init__(self, entries: Mapping[str, Look], lines: bool = False) -> None:
        self._entries, self._lines = entries, lines
        self._sample = 22.0 if lines else 8.0  # points that a mark takes, or a line with its mark
        self._column = self._sample + BESIDE + _widest(entries) + GAP
        self._rows, self._columns = 0, 0

    def fit(self, width: float) -> tuple[float, float]:
        """Take as many columns as fit into so many points, but one at least; width and height of the legend then."""
        most = max(1, int((width + GAP) / self._column))
        self._rows = math.ceil(len(self._entries) / most)
        columns = math.ceil(len(self._entries) / self._rows)
        return columns * self._column - GAP, (self._rows + 1) * ROW

    def draw(self, canvas: Any, left: float, top: float) -> None:
        """Draw it into a figure, once it fits: so many points from the figure's left and from its lower edge."""
        points, marks, lines = points_of(canvas), [], []
        for i, (name, drawn) in enumerate(self._entries.items()):
            column, row = divmod(i, self._rows)
            x, y = left + column * self._column, top - (row + 1) * ROW
            marks.append(Marker(x + self._sample / 2, y, drawn))
            lines.append(Polyline([(x, y), (x + self._sample, y)], drawn.color, drawn.line, 1.2))
            canvas.text(x + self._sample + BESIDE, y - 0.36 * SIZE, name, fontsize=SIZE, transform=points)
        if self._lines:
            canvas.add_artist(polylines(lines, transform=points))
        canvas.add_artist(markers(marks, MARKER, transform=points))


def _widest(names: Iterable[str]) -> float:
    """Points that the widest name takes; it is among those of the most letters."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font, longest = FontProperties(size=SIZE), sorted(names, key=len)[-5:]
    return max(float(text_to_path.get_text_width_height_descent(name, font, False)[0]) for name in longest)
