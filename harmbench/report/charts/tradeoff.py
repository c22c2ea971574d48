"""Quality against cost, with the front of the heads that none beats in both."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from harmbench.report.charts._layout import fit, panels_of
from harmbench.report.charts._legend import Legend
from harmbench.report.charts._marks import Marker, Polyline, markers, polylines
from harmbench.report.charts._panel import Panel
from harmbench.report.charts._scale import Scale, around
from harmbench.report.charts._style import GRAY, TINY, Look, dress, entries, labels, look, number
from harmbench.report.charts._ticks import draw_ticks, write_under
from harmbench.report.formats import Column, Figure, Table
from harmbench.results.records import Record

HARD_SPACE = "\N{NO-BREAK SPACE}"
MOST_LETTERS = 66  # of a line of small print under a panel
RING = Look(GRAY, "o", "none", "-")  # around a head on the front
LOG_FROM = 10.0  # ratio of the largest cost to the least from which on the axis is logarithmic


class Mark(Record):
    """A head: means of cost and quality with the half-widths of their intervals, None for single values.

    Attributes:
        disqualified: why it cannot be on the front, whatever its means; empty where it can.
    """

    head: str
    loss: str
    cost: float
    cost_half: float | None
    quality: float
    quality_half: float | None
    disqualified: str = ""


class TradeoffPanel(Record):
    """One place."""

    title: str
    marks: tuple[Mark, ...]

    @property
    def front(self) -> tuple[Mark, ...]:
        """Valid heads that no other valid head dominates, cheapest first.

        A head dominates another if it is at least as good in both means and better in one. Equal heads do not.
        """
        ranked = sorted((m for m in self.marks if not m.disqualified), key=lambda m: (m.cost, -m.quality))
        front: list[Mark] = []
        for m in ranked:
            is_tie = bool(front) and (m.cost, m.quality) == (front[-1].cost, front[-1].quality)
            if not front or is_tie or m.quality > front[-1].quality:
                front.append(m)
        return tuple(front)


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
                m.disqualified or ("on it" if m in panel.front else ""),
            )
            for panel in self.panels
            for m in sorted(panel.marks, key=lambda m: m.cost)
        )
        return Table(title=f"{self.y} against {self.x}", caption=self.caption, columns=columns, rows=rows)

    def paint(self) -> Any:
        pairs = [(m.head, m.loss) for panel in self.panels for m in panel.marks]
        panels = panels_of(len(self.panels), (3.0, 2.3) if len(self.panels) > 1 else (4.2, 2.5), most=2)
        for panel, shown in zip(panels, self.panels, strict=True):
            self._paint(panel, shown, labels(pairs))
        return fit(panels, x=self.x, y=self.y, legend=Legend(entries(pairs)))

    def _paint(self, panel: Panel, shown: TradeoffPanel, named: dict[tuple[str, str], str]) -> None:
        dress(panel, shown.title)
        costs = [m.cost for m in shown.marks]
        panel.x = around(costs, "log" if max(costs) > LOG_FROM * min(costs) > 0 else "linear")
        panel.y = Scale(*_limits(shown, self.bounds))
        panel.add(polylines([*_bars(shown), *_steps(shown)], panel.places, zorder=1.5))
        places = panel.places((m.cost, m.quality) for m in shown.marks)
        marks = [
            Marker(*place, look(m.head, m.loss), 0.3 if m.disqualified else 1.0)
            for place, m in zip(places, shown.marks, strict=True)
        ]
        rings = [Marker(*place, RING) for place in panel.places((m.cost, m.quality) for m in shown.front)]
        panel.add(markers(marks, 5))
        panel.add(markers(rings, 9, linewidths=1, zorder=4))
        left_out = [m for m in shown.marks if m.quality < panel.y.start]
        if left_out:
            write_under(panel, _beneath({named[m.head, m.loss]: m.quality for m in left_out}), TINY - 0.5)
        draw_ticks(panel)


def _beneath(values: dict[str, float]) -> str:
    """What a panel leaves out, on lines that are broken between heads only.

    >>> print(_beneath({"chebyshev + harmonic": 81.25, "hamming[variant=hard] + distance_softmax": 79}))
    below: chebyshev + harmonic 81.25,
    hamming[variant=hard] + distance_softmax 79
    """
    heads = ", ".join(f"{head} {number(value)}".replace(" ", HARD_SPACE) for head, value in values.items())
    return textwrap.fill(f"below:{HARD_SPACE}{heads}", MOST_LETTERS).replace(HARD_SPACE, " ")


def _steps(panel: TradeoffPanel) -> Iterator[Polyline]:
    """From each head of the front to the next one."""
    for one, other in pairwise(panel.front):
        yield Polyline([(one.cost, one.quality), (other.cost, one.quality), (other.cost, other.quality)], GRAY)


def _bars(panel: TradeoffPanel) -> Iterator[Polyline]:
    """The intervals of both means, those of the front darker."""
    front = panel.front
    for m in panel.marks:
        color = (look(m.head, m.loss).color, 0.4 if m in front else 0.18)
        if m.cost_half is not None:
            across = [(m.cost - m.cost_half, m.quality), (m.cost + m.cost_half, m.quality)]
            yield Polyline(across, color, width=0.5)
        if m.quality_half is not None:
            upward = [(m.cost, m.quality - m.quality_half), (m.cost, m.quality + m.quality_half)]
            yield Polyline(upward, color, width=0.5)


def _limits(panel: TradeoffPanel, bounds: tuple[float, float]) -> tuple[float, float]:
    """From where nine in ten of the means begin to the best one, with room for a usual interval."""
    values = sorted(m.quality for m in panel.marks)
    low, high = values[len(values) // 10], values[-1]
    widths = sorted(m.quality_half or 0.0 for m in panel.marks)
    margin = 0.1 * max(high - low, 0.01 * abs(high), 1e-9) + widths[len(widths) // 2] / 2
    beyond = 0.03 * (bounds[1] - bounds[0])
    return max(low - margin, bounds[0] - beyond), min(high + margin, bounds[1] + beyond)
