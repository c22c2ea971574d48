"""Labelled points on two components."""

from __future__ import annotations

from typing import Any

from harmbench.charts._layout import fit, panels_of
from harmbench.charts._style import SMALL, number
from harmbench.charts._ticks import draw_ticks
from harmbench.formats import Column, Figure, Table
from harmbench.records import Record

MOST_COLUMNS = 3


class Spot(Record):
    """A point with its label; `shade` is the number that colours it."""

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
    """Points named by their labels and coloured by their order, a panel for each head, each with its own scale."""

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
        canvas, axes = panels_of(len(self.panels), (2.6, 2.7), MOST_COLUMNS)
        for axis, panel in zip(axes, self.panels, strict=True):
            self._paint(axis, panel)
        return fit(canvas, x=self.x, y=self.y)

    def _paint(self, axis: Any, panel: PlanePanel) -> None:
        x, y = [spot.x for spot in panel.spots], [spot.y for spot in panel.spots]
        for one, other in panel.links:
            axis.plot([x[one], x[other]], [y[one], y[other]], color="#BBBBBB", lw=0.6, zorder=1)
        axis.scatter(x, y, c=[spot.shade for spot in panel.spots], cmap="viridis", s=16, zorder=2, edgecolors="none")
        size = SMALL - 1 if len(panel.spots) <= 50 else 4.5
        for spot in panel.spots:
            offset = (3, 2) if len(panel.spots) <= 50 else (1.5, 1)
            axis.annotate(
                spot.label, (spot.x, spot.y), xytext=offset, textcoords="offset points", fontsize=size, zorder=3
            )
        axis.set_title(panel.title, fontsize=SMALL, y=1)
        axis.set_aspect("equal", adjustable="datalim")
        axis.margins(0.1)
        draw_ticks(axis, size=SMALL - 1.5, grid=False)
