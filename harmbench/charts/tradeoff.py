"""Quality against cost, with the front of the heads that none beats in both."""

from __future__ import annotations

from typing import Any

from harmbench.charts._style import (
    GREY,
    TINY,
    canvas_of,
    dress,
    grid_of,
    labels,
    legend,
    legend_height,
    look,
    number,
    panels_of,
)
from harmbench.formats import Column, Figure, Table
from harmbench.records import Record

LOG_FROM = 10.0  # ratio of the largest cost to the least from which on the axis is logarithmic


class Mark(Record):
    """A head: means of cost and quality with the half-widths of their intervals, None for single values.

    Attributes:
        unsound: why it cannot be on the front, whatever its means; empty where it can.
    """

    head: str
    loss: str
    cost: float
    cost_half: float | None
    quality: float
    quality_half: float | None
    unsound: str = ""


class TradeoffPanel(Record):
    """One place."""

    title: str
    marks: tuple[Mark, ...]

    @property
    def front(self) -> tuple[Mark, ...]:
        """Sound heads that no other sound head beats in both means, cheapest first."""
        ranked = sorted((m for m in self.marks if not m.unsound), key=lambda m: (m.cost, -m.quality))
        found: list[Mark] = []
        for mark in ranked:
            if not found or mark.quality > found[-1].quality:
                found.append(mark)
        return tuple(found)


class Tradeoff(Figure):
    """Quality (up) against cost (right); the best corner is the upper left.

    Attributes:
        x, y: labels of the axes, with units.
        bounds: of the quality; no axis goes far beyond them, however wide an interval is.
    """

    x: str
    y: str
    bounds: tuple[float, float]
    panels: tuple[TradeoffPanel, ...]

    def table(self) -> Table:
        columns = (
            Column(label="panel", numeric=False),
            Column(label="head", numeric=False),
            Column(label="loss", numeric=False),
            Column(label=self.x),
            Column(label="±"),
            Column(label=self.y),
            Column(label="±"),
            Column(label="front", numeric=False),
        )
        rows = tuple(
            (
                panel.title,
                m.head,
                m.loss,
                number(m.cost),
                number(m.cost_half),
                number(m.quality),
                number(m.quality_half),
                m.unsound or ("on it" if m in panel.front else ""),
            )
            for panel in self.panels
            for m in sorted(panel.marks, key=lambda m: m.cost)
        )
        return Table(title=f"{self.y} against {self.x}", caption=self.caption, columns=columns, rows=rows)

    def paint(self) -> Any:
        pairs = [(mark.head, mark.loss) for panel in self.panels for mark in panel.marks]
        rows, columns = grid_of(len(self.panels), most=2)
        width = max(3.6 * columns, 5.0)
        canvas = canvas_of(width, 2.9 * rows + legend_height(pairs, width))
        for axis, panel in zip(panels_of(canvas, len(self.panels), most=2), self.panels, strict=True):
            self._paint(axis, panel, labels(pairs))
        legend(canvas, pairs)
        return canvas

    def _paint(self, axis: Any, panel: TradeoffPanel, named: dict[tuple[str, str], str]) -> None:
        axis.set(xlabel=self.x, ylabel=self.y)
        dress(axis, panel.title)
        costs = [mark.cost for mark in panel.marks]
        if max(costs) > LOG_FROM * min(costs) > 0:
            axis.set_xscale("log")
        steps = [(mark.cost, mark.quality) for mark in panel.front]
        axis.plot([cost for cost, _ in steps], [quality for _, quality in steps], color=GREY, lw=1, ds="steps-post")
        for mark in panel.marks:
            drawn, is_pale = look(mark.head, mark.loss), bool(mark.unsound)
            axis.plot(
                mark.cost, mark.quality, linestyle="", alpha=0.3 if is_pale else 1, zorder=3, **drawn.marker_options()
            )
        means = axis.get_xlim()
        low, high = _limits(panel, self.bounds)
        for collect, bars in (
            (axis.hlines, [(m.quality, m.cost, m.cost_half, m) for m in panel.marks]),
            (axis.vlines, [(m.cost, m.quality, m.quality_half, m) for m in panel.marks]),
        ):
            known = [
                (place, middle - half, middle + half, mark) for place, middle, half, mark in bars if half is not None
            ]
            if known:
                *places, marks = map(list, zip(*known, strict=True))
                colours = [(look(m.head, m.loss).colour, 0.4 if m in panel.front else 0.18) for m in marks]
                collect(*places, colors=colours, lw=0.5)
        axis.set(xlim=means, ylim=(low, high))
        axis.plot(
            [cost for cost, _ in steps],
            [quality for _, quality in steps],
            linestyle="",
            marker="o",
            markersize=9,
            fillstyle="none",
            color=GREY,
            zorder=4,
        )
        left_out = [mark for mark in panel.marks if mark.quality < low]
        if left_out:
            said = ", ".join(f"{named[mark.head, mark.loss]} {number(mark.quality)}" for mark in left_out)
            axis.text(0.01, 0.01, f"below: {said}", fontsize=TINY - 1, transform=axis.transAxes, wrap=True)


def _limits(panel: TradeoffPanel, bounds: tuple[float, float]) -> tuple[float, float]:
    """From where nine in ten of the means begin to the best one, with room for a usual interval."""
    values = sorted(mark.quality for mark in panel.marks)
    low, high = values[len(values) // 10], values[-1]
    widths = sorted(mark.quality_half or 0.0 for mark in panel.marks)
    margin = 0.1 * max(high - low, 1e-9) + widths[len(widths) // 2] / 2
    beyond = 0.03 * (bounds[1] - bounds[0])
    return max(low - margin, bounds[0] - beyond), min(high + margin, bounds[1] + beyond)
