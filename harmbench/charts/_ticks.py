"""Ticks, grid and frame of a panel: two artists, and a text for each label.

matplotlib makes five artists of each tick, and lays each of them out whenever something is measured or drawn. Its
locators and formatters still say where ticks are and what they are called.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from harmbench.charts._marks import Polyline, polylines
from harmbench.charts._points import points_of
from harmbench.charts._style import BLACK, GRID, SMALL

LONG, SHORT = 3.0, 1.6  # points of ticks, and of those between them on a logarithmic axis
BESIDE = 7.0  # points from a panel to the labels of its ticks
UNDER = 17.0  # points from a panel to the label under those
ABOVE = 3.0  # points from a panel to a factor above it
RAISED = 11.0  # points that a title is raised by above a factor
LETTER = 0.65  # width of a digit, in sizes of its font
MOST = 6  # ticks, about
APART = 16.0  # points between those on the left, at the least
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
    axis: Any, which: str = "xy", named: str = "xy", size: float = SMALL, grid: bool = True, most: int = MOST
) -> None:
    """Draw ticks, grid and frame of a panel whose limits stay as they are.

    Args:
        axis: a panel of `panels_of`, with its title.
        which: the axes that have ticks: "x", "y" or "xy".
        named: the axes whose ticks have labels.
        size: of the font of labels.
        grid: whether there is one.
        most: ticks on the left, about.
    """
    axis.apply_aspect()
    width, height = axis.bbox.size
    frame, across = [Polyline([(0, height), (0, 0), (width, 0)], BLACK, width=0.8)], []
    for side in (_Side(axis, direction, size, most) for direction in which):
        ticks = side.ticks()
        for along, _, is_major in ticks:
            start, end = side.point(along, 0), side.point(along, LONG if is_major else SHORT)
            frame.append(Polyline([start, end], BLACK, width=0.8))
            if grid and is_major:
                across.append(Polyline([start, side.point(along, -side.depth)], GRID, width=0.3))
        factor = side.axis.get_major_formatter().get_offset()
        if factor and side.direction == "y":
            axis.title.set_y(1 + RAISED / side.length)  # of panels without labels too, so that titles stand in line
        if side.direction in named:
            side.write(ticks, factor)
    style = {"transform": points_of(axis), "clip_on": False}
    axis.add_artist(polylines(frame, capstyle="projecting", zorder=2.5, **style))
    if across:
        axis.add_artist(polylines(across, zorder=0.5, **style))


def write_under(axis: Any, text: str, size: float = SMALL) -> None:
    """A label of a panel's own, under its ticks."""
    place = (axis.bbox.width / 2, -UNDER)
    axis.text(*place, text, ha="center", va="top", fontsize=size, transform=points_of(axis))


class _Side(NamedTuple):
    """The lower side of a panel, where its ticks in x are, or the left one."""

    panel: Any
    direction: str
    size: float
    most: int

    @property
    def axis(self) -> Any:
        return self.panel.xaxis if self.direction == "x" else self.panel.yaxis

    @property
    def length(self) -> float:
        """In points."""
        return float(self.panel.bbox.width if self.direction == "x" else self.panel.bbox.height)

    @property
    def depth(self) -> float:
        """Of the panel behind it, in points."""
        return float(self.panel.bbox.height if self.direction == "x" else self.panel.bbox.width)

    def point(self, along: float, out: float) -> tuple[float, float]:
        """x and y of what is at a share of this side, and so many points outside of it."""
        place = (along * self.length, -out)
        return place if self.direction == "x" else place[::-1]

    def write(self, ticks: list[Tick], factor: str) -> None:
        """Labels of ticks, and what all are to be multiplied by where they are very large or small, such as `1e6`."""
        style = {"fontsize": self.size, "transform": points_of(self.panel)}
        for along, label, _ in ticks:
            if label:
                self.panel.text(*self.point(along, BESIDE), label, **_ALIGNED[self.direction], **style)
        if factor and self.direction == "x":
            self.panel.text(*self.point(1, BESIDE + 1.2 * self.size), factor, ha="right", va="top", **style)
        elif factor:
            self.panel.text(0, self.length + ABOVE, factor, **style)

    def ticks(self) -> list[Tick]:
        """As many as have room."""
        from matplotlib.ticker import MaxNLocator

        locator = self.axis.get_major_locator()
        if not isinstance(locator, MaxNLocator):
            return list(self._found())
        if self.direction == "y":
            locator.set_params(nbins=max(2, min(self.most, int(self.length / APART))))
            return list(self._found())
        for most in range(MOST, 0, -1):
            locator.set_params(nbins=most)
            ticks = list(self._found())
            if self._have_room(ticks):
                break
        return ticks

    def _have_room(self, ticks: list[Tick]) -> bool:
        letters = max((len(tick.label) for tick in ticks), default=0)
        apart = abs(ticks[1].along - ticks[0].along) if len(ticks) > 1 else 1.0
        return apart * self.length > LETTER * self.size * (letters + 1)

    def _found(self) -> Iterator[Tick]:
        """Where the locators see ticks between the limits, with what the formatters call them."""
        places, between = self.axis.get_majorticklocs(), self.axis.get_minorticklocs()
        labels = [
            *self.axis.get_major_formatter().format_ticks(places),
            *self.axis.get_minor_formatter().format_ticks(between),
        ]
        scaled = self.axis.get_transform().transform(np.array([*self.axis.get_view_interval(), *places, *between]))
        shares = (scaled[2:] - scaled[0]) / (scaled[1] - scaled[0])
        for i, (along, label) in enumerate(zip(shares.tolist(), labels, strict=True)):
            if -FLOAT <= along <= 1 + FLOAT:
                yield Tick(along, label, i < len(places))
