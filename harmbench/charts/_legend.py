"""What marks and lines mean, in columns. matplotlib's own legend takes longer than the panels that it explains."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from harmbench.charts._marks import markers
from harmbench.charts._style import Look

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
        from matplotlib.collections import LineCollection

        scale, marks, lines = canvas.dpi_scale_trans, [], []
        for i, (name, drawn) in enumerate(self._entries.items()):
            column, row = divmod(i, self._rows)
            x, y = (left + column * self._column) / 72, (top - (row + 1) * ROW) / 72
            marks.append((x + self._sample / 144, y, drawn, 1.0))
            lines.append([(x, y), (x + self._sample / 72, y)])
            place = (x + (self._sample + BESIDE) / 72, y - 0.36 * SIZE / 72)
            canvas.text(*place, name, fontsize=SIZE, transform=scale)
        if self._lines:
            looks = self._entries.values()
            colours, styles = [look.colour for look in looks], [look.line for look in looks]
            canvas.add_artist(LineCollection(lines, colors=colours, linestyles=styles, linewidths=1.2, transform=scale))
        canvas.add_artist(markers(marks, MARKER, scale))


def _widest(names: Iterable[str]) -> float:
    """Points that the widest name takes; it is among those of the most letters."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font, longest = FontProperties(size=SIZE), sorted(names, key=len)[-5:]
    return max(float(text_to_path.get_text_width_height_descent(name, font, False)[0]) for name in longest)
