"""Means with their intervals, a row for each head, a panel for each place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from harmbench.report.charts._layout import fit, grid_of, panels_of
from harmbench.report.charts._legend import Legend
from harmbench.report.charts._marks import Marker, Polyline, markers, polylines
from harmbench.report.charts._panel import Panel
from harmbench.report.charts._scale import Scale
from harmbench.report.charts._style import BLACK, GRID, SMALL, TINY, dress, entries_of_losses, look, number
from harmbench.report.charts._ticks import draw_ticks, write_under
from harmbench.report.formats import Column, Figure, Table
from harmbench.results.records import Record

MOST_TICKS = 30  # of one dot; more are one gray bar
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
        panels = panels_of(len(self.panels), (2.1, 0.2 * len(self.rows) + 0.05))
        for place, (panel, shown) in enumerate(zip(panels, self.panels, strict=True)):
            dress(panel, shown.title)
            panel.x = Scale(*(self.limits or _limits(shown)))
            panel.y = Scale(len(self.rows) - 0.4, -0.6)
            _paint_rows(panel, self.rows, shown.reference, named=place % columns == 0)
            _paint(panel, shown, heights)
            draw_ticks(panel, "x")
            if not shared:
                write_under(panel, shown.axis or self.axis)
        legend = None
        if len(losses) > 2 or len(heights) > len(self.rows):
            legend = Legend(entries_of_losses(losses))
        return fit(panels, x=shared, legend=legend, legend_on_top=True)

    def _heights(self) -> dict[tuple[str, str], float]:
        """Of each head and loss, from the top down: losses of one head lie side by side in its row."""
        pairs = {(dot.head, dot.loss) for panel in self.panels for dot in panel.dots}
        found = {}
        for row, head in enumerate(self.rows):
            losses = sorted(loss for other, loss in pairs if other == head)
            for i, loss in enumerate(losses):
                found[head, loss] = row + (i - (len(losses) - 1) / 2) * 0.6 / len(losses)
        return found


def _paint(panel: Panel, shown: DotPanel, heights: dict[tuple[str, str], float]) -> None:
    lows = [dot for dot in shown.dots if dot.mean < panel.x.start]
    marks = [(heights[d.head, d.loss], look(d.head, d.loss), d) for d in shown.dots if d not in lows]
    bars = [
        Polyline([(dot.mean - dot.half_width, y), (dot.mean + dot.half_width, y)], drawn.color)
        for y, drawn, dot in marks
        if dot.half_width
    ]
    ticks = [
        Polyline([(value, y - 0.14), (value, y + 0.14)], (drawn.color, _opacity(seeds)), width=0.8)
        for y, drawn, dot in marks
        for value, seeds in Counter(dot.values[:MOST_TICKS]).items()
    ]
    panel.add(polylines(bars + ticks, panel.places, zorder=1.5))
    places = panel.places((dot.mean, y) for y, _, dot in marks)
    panel.add(markers([Marker(*place, drawn) for place, (_, drawn, _) in zip(places, marks, strict=True)], 4))
    for head in dict.fromkeys(dot.head for dot in lows):  # one text for each: two would lie on each other
        means = {heights[d.head, d.loss]: number(d.mean) for d in lows if d.head == head}
        said = "◂ " + ", ".join(means[y] for y in sorted(means))
        ((x, y),) = panel.places([(panel.x.start, sum(means) / len(means))])
        panel.text(x, y, said, fontsize=TINY, va="center", color=look(head, "").color)


def _paint_rows(panel: Panel, rows: Sequence[str], reference: float | None, named: bool) -> None:
    """A gray line through each row and one at the reference, all as one artist; if rows are named, their heads."""
    ends = panel.x.start, panel.x.end
    lines = [Polyline([(x, row) for x in ends], GRID, width=0.3) for row in range(len(rows))]
    if reference is not None:
        lines.insert(0, Polyline([(reference, y) for y in panel.y[:2]], BLACK, "--", 0.8))
    panel.add(polylines(lines, panel.places, zorder=0.5))
    starts = panel.places((ends[0], row) for row in range(len(rows)))
    for (_, y), head in zip(starts, rows, strict=True) if named else ():
        panel.text(-0.03 * panel.width, y, head, fontsize=SMALL - 0.5, ha="right", va="center_baseline")


def _opacity(seeds: int) -> float:
    """Of a tick that stands for so many equal seeds: as if theirs lay on each other."""
    return 1 - (1 - OPACITY) ** min(seeds, MOST_EQUAL)


def _limits(panel: DotPanel) -> tuple[float, float]:
    """From where nine in ten of the means begin to the end of the intervals, so far as those are not extreme."""
    means = sorted(dot.mean for dot in panel.dots)
    if not means:
        return 0.0, 1.0
    low, high = means[len(means) // 10], means[-1]
    widths = sorted(dot.half_width or 0.0 for dot in panel.dots)
    margin = 0.1 * max(high - low, 0.01 * abs(high), 1e-9) + widths[len(widths) // 2]
    return low - margin, high + margin
