"""Values over steps, fractions or ranks: a panel for each head, or all heads in one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from harmbench.charts._style import canvas_of, dress, grid_of, legend, legend_height, look, number, panels_of
from harmbench.formats import Column, Figure, Table
from harmbench.records import Record

Stroke = Literal["plain", "dashed", "background"]
MOST_COLUMNS = 5
_ASIDE = 2.5  # points between the bars of two heads at the same place


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
        rows, columns = grid_of(len(self.panels), most)
        side = 3.2 if self.has_legend else 1.9 if columns > 3 else 2.6
        width = max(side * columns + 0.5, 3.5)
        below = legend_height(pairs, width) if self.has_legend else 0
        canvas = canvas_of(width, 0.85 * side * rows + 0.35 + below)
        axes = panels_of(canvas, len(self.panels), most, sharex=not self.has_legend, sharey=True)
        for place, (axis, panel) in enumerate(zip(axes, self.panels, strict=True)):
            for rank, line in enumerate(panel.lines):
                _paint(axis, line, _ASIDE * (rank - (len(panel.lines) - 1) / 2) if self.has_legend else None)
            dress(axis, panel.title)
            axis.title.set_size(7.5 if columns > 3 else 9)
            if self.limits:
                axis.set_ylim(self.limits)
            if "x" not in self.log and all(x == int(x) for line in panel.lines for x in line.x):
                axis.xaxis.get_major_locator().set_params(integer=True)
            axis.set(xscale="log" if "x" in self.log else "linear", yscale="log" if "y" in self.log else "linear")
            if place + columns >= len(self.panels):
                axis.tick_params(labelbottom=True)
        canvas.supxlabel(self.x, fontsize=8) if not self.has_legend else [axis.set_xlabel(self.x) for axis in axes]
        canvas.supylabel(self.y, fontsize=8)
        if self.has_legend:
            legend(canvas, pairs, lines=True)
        return canvas


def _paint(axis: Any, line: Line, aside: float | None) -> None:
    """One line; with markers, and so many points to the right lest bars hide each other, unless `aside` is None."""
    from matplotlib.transforms import ScaledTranslation

    drawn = look(line.head, line.loss)
    values = [float("nan") if y is None else y for y in line.y]
    if line.stroke == "background":
        axis.plot(line.x, values, color="black", lw=0.6, alpha=0.6, zorder=1.5)
        return
    style: dict[str, Any] = {"color": drawn.colour, "linestyle": ":" if line.stroke == "dashed" else "-"}
    if aside is not None:
        moved = axis.transData + ScaledTranslation(aside / 72, 0, axis.figure.dpi_scale_trans)
        style = {**drawn.marker_options(4), "linestyle": drawn.line, "transform": moved}
        shown = [(x, y, half) for x, y, half in zip(line.x, values, line.half, strict=True) if half is not None]
        for x, y, half in shown:
            axis.plot([x, x], [y - half, y + half], color=drawn.colour, lw=0.8, alpha=0.6, transform=moved)
        axis.update_datalim([(x, y) for x, y in zip(line.x, values, strict=True) if y == y])  # what is moved has none
        axis.set_xmargin(0.12)  # room for what is moved
        axis.autoscale_view()
    axis.plot(line.x, values, lw=1, zorder=2, **style)


def limits_of_shares(panels: Iterable[LinePanel]) -> tuple[float, float]:
    """Of an axis in per cent: from zero, unless all is well above it and would be lost in empty panels."""
    lines = [line for panel in panels for line in panel.lines]
    lowest = min((y for line in lines for y in line.y if y is not None), default=0.0)
    return (lowest - 0.1 * (100 - lowest) if lowest > 50 else -3, 100 + 0.03 * (100 - max(lowest, 0)))
