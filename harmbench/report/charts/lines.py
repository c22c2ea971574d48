"""Values over steps, fractions or ranks: a panel for each head, or all heads in one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import cycle
from typing import Any, Literal

from harmbench.report.charts._layout import fit, grid_of, panels_of
from harmbench.report.charts._legend import Legend
from harmbench.report.charts._marks import Marker, Polyline, markers, polylines
from harmbench.report.charts._panel import Panel
from harmbench.report.charts._scale import MARGIN, Kind, Scale, around
from harmbench.report.charts._style import BLACK, dress, entries, look, number
from harmbench.report.charts._ticks import draw_ticks
from harmbench.report.formats import Column, Figure, Table
from harmbench.results.records import Record

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
        panels = panels_of(len(self.panels), size, most)
        self._scale(panels)
        paint = _paint_aside if self.has_legend else _paint
        for place, (panel, shown) in enumerate(zip(panels, self.panels, strict=True)):
            dress(panel, shown.title, 7.5 if columns > 3 else 9)
            paint(panel, shown)
            has_x = self.has_legend or place + columns >= len(panels)
            draw_ticks(panel, named="x" * has_x + "y" * (place % columns == 0), most=MOST_TICKS)
        return fit(panels, x=self.x, y=self.y, legend=Legend(entries(pairs), lines=True) if self.has_legend else None)

    def _scale(self, panels: Sequence[Panel]) -> None:
        """Scales of all panels, from all that they show; with a legend, each panel has one of its own in x."""
        shown = [
            [(x, y) for line in panel.lines for x, y in _points(line) if not math.isnan(y)] for panel in self.panels
        ]
        together = [point for points in shown for point in points]
        is_whole = all(x == int(x) for panel in self.panels for line in panel.lines for x in line.x)
        across: Kind = "log" if "x" in self.log else "whole" if is_whole else "linear"
        margin = 0.12 if self.has_legend else MARGIN  # room for what is moved aside
        own = [around((x for x, _ in points), across, margin) for points in (shown if self.has_legend else [together])]
        upward: Kind = "log" if "y" in self.log else "linear"
        y = Scale(*self.limits, upward) if self.limits else around((y for _, y in together), upward)
        for panel, x in zip(panels, cycle(own), strict=False):
            panel.x, panel.y = x, y


def _points(line: Line) -> list[tuple[float, float]]:
    return [(x, math.nan if y is None else y) for x, y in zip(line.x, line.y, strict=True)]


def _paint(panel: Panel, shown: LinePanel) -> None:
    """Lines, those to compare with beneath the others."""
    lines = sorted(shown.lines, key=lambda line: line.stroke != "background")
    panel.add(polylines(map(_polyline, lines), panel.places))


def _polyline(line: Line) -> Polyline:
    if line.stroke == "background":
        return Polyline(_points(line), (BLACK, 0.6), width=0.6)
    return Polyline(_points(line), look(line.head, line.loss).color, ":" if line.stroke == "dashed" else "-")


def _paint_aside(panel: Panel, shown: LinePanel) -> None:
    """Lines with markers and intervals, each a little to the right of the one before, lest bars hide each other."""
    step = min(_ASIDE, _FARTHEST / len(shown.lines))
    lines, marks, bars = [], [], []
    for rank, line in enumerate(shown.lines):
        drawn, points, aside = look(line.head, line.loss), _points(line), step * (rank - (len(shown.lines) - 1) / 2)
        known = [(x, y, half) for (x, y), half in zip(points, line.half, strict=True) if half is not None]
        places = points + [(x, y - half) for x, y, half in known] + [(x, y + half) for x, y, half in known]
        moved = [(x + aside, y) for x, y in panel.places(places)]
        values, ends = moved[: len(points)], moved[len(points) :]
        lines.append(Polyline(values, drawn.color, drawn.line))
        marks += [Marker(x, y, drawn) for x, y in values if not math.isnan(y)]
        bars += [Polyline(bar, (drawn.color, 0.6), width=0.8) for bar in zip(ends, ends[len(known) :], strict=False)]
    panel.add(polylines(bars + lines, zorder=1.5))
    panel.add(markers(marks, 4))


def limits_of_shares(panels: Iterable[LinePanel]) -> tuple[float, float]:
    """Of an axis in per cent: from zero, unless all is well above it and would be lost in empty panels."""
    lines = [line for panel in panels for line in panel.lines]
    lowest = min((y for line in lines for y in line.y if y is not None), default=0.0)
    return (lowest - 0.1 * (100 - lowest) if lowest > 50 else -3, 100 + 0.03 * (100 - max(lowest, 0)))
