"""Values over steps, fractions or ranks: a panel for each head, or all heads in one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from harmbench.charts._layout import fit, grid_of, panels_of
from harmbench.charts._legend import Legend
from harmbench.charts._marks import Marker, Polyline, markers, polylines
from harmbench.charts._points import in_points, points_of
from harmbench.charts._style import BLACK, dress, entries, look, number
from harmbench.charts._ticks import draw_ticks
from harmbench.formats import Column, Figure, Table
from harmbench.records import Record

Stroke = Literal["plain", "dashed", "background"]
MOST_COLUMNS = 5
MOST_TICKS = 9  # on the left: only the first column has labels there
_ASIDE, _FARTHEST = 2.5, 36  # points between the bars of two heads at the same place, and of the first and the last


class Line(Record):
    """One line of a head.

    Attributes:
        what: which of the head's lines it is, such as `seed 0`.
        x: where it has values.
        y: the values; None leaves a gap.
        half: half-widths of their intervals, or nothing; None for a single value.
        stroke: `background` is thin and black, to compare with.
    """

    head: str
    loss: str
    what: str
    x: tuple[float, ...]
    y: tuple[float | None, ...]
    half: tuple[float | None, ...] = ()
    stroke: Stroke = "plain"


class LinePanel(Record):
    """One panel."""

    title: str
    lines: tuple[Line, ...]


class Lines(Figure):
    """Lines in panels that share the upward axis, and the other one too unless there is a legend.

    Attributes:
        x, y: labels of the axes, with units.
        log: the axes that are logarithmic: "", "x", "y" or "xy".
        limits: of the upward axis; as wide as the data unless given.
        has_legend: whether heads are named by a legend, and not by the titles.
    """

    x: str
    y: str
    panels: tuple[LinePanel, ...]
    log: str = ""
    limits: tuple[float, float] | None = None
    has_legend: bool = False

    def table(self) -> Table:
        columns = (
            *(Column(label=label, numeric=False) for label in ("panel", "head", "loss", "line")),
            Column(label=self.x),
            Column(label=self.y),
            Column(label="±"),
        )
        rows = tuple(
            (
                panel.title,
                line.head,
                line.loss,
                line.what,
                number(x),
                number(y),
                number(half) if half is not None else "",
            )
            for panel in self.panels
            for line in panel.lines
            if line.stroke != "background"  # drawn in full in a panel of its own
            for x, y, half in zip(line.x, line.y, line.half or (None,) * len(line.x), strict=True)
        )
        return Table(title=f"{self.y} over {self.x}", caption=self.caption, columns=columns, rows=rows)

    def paint(self) -> Any:
        pairs = [(line.head, line.loss) for panel in self.panels for line in panel.lines]
        most = 3 if self.has_legend else MOST_COLUMNS
        _, columns = grid_of(len(self.panels), most)
        size = (3.0, 2.4) if self.has_legend else (1.7, 1.3) if columns > 3 else (2.4, 1.9)
        canvas, axes = panels_of(len(self.panels), size, most, share="y" if self.has_legend else "xy")
        for axis, panel in zip(axes, self.panels, strict=True):
            dress(axis, panel.title, 7.5 if columns > 3 else 9)
            axis.update_datalim([(x, y) for line in panel.lines for x, y in _points(line) if y == y])
        self._scale(axes)
        paint = _paint_aside if self.has_legend else _paint
        for place, (axis, panel) in enumerate(zip(axes, self.panels, strict=True)):
            paint(axis, panel)
            has_x = self.has_legend or place + columns >= len(axes)
            draw_ticks(axis, named="x" * has_x + "y" * (place % columns == 0), most=MOST_TICKS)
        return fit(canvas, x=self.x, y=self.y, legend=Legend(entries(pairs), lines=True) if self.has_legend else None)

    def _scale(self, axes: Sequence[Any]) -> None:
        """Scales and limits of all panels, once their data are known."""
        own = axes if self.has_legend else axes[:1]  # what all share is set once
        is_whole = all(x == int(x) for panel in self.panels for line in panel.lines for x in line.x)
        for axis in own:
            axis.set_xmargin(0.12 if self.has_legend else 0.05)  # room for what is moved aside
            if "x" in self.log:
                axis.set_xscale("log")
            elif is_whole:
                axis.xaxis.get_major_locator().set_params(integer=True)
        if "y" in self.log:
            axes[0].set_yscale("log")
        if self.limits:
            axes[0].set_ylim(self.limits)
        for axis in own:
            axis.autoscale_view()


def _points(line: Line) -> list[tuple[float, float]]:
    return [(x, math.nan if y is None else y) for x, y in zip(line.x, line.y, strict=True)]


def _paint(axis: Any, panel: LinePanel) -> None:
    """Lines, those to compare with beneath the others."""
    lines = sorted(panel.lines, key=lambda line: line.stroke != "background")
    axis.add_collection(polylines(map(_polyline, lines)), autolim=False)


def _polyline(line: Line) -> Polyline:
    if line.stroke == "background":
        return Polyline(_points(line), (BLACK, 0.6), width=0.6)
    return Polyline(_points(line), look(line.head, line.loss).colour, ":" if line.stroke == "dashed" else "-")


def _paint_aside(axis: Any, panel: LinePanel) -> None:
    """Lines with markers and intervals, each a little to the right of the one before, lest bars hide each other."""
    step = min(_ASIDE, _FARTHEST / len(panel.lines))
    lines, marks, bars = [], [], []
    for rank, line in enumerate(panel.lines):
        drawn, points, aside = look(line.head, line.loss), _points(line), step * (rank - (len(panel.lines) - 1) / 2)
        known = [(x, y, half) for (x, y), half in zip(points, line.half, strict=True) if half is not None]
        places = points + [(x, y - half) for x, y, half in known] + [(x, y + half) for x, y, half in known]
        moved = [(x + aside, y) for x, y in in_points(axis, places)]
        values, ends = moved[: len(points)], moved[len(points) :]
        lines.append(Polyline(values, drawn.colour, drawn.line))
        marks += [Marker(x, y, drawn) for x, y in values if y == y]
        bars += [Polyline(bar, (drawn.colour, 0.6), width=0.8) for bar in zip(ends, ends[len(known) :], strict=False)]
    axis.add_collection(polylines(bars + lines, transform=points_of(axis), zorder=1.5), autolim=False)
    axis.add_collection(markers(marks, 4, points_of(axis)), autolim=False)


def limits_of_shares(panels: Iterable[LinePanel]) -> tuple[float, float]:
    """Of an axis in per cent: from zero, unless all is well above it and would be lost in empty panels."""
    lines = [line for panel in panels for line in panel.lines]
    lowest = min((y for line in lines for y in line.y if y is not None), default=0.0)
    return (lowest - 0.1 * (100 - lowest) if lowest > 50 else -3, 100 + 0.03 * (100 - max(lowest, 0)))
