"""Means with their intervals, a row for each head, a panel for each place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from harmbench.charts._layout import fit, grid_of, panels_of
from harmbench.charts._legend import Legend
from harmbench.charts._marks import Marker, Polyline, markers, polylines
from harmbench.charts._points import in_points, points_of
from harmbench.charts._style import BLACK, GRID, SMALL, TINY, dress, look, number
from harmbench.charts._ticks import draw_ticks, write_under
from harmbench.formats import Column, Figure, Table
from harmbench.records import Record

MOST_TICKS = 30  # of one dot; more are one grey bar
OPACITY = 0.45  # of the tick of one seed
MOST_EQUAL = 8  # seeds that make a tick darker; more cannot be told apart


class Dot(Record):
    """One mark: a head's mean with the half-width of its interval, None for a single value; and each seed's value."""

    head: str
    loss: str
    mean: float
    half_width: float | None
    values: tuple[float, ...] = ()


class DotPanel(Record):
    """One panel; `reference` is drawn as a line through all rows."""

    title: str
    dots: tuple[Dot, ...]
    reference: float | None = None
    axis: str = ""


class Dots(Figure):
    """Dots with intervals: panels side by side, with the same rows.

    Attributes:
        axis: label with unit, where a panel has none of its own.
        limits: of all axes; else an axis ends where nine rows in ten are, lest a head that fails squeeze the rest.
    """

    axis: str
    panels: tuple[DotPanel, ...]
    limits: tuple[float, float] | None = None

    @property
    def rows(self) -> list[str]:
        """Heads, in the order in which they first appear."""
        return list(dict.fromkeys(dot.head for panel in self.panels for dot in panel.dots))

    def table(self) -> Table:
        columns = (
            Column(label="panel", numeric=False),
            Column(label="head", numeric=False),
            Column(label="loss", numeric=False),
            Column(label="mean"),
            Column(label="±"),
            Column(label="seeds", numeric=False),
        )
        rows = tuple(
            (
                panel.title,
                dot.head,
                dot.loss,
                number(dot.mean),
                number(dot.half_width),
                ", ".join(number(value) for value in dot.values),
            )
            for panel in self.panels
            for dot in panel.dots
        )
        return Table(title=self.axis or self.name, caption=self.caption, columns=columns, rows=rows)

    def paint(self) -> Any:
        heights, losses = self._heights(), sorted({dot.loss for panel in self.panels for dot in panel.dots})
        units = {panel.axis or self.axis for panel in self.panels}
        shared = units.pop() if len(units) == 1 else ""
        _, columns = grid_of(len(self.panels))
        canvas, axes = panels_of(len(self.panels), (2.1, 0.2 * len(self.rows) + 0.05))
        for place, (axis, panel) in enumerate(zip(axes, self.panels, strict=True)):
            dress(axis, panel.title)
            self._paint(axis, panel, heights)
            _paint_rows(axis, self.rows, named=place % columns == 0)
            draw_ticks(axis, "x")
            if not shared:
                write_under(axis, panel.axis or self.axis)
        legend = None
        if len(losses) > 2 or len(heights) > len(self.rows):
            legend = Legend({loss: look("linear", loss)._replace(marker="o") for loss in losses})
        return fit(canvas, x=shared, legend=legend, legend_on_top=True)

    def _heights(self) -> dict[tuple[str, str], float]:
        """Of each head and loss, from the top down: losses of one head lie side by side in its row."""
        pairs = {(dot.head, dot.loss) for panel in self.panels for dot in panel.dots}
        found = {}
        for row, head in enumerate(self.rows):
            losses = sorted(loss for other, loss in pairs if other == head)
            for i, loss in enumerate(losses):
                found[head, loss] = row + (i - (len(losses) - 1) / 2) * 0.6 / len(losses)
        return found

    def _paint(self, axis: Any, panel: DotPanel, heights: dict[tuple[str, str], float]) -> None:
        if panel.reference is not None:
            axis.axvline(panel.reference, color=BLACK, linewidth=0.8, linestyle="--", zorder=0)
        left, right = self.limits or _limits(panel)
        lows = [dot for dot in panel.dots if left is not None and dot.mean < left]
        marks = [(heights[d.head, d.loss], look(d.head, d.loss), d) for d in panel.dots if d not in lows]
        bars = [
            Polyline([(dot.mean - dot.half_width, y), (dot.mean + dot.half_width, y)], drawn.colour)
            for y, drawn, dot in marks
            if dot.half_width
        ]
        ticks = [
            Polyline([(value, y - 0.14), (value, y + 0.14)], (drawn.colour, _opacity(seeds)), width=0.8)
            for y, drawn, dot in marks
            for value, seeds in Counter(dot.values[:MOST_TICKS]).items()
        ]
        axis.add_collection(polylines(bars + ticks, zorder=1.5), autolim=False)
        axis.set_xlim(left, right)
        axis.set_ylim(len(self.rows) - 0.4, -0.6)
        places = in_points(axis, [(dot.mean, y) for y, _, dot in marks])
        dots = [Marker(*place, drawn) for place, (_, drawn, _) in zip(places, marks, strict=True)]
        axis.add_collection(markers(dots, 4, points_of(axis)), autolim=False)
        for head in dict.fromkeys(dot.head for dot in lows):  # one text for each: two would lie on each other
            means = {heights[d.head, d.loss]: number(d.mean) for d in lows if d.head == head}
            place, colour = (left, sum(means) / len(means)), look(head, "").colour
            said = "◂ " + ", ".join(means[y] for y in sorted(means))
            axis.text(*place, said, fontsize=TINY, va="center", color=colour)


def _paint_rows(axis: Any, rows: Sequence[str], named: bool) -> None:
    """A grey line through each row, all as one artist, and its head beside it if it is named."""
    across = axis.get_yaxis_transform()  # x in shares of the panel
    lines = [Polyline([(0, row), (1, row)], GRID, width=0.3) for row in range(len(rows))]
    axis.add_collection(polylines(lines, zorder=0.5, transform=across), autolim=False)
    for row, head in enumerate(rows if named else ()):
        axis.text(-0.03, row, head, fontsize=SMALL - 0.5, ha="right", va="center_baseline", transform=across)


def _opacity(seeds: int) -> float:
    """Of a tick that stands for so many equal seeds: as if theirs lay on each other."""
    return 1 - (1 - OPACITY) ** min(seeds, MOST_EQUAL)


def _limits(panel: DotPanel) -> tuple[float | None, float | None]:
    """From where nine in ten of the means begin to the end of the intervals, so far as those are not extreme."""
    means = sorted(dot.mean for dot in panel.dots)
    if not means:
        return None, None
    low, high = means[len(means) // 10], means[-1]
    widths = sorted(dot.half_width or 0.0 for dot in panel.dots)
    margin = 0.1 * max(high - low, 0.01 * abs(high), 1e-9) + widths[len(widths) // 2]
    return low - margin, high + margin
