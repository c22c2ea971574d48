"""Means with their intervals, a row for each head, a panel for each place."""

from __future__ import annotations

from typing import Any

from harmbench.charts._style import BLACK, SMALL, TINY, canvas_of, dress, grid_of, labels, look, number, panels_of
from harmbench.formats import Column, Figure, Table
from harmbench.records import Record

MOST_TICKS = 30  # of one dot; more are one grey bar


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
        from matplotlib.lines import Line2D

        losses = sorted({dot.loss for panel in self.panels for dot in panel.dots})
        longest = max(map(len, self.rows), default=0)
        rows, columns = grid_of(len(self.panels))
        width = 0.07 * longest + 2.4 * columns + 0.2
        canvas = canvas_of(max(width, 4), rows * (0.75 + 0.05 * len(losses) + 0.19 * len(self.rows)) + 0.2)
        axes = panels_of(canvas, len(self.panels), sharey=True)
        for axis, panel in zip(axes, self.panels, strict=True):
            self._paint(axis, panel, losses)
        axes[0].set_yticks(range(len(self.rows)), self.rows)
        axes[0].set_ylim(len(self.rows) - 0.4, -0.6)
        if len(losses) > 2 or len(labels((d.head, d.loss) for p in self.panels for d in p.dots)) > len(self.rows):
            handles = [
                Line2D([], [], linestyle="", label=loss, **look("linear", loss)._replace(marker="o").marker_options())
                for loss in losses
            ]
            canvas.legend(
                handles=handles, loc="outside upper center", ncols=min(4, len(losses)), frameon=False, fontsize=TINY + 1
            )
        return canvas

    def _paint(self, axis: Any, panel: DotPanel, losses: list[str]) -> None:
        dress(axis, panel.title)
        axis.set_xlabel(panel.axis or self.axis)
        if panel.reference is not None:
            axis.axvline(panel.reference, color=BLACK, linewidth=0.8, linestyle="--", zorder=0)
        left, right = self.limits or _limits(panel)
        heights = {(dot.head, dot.loss): self._height(dot, losses) for dot in panel.dots}
        shown = [dot for dot in panel.dots if left is None or dot.mean >= left]
        # One collection for all bars, and one for all ticks: a line each would take most of the time.
        marks = [(heights[dot.head, dot.loss], look(dot.head, dot.loss).colour, dot) for dot in shown]
        bars = [(y, dot.mean - dot.half_width, dot.mean + dot.half_width, c) for y, c, dot in marks if dot.half_width]
        ticks = [(value, y - 0.14, y + 0.14, colour) for y, colour, dot in marks for value in dot.values[:MOST_TICKS]]
        for collect, lines, style in ((axis.hlines, bars, {"lw": 1}), (axis.vlines, ticks, {"lw": 0.8, "alpha": 0.45})):
            if lines:
                *places, colours = map(list, zip(*lines, strict=True))
                collect(*places, colors=colours, zorder=1.5, **style)
        for y, _, dot in marks:
            axis.plot(dot.mean, y, linestyle="", **look(dot.head, dot.loss).marker_options(4))
        for dot in (dot for dot in panel.dots if dot not in shown):
            place, colour = (left, heights[dot.head, dot.loss]), look(dot.head, dot.loss).colour
            axis.annotate(f"◂ {number(dot.mean)}", place, fontsize=TINY, va="center", color=colour)
        axis.set_xlim(left, right)
        axis.ticklabel_format(axis="x", useOffset=False)
        axis.tick_params(axis="y", labelsize=SMALL - 0.5)

    def _height(self, dot: Dot, losses: list[str]) -> float:
        """Losses of one head lie side by side in its row."""
        of_head = [
            loss for loss in losses if any((d.head, d.loss) == (dot.head, loss) for p in self.panels for d in p.dots)
        ]
        return self.rows.index(dot.head) + (of_head.index(dot.loss) - (len(of_head) - 1) / 2) * 0.6 / len(of_head)


def _limits(panel: DotPanel) -> tuple[float | None, float | None]:
    """From where nine in ten of the means begin to the end of the intervals, so far as those are not extreme."""
    means = sorted(dot.mean for dot in panel.dots)
    if not means:
        return None, None
    low, high = means[len(means) // 10], means[-1]
    widths = sorted(dot.half_width or 0.0 for dot in panel.dots)
    margin = 0.1 * max(high - low, 0.01 * abs(high), 1e-9) + widths[len(widths) // 2]
    return low - margin, high + margin
