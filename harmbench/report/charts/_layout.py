"""Where panels, their texts and the legend stand: panels have a size, and the figure grows around them.

So nothing is cut off, whatever the texts are, and each is measured once. matplotlib's constrained layout shrinks the
panels into a given figure instead: it draws everything twice to find out by how much, and a text that is too long
leaves nothing of them.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from harmbench.report.charts._legend import Legend
from harmbench.report.charts._panel import POINTS, Panel, points_of

BETWEEN, AROUND = 10.0, 5.0  # points between panels, and at the edges
LABEL = 8.0  # font size of labels of axes
LEAST_WIDTH = 330.0  # points that a legend may take, however narrow the panels are


def grid_of(count: int, most: int = 4) -> tuple[int, int]:
    """Rows and columns for so many panels.

    >>> grid_of(3), grid_of(6)
    ((1, 3), (2, 3))
    """
    rows = math.ceil(count / most)
    return rows, math.ceil(count / rows)


def panels_of(count: int, size: tuple[float, float], most: int = 4, downwards: bool = False) -> list[Panel]:
    """The panels of a new figure; `fit` gives them their places.

    Args:
        count: of panels.
        size: width and height of each, in inches.
        most: columns.
        downwards: fill column by column, not row by row.
    """
    from matplotlib.figure import Figure

    rows, columns = grid_of(count, most)
    canvas = Figure(figsize=size, dpi=POINTS)
    places = [divmod(i, rows)[::-1] if downwards else divmod(i, columns) for i in range(count)]
    return [Panel(canvas, row, column) for row, column in places]


def fit(
    panels: Sequence[Panel], x: str = "", y: str = "", legend: Legend | None = None, legend_on_top: bool = False
) -> Any:
    """Give panels, labels and legend their places, and their figure the size that it needs; the figure then.

    Args:
        panels: of `panels_of`, painted.
        x: label of all panels, below them.
        y: label of all panels, on their left.
        legend: below all panels, unless `legend_on_top`.
        legend_on_top: whether it is above them.
    """
    canvas, width, height = panels[0].canvas, panels[0].width, panels[0].height
    left, right, above, below = _rooms(panels)
    lefts, panels_wide = _spread(left, width, right)
    tops, panels_high = _spread(above, height, below)
    beside, under = 1.5 * LABEL * bool(y), 1.5 * LABEL * bool(x)
    explained = legend.fit(max(panels_wide, LEAST_WIDTH)) if legend else (0.0, 0.0)
    wide = max(beside + panels_wide, explained[0]) + 2 * AROUND
    high = panels_high + under + explained[1] + 2 * AROUND
    canvas.set_size_inches(wide / POINTS, high / POINTS)
    start = (wide + beside - panels_wide) / 2
    top = high - AROUND - (explained[1] if legend_on_top else 0)
    for panel in panels:
        panel.put(start + lefts[panel.column], top - tops[panel.row] - height)
    _write(canvas, x, start + (lefts[0] + lefts[-1] + width) / 2, top - panels_high - under, va="bottom")
    _write(canvas, y, start - 0.8 * beside, top - (tops[0] + tops[-1] + height) / 2, va="center", rotation="vertical")
    if legend:
        legend.draw(canvas, (wide - explained[0]) / 2, high - AROUND if legend_on_top else AROUND + explained[1])
    return canvas


def _write(canvas: Any, text: str, x: float, y: float, **style: Any) -> None:
    """A label at so many points from the figure's lower left corner, if there is one."""
    if text:
        canvas.text(x, y, text, ha="center", fontsize=LABEL, transform=points_of(canvas), **style)


def _rooms(panels: Sequence[Panel]) -> tuple[list[float], list[float], list[float], list[float]]:
    """Points that texts need: left and right of the panels of each column, above and below those of each row."""
    from harmbench.report.charts._renderer import svg_renderer

    renderer = svg_renderer(panels[0].canvas, io.StringIO())  # measures without drawing
    left, right, above, below = zip(*(panel.room(renderer) for panel in panels), strict=True)
    columns, rows = [panel.column for panel in panels], [panel.row for panel in panels]
    return _most(left, columns), _most(right, columns), _most(above, rows), _most(below, rows)


def _most(rooms: Sequence[float], places: Sequence[int]) -> list[float]:
    """The largest room of each column, or row, from the room of each panel and where it stands.

    >>> _most([1.0, 5.0, 2.0], [0, 1, 0])
    [2.0, 5.0]
    """
    return [max(room for room, other in zip(rooms, places, strict=True) if other == i) for i in range(1 + max(places))]


def _spread(before: Sequence[float], size: float, after: Sequence[float]) -> tuple[list[float], float]:
    """Where panels begin that need room before and after them, and where the last one's room ends.

    >>> _spread([5, 0], 100, [0, 1])
    ([5, 115.0], 216.0)
    """
    rooms = [one + size + other + BETWEEN for one, other in zip(before, after, strict=True)]
    ends = list(accumulate(rooms, initial=0))
    return [end + one for end, one in zip(ends[:-1], before, strict=True)], ends[-1] - BETWEEN
