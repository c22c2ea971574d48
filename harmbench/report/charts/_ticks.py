"""Ticks, grid and frame of a panel: two artists, and a text for each label.

matplotlib makes five artists of each tick, and lays each of them out whenever something is measured or drawn. Its
locators and formatters still say where ticks are and what they are called.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from harmbench.report.charts._marks import Polyline, polylines
from harmbench.report.charts._panel import Panel
from harmbench.report.charts._scale import Scale
from harmbench.report.charts._style import BLACK, GRID, SMALL

LONG, SHORT = 3.0, 1.6  # points of ticks, and of those between them on a logarithmic axis
BESIDE = 7.0  # points from a panel to the labels of its ticks
UNDER = 17.0  # points from a panel to the label under those
ABOVE = 3.0  # points from a panel to a factor above it
RAISED = 17.0  # points from a panel to a title above a factor
LETTER = 0.65  # width of a digit, in sizes of its font
MOST = 6  # ticks, about
APART = 16.0  # points between those on the left, at the least
POWERS_APART = {"x": 27.0, "y": 18.0}  # points between powers of ten, as matplotlib has it
ROUND = (1, 2, 2.5, 5, 10)  # times a power of ten: what may be between two ticks
FLOAT = 1e-9  # share of an axis that rounding may take
_ALIGNED: dict[str, dict[str, Any]] = {
    "x": {"ha": "center", "va": "top"},
    "y": {"ha": "right", "va": "center_baseline"},
}


class Tick(NamedTuple):
    """A tick: its place as a share of its axis, its label, and whether it is none of those between."""

    along: float
    label: str
    is_major: bool


def draw_ticks(
    panel: Panel, which: str = "xy", named: str = "xy", size: float = SMALL, grid: bool = True, most: int = MOST
) -> None:
    """Draw ticks, grid and frame of a panel that has its scales.

    Args:
        panel: what is drawn in.
        which: the axes that have ticks: "x", "y" or "xy".
        named: the axes whose ticks have labels.
        size: of the font of labels.
        grid: whether there is one.
        most: ticks on the left, about.
    """
    width, height = panel.width, panel.height
    frame, across = [Polyline([(0, height), (0, 0), (width, 0)], BLACK, width=0.8)], []
    for side in (_Side(panel, direction, size, most) for direction in which):
        ticks, factor = side.ticks()
        for along, _, is_major in ticks:
            start, end = side.point(along, 0), side.point(along, LONG if is_major else SHORT)
            frame.append(Polyline([start, end], BLACK, width=0.8))
            if grid and is_major:
                across.append(Polyline([start, side.point(along, -side.depth)], GRID, width=0.3))
        if factor and side.direction == "y":
            panel.title.set_y(height + RAISED)  # of panels without labels too, so that titles stand in line
        if side.direction in named:
            side.write(ticks, factor)
    panel.add(polylines(frame, capstyle="projecting", zorder=2.5), is_clipped=False)
    if across:
        panel.add(polylines(across, zorder=0.5), is_clipped=False)


def write_under(panel: Panel, text: str, size: float = SMALL) -> None:
    """A label of a panel's own, under its ticks."""
    panel.text(panel.width / 2, -UNDER, text, ha="center", va="top", fontsize=size)


class _Side(NamedTuple):
    """The lower side of a panel, where its ticks in x are, or the left one."""

    panel: Panel
    direction: str
    size: float
    most: int

    @property
    def scale(self) -> Scale:
        return self.panel.x if self.direction == "x" else self.panel.y

    @property
    def length(self) -> float:
        """In points."""
        return self.panel.width if self.direction == "x" else self.panel.height

    @property
    def depth(self) -> float:
        """Of the panel behind it, in points."""
        return self.panel.height if self.direction == "x" else self.panel.width

    def point(self, along: float, out: float) -> tuple[float, float]:
        """x and y of what is at a share of this side, and so many points outside of it."""
        place = (along * self.length, -out)
        return place if self.direction == "x" else place[::-1]

    def write(self, ticks: list[Tick], factor: str) -> None:
        """Labels of ticks, and what all are to be multiplied by where they are very large or small, such as `1e6`."""
        for along, label, _ in ticks:
            if label:
                self.panel.text(*self.point(along, BESIDE), label, fontsize=self.size, **_ALIGNED[self.direction])
        if factor and self.direction == "x":
            self.panel.text(*self.point(1, BESIDE + 1.2 * self.size), factor, ha="right", va="top", fontsize=self.size)
        elif factor:
            self.panel.text(0, self.length + ABOVE, factor, fontsize=self.size)

    def ticks(self) -> tuple[list[Tick], str]:
        """As many as have room, and the factor of their labels."""
        if self.scale.kind == "log":
            return self._powers(), ""
        if self.direction == "y":
            return self._numbers(max(2, min(self.most, int(self.length / APART))))
        for most in range(MOST, 0, -1):
            found = self._numbers(most)
            if self.scale.kind == "each" or self._have_room(found[0]):
                break
        return found

    def _have_room(self, ticks: list[Tick]) -> bool:
        letters = max((len(tick.label) for tick in ticks), default=0)
        apart = abs(ticks[1].along - ticks[0].along) if len(ticks) > 1 else 1.0
        return apart * self.length > LETTER * self.size * (letters + 1)

    def _numbers(self, most: int) -> tuple[list[Tick], str]:
        """So many ticks or less at round numbers, and the factor of their labels."""
        from matplotlib.ticker import MaxNLocator, ScalarFormatter

        (low, high), kind = sorted(self.scale[:2]), self.scale.kind
        locator = MaxNLocator(most, steps=ROUND, integer=kind == "whole")
        places: Any = np.arange(math.ceil(low), high) if kind == "each" else locator.tick_values(low, high)
        formatter = self._seen(ScalarFormatter(useOffset=False))
        return self._between_ends(places, formatter.format_ticks(places), True), formatter.get_offset()

    def _powers(self) -> list[Tick]:
        """Ticks at powers of ten, and between them."""
        from matplotlib.ticker import LogFormatterSciNotation, LogLocator

        most = min(max(int(self.length / POWERS_APART[self.direction]), 2), 9)
        formatter, found = self._seen(LogFormatterSciNotation()), []
        for parts in ((1.0,), None):
            places = LogLocator(subs=parts, numticks=most).tick_values(*self.scale[:2])
            found += self._between_ends(places, formatter.format_ticks(places), parts is not None)
        return found

    def _seen(self, formatter: Any) -> Any:
        """A formatter that knows from where to where the axis goes."""
        formatter.create_dummy_axis()
        formatter.axis.set_view_interval(*self.scale[:2])
        return formatter

    def _between_ends(self, places: Any, labels: list[str], are_major: bool) -> list[Tick]:
        pairs = zip(self.scale.shares(places).tolist(), labels, strict=True)
        return [Tick(along, label, are_major) for along, label in pairs if -FLOAT <= along <= 1 + FLOAT]
