"""Labeled points on two components."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harmbench.report.charts._layout import fit, panels_of
from harmbench.report.charts._marks import Polyline, polylines
from harmbench.report.charts._panel import Panel
from harmbench.report.charts._scale import Scale, around
from harmbench.report.charts._style import SMALL, number
from harmbench.report.charts._ticks import draw_ticks
from harmbench.report.formats import Column, Figure, Table
from harmbench.results.records import Record

MOST_COLUMNS = 3
AREA = 4.0  # of a spot: its radius in points, squared
MARGIN = 0.1  # around the spots
TIGHT = 1.05 / (1 + 2 * MARGIN)  # the least share of what an axis spans that has room for all spots


class Spot(Record):
    """A point with its label; `shade` is the number that colors it."""

    label: str
    x: float
    y: float
    shade: float


class PlanePanel(Record):
    """One head: its points, and pairs of their places that a line joins."""

    title: str
    head: str
    loss: str
    spots: tuple[Spot, ...]
    links: tuple[tuple[int, int], ...] = ()


class Plane(Figure):
    """Points named by their labels and colored by their order, a panel for each head, each with its own scale."""

    x: str
    y: str
    panels: tuple[PlanePanel, ...]

    def table(self) -> Table:
        columns = (
            *(Column(label=label, numeric=False) for label in ("panel", "head", "loss", "label")),
            Column(label=self.x),
            Column(label=self.y),
        )
        rows = tuple(
            (panel.title, panel.head, panel.loss, spot.label, number(spot.x), number(spot.y))
            for panel in self.panels
            for spot in panel.spots
        )
        return Table(title=f"{self.y} against {self.x}", caption=self.caption, columns=columns, rows=rows)

    def paint(self) -> Any:
        panels = panels_of(len(self.panels), (2.6, 2.7), MOST_COLUMNS)
        for panel, shown in zip(panels, self.panels, strict=True):
            _paint(panel, shown)
        return fit(panels, x=self.x, y=self.y)


def _paint(panel: Panel, shown: PlanePanel) -> None:
    from matplotlib.collections import PathCollection
    from matplotlib.path import Path
    from matplotlib.transforms import IdentityTransform

    panel.title.set(text=shown.title, fontsize=SMALL)
    _scale(panel, shown.spots)
    ends = [(spot.x, spot.y) for spot in shown.spots]
    links = [Polyline([ends[one], ends[other]], "#BBBBBB", width=0.6) for one, other in shown.links]
    panel.add(polylines(links, panel.places, zorder=1))
    places, shades = panel.places(ends), [spot.shade for spot in shown.spots]
    style = {"array": shades, "cmap": "viridis", "linewidths": 0, "zorder": 2, "transform": IdentityTransform()}
    panel.add(PathCollection([Path.unit_circle()], [AREA], offsets=places, offset_transform=panel.points, **style))
    size, right, up = (SMALL - 1, 3, 2) if len(shown.spots) <= 50 else (4.5, 1.5, 1)
    for (x, y), spot in zip(places, shown.spots, strict=True):
        panel.text(x + right, y + up, spot.label, fontsize=size)
    draw_ticks(panel, size=SMALL - 1.5, grid=False)


def _scale(panel: Panel, spots: Sequence[Spot]) -> None:
    """Scales with room for all spots, on which what is as far apart in both is as long."""
    across, upward = (around(values, margin=MARGIN) for values in zip(*((s.x, s.y) for s in spots), strict=True))
    fine, coarse = sorted(((across.end - across.start) / panel.width, (upward.end - upward.start) / panel.height))
    unit = fine if fine >= TIGHT * coarse else coarse  # what a point on paper stands for
    panel.x, panel.y = _centered(across, unit * panel.width), _centered(upward, unit * panel.height)


def _centered(scale: Scale, span: float) -> Scale:
    center = (scale.start + scale.end) / 2
    return Scale(center - span / 2, center + span / 2)
