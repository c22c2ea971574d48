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

from harmbench.charts._legend import Legend

POINTS = 72  # to the inch; at so many dots to the inch, what is measured is in points
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


def panels_of(
    count: int,
    size: tuple[float, float],
    most: int = 4,
    share: str = "",
    projection: str | None = None,
    downwards: bool = False,
) -> tuple[Any, list[Any]]:
    """A new figure and its axes; `fit` gives them their places.

    Args:
        count: of panels.
        size: width and height of each, in inches.
        most: columns.
        share: the axes that all panels have in common: "", "x", "y" or "xy".
        projection: of all axes, as matplotlib names it.
        downwards: fill column by column, not row by row.
    """
    from matplotlib.figure import Figure
    from matplotlib.gridspec import GridSpec

    rows, columns = grid_of(count, most)
    canvas = Figure(figsize=(columns * size[0], rows * size[1]), dpi=POINTS)
    grid = GridSpec(rows, columns, canvas, left=0, right=1, bottom=0, top=1, wspace=0, hspace=0)
    axes: list[Any] = []
    for i in range(count):
        common = {f"share{which}": axes[0] for which in share if axes}
        place = divmod(i, rows)[::-1] if downwards else divmod(i, columns)
        axes.append(canvas.add_subplot(grid[place], projection=projection, **common))
        if not projection:
            axes[-1].set_axis_off()  # see `_ticks`
    return canvas, axes


def fit(canvas: Any, x: str = "", y: str = "", legend: Legend | None = None, legend_on_top: bool = False) -> Any:
    """Give panels, labels and legend their places, and the figure the size that they need.

    Args:
        canvas: a figure of `panels_of`, painted; its panels have no upward labels of their own.
        x: label of all panels, below them.
        y: label of all panels, on their left.
        legend: below all panels, unless `legend_on_top`.
        legend_on_top: whether it is above them.
    """
    rows, columns = canvas.axes[0].get_subplotspec().get_gridspec().get_geometry()
    width, height = canvas.bbox.width / columns, canvas.bbox.height / rows
    left, right, above, below = _rooms(canvas, rows, columns)
    lefts, panels_wide = _spread(left, width, right)
    tops, panels_high = _spread(above, height, below)
    beside, under = 1.5 * LABEL * bool(y), 1.5 * LABEL * bool(x)
    explained = legend.fit(max(panels_wide, LEAST_WIDTH)) if legend else (0.0, 0.0)
    wide = max(beside + panels_wide, explained[0]) + 2 * AROUND
    high = panels_high + under + explained[1] + 2 * AROUND
    canvas.set_size_inches(wide / POINTS, high / POINTS)
    start = (wide + beside - panels_wide) / 2
    top = high - AROUND - (explained[1] if legend_on_top else 0)
    for axis in canvas.axes:
        row, column = divmod(axis.get_subplotspec().num1, columns)
        place = ((start + lefts[column]) / wide, (top - tops[row] - height) / high)
        axis.set_position((*place, width / wide, height / high))
    _write(canvas, x, start + (lefts[0] + lefts[-1] + width) / 2, top - panels_high - under, va="bottom")
    _write(canvas, y, start - 0.8 * beside, top - (tops[0] + tops[-1] + height) / 2, va="center", rotation="vertical")
    if legend:
        legend.draw(canvas, (wide - explained[0]) / 2, high - AROUND if legend_on_top else AROUND + explained[1])
    return canvas


def _write(canvas: Any, text: str, x: float, y: float, **style: Any) -> None:
    """A label at so many points from the figure's lower left corner, if there is one."""
    if text:
        place = (x / POINTS, y / POINTS)
        canvas.text(*place, text, ha="center", fontsize=LABEL, transform=canvas.dpi_scale_trans, **style)


def _rooms(canvas: Any, rows: int, columns: int) -> tuple[list[float], list[float], list[float], list[float]]:
    """Points that texts need: left and right of the panels of each column, above and below those of each row."""
    from harmbench.charts._renderer import svg_renderer

    renderer = svg_renderer(canvas, io.StringIO())  # measures without drawing
    left, right, above, below = [0.0] * columns, [0.0] * columns, [0.0] * rows, [0.0] * rows
    for axis in canvas.axes:
        row, column = divmod(axis.get_subplotspec().num1, columns)
        inner = axis.get_position(original=True).transformed(canvas.transFigure)
        outer = axis.get_tightbbox(renderer, bbox_extra_artists=axis.texts)
        left[column] = max(left[column], inner.x0 - outer.x0)
        right[column] = max(right[column], outer.x1 - inner.x1)
        above[row] = max(above[row], outer.y1 - inner.y1)
        below[row] = max(below[row], inner.y0 - outer.y0)
    return left, right, above, below


def _spread(before: Sequence[float], size: float, after: Sequence[float]) -> tuple[list[float], float]:
    """Where panels begin that need room before and after them, and where the last one's room ends.

    >>> _spread([5, 0], 100, [0, 1])
    ([5, 115.0], 216.0)
    """
    rooms = [one + size + other + BETWEEN for one, other in zip(before, after, strict=True)]
    ends = list(accumulate(rooms, initial=0))
    return [end + one for end, one in zip(ends[:-1], before, strict=True)], ends[-1] - BETWEEN
