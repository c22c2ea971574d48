"""Values over steps, fractions or ranks: a panel for each head, or all heads in one."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal

from harmbench.charts._layout import fit, grid_of, panels_of
from harmbench.charts._legend import Legend
from harmbench.charts._marks import strokes
from harmbench.charts._style import dress, entries, look, number
from harmbench.formats import Column, Figure, Table
from harmbench.records import Record

Stroke = Literal["plain", "dashed", "background"]
MOST_COLUMNS = 5
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
        for place, (axis, panel) in enumerate(zip(axes, self.panels, strict=True)):
            if self.has_legend:
                _paint_aside(axis, panel)
            else:
                for line in panel.lines:
                    _paint(axis, line)
            dress(axis, panel.title, 7.5 if columns > 3 else 9)
            if self.limits:
                axis.set_ylim(self.limits)
            if "x" not in self.log and all(x == int(x) for line in panel.lines for x in line.x):
                axis.xaxis.get_major_locator().set_params(integer=True)
            axis.set(xscale="log" if "x" in self.log else "linear", yscale="log" if "y" in self.log else "linear")
            axis.tick_params(labelleft=place % columns == 0)
            if not self.has_legend:
                axis.tick_params(labelbottom=place + columns >= len(self.panels))
        return fit(canvas, x=self.x, y=self.y, legend=Legend(entries(pairs), lines=True) if self.has_legend else None)


def _paint(axis: Any, line: Line) -> None:
    values = _values(line)
    if line.stroke == "background":
        axis.plot(line.x, values, color="black", lw=0.6, alpha=0.6, zorder=1.5)
    else:
        colour = look(line.head, line.loss).colour
        axis.plot(line.x, values, lw=1, color=colour, linestyle=":" if line.stroke == "dashed" else "-", zorder=2)


def _paint_aside(axis: Any, panel: LinePanel) -> None:
    """Lines with markers and intervals, each a little to the right of the one before, lest bars hide each other."""
    from matplotlib.lines import Line2D
    from matplotlib.transforms import ScaledTranslation

    inches = axis.figure.dpi_scale_trans
    step = min(_ASIDE, _FARTHEST / len(panel.lines)) / 72
    asides = [step * (rank - (len(panel.lines) - 1) / 2) for rank in range(len(panel.lines))]
    bars = []
    for line, aside in zip(panel.lines, asides, strict=True):
        drawn, values = look(line.head, line.loss), _values(line)
        moved = axis.transData + ScaledTranslation(aside, 0, inches)
        style = drawn.marker_options(4) | {"linestyle": drawn.line, "transform": moved}
        axis.add_line(Line2D(line.x, values, linewidth=1, zorder=2, **style))
        bars += [
            (aside, (x, y - half), (x, y + half), drawn.colour)
            for x, y, half in zip(line.x, values, line.half, strict=True)
            if half is not None
        ]
        axis.update_datalim([(x, y) for x, y in zip(line.x, values, strict=True) if y == y])  # what is moved has none
    moves = [(aside, 0) for aside in dict.fromkeys(group for group, *_ in bars)]
    style = {"transform": axis.transData, "offsets": moves, "offset_transform": inches}
    axis.add_collection(strokes(bars, linewidths=0.8, alpha=0.6, zorder=1.5, **style), autolim=False)
    axis.set_xmargin(0.12)  # room for what is moved
    axis.autoscale_view()


def _values(line: Line) -> list[float]:
    return [math.nan if y is None else y for y in line.y]


def limits_of_shares(panels: Iterable[LinePanel]) -> tuple[float, float]:
    """Of an axis in per cent: from zero, unless all is well above it and would be lost in empty panels."""
    lines = [line for panel in panels for line in panel.lines]
    lowest = min((y for line in lines for y in line.y if y is not None), default=0.0)
    return (lowest - 0.1 * (100 - lowest) if lowest > 50 else -3, 100 + 0.03 * (100 - max(lowest, 0)))
