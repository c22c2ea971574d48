"""Scores around a circle."""

from __future__ import annotations

import math
from typing import Any

from harmbench.report.charts._layout import fit, panels_of
from harmbench.report.charts._legend import Legend
from harmbench.report.charts._style import SMALL, broken, entries, look, number
from harmbench.report.formats import Column, Figure, Table
from harmbench.results.records import Record

MOST_COLUMNS = 3


class Spoke(Record):
    """A score of one head: from 0, the worst of the panel, to 10, the best; and the value that it stands for."""

    axis: str
    score: float | None
    value: float | None


class RadarLine(Record):
    """One head."""

    head: str
    loss: str
    spokes: tuple[Spoke, ...]


class RadarPanel(Record):
    """One place; all lines have the same axes."""

    title: str
    lines: tuple[RadarLine, ...]


class Radar(Figure):
    """Lines around a circle; outside is better, a missing score breaks the line."""

    panels: tuple[RadarPanel, ...]

    def table(self) -> Table:
        columns = (
            *(Column(label=label, numeric=False) for label in ("panel", "head", "loss", "axis")),
            Column(label="score, 0 to 10"),
            Column(label="value"),
        )
        rows = tuple(
            (panel.title, line.head, line.loss, spoke.axis, number(spoke.score), number(spoke.value))
            for panel in self.panels
            for line in panel.lines
            for spoke in line.spokes
        )
        return Table(title="Radar", caption=self.caption, columns=columns, rows=rows)

    def paint(self) -> Any:
        pairs = [(line.head, line.loss) for panel in self.panels for line in panel.lines]
        panels = panels_of(len(self.panels), (2.5, 2.5), MOST_COLUMNS)
        for panel, shown in zip(panels, self.panels, strict=True):
            _paint(panel.axes("polar"), shown)
        return fit(panels, legend=Legend(entries(pairs), lines=True))


def _paint(axis: Any, panel: RadarPanel) -> None:
    names = [spoke.axis for spoke in panel.lines[0].spokes]
    angles = [2 * math.pi * i / len(names) for i in range(len(names))]
    for line in panel.lines:
        drawn = look(line.head, line.loss)
        scores = [math.nan if spoke.score is None else spoke.score for spoke in line.spokes]
        axis.plot([*angles, 0], [*scores, scores[0]], lw=1.2, linestyle=drawn.line, **drawn.marker_options(4))
    axis.set_theta_offset(math.pi / 2)
    axis.set_theta_direction(-1)
    axis.set_xticks(angles, names, fontsize=SMALL - 1)
    for label, angle in zip(axis.get_xticklabels(), angles, strict=True):
        across = math.sin(angle)
        label.set_horizontalalignment("center" if abs(across) < 0.1 else "left" if across > 0 else "right")
    axis.set_ylim(0, 10.5)
    axis.set_yticks([2.5, 5, 7.5, 10], ["", "5", "", "10"], fontsize=SMALL - 2)
    axis.grid(linewidth=0.3)
    axis.spines["polar"].set_linewidth(0.3)
    axis.set_title(broken(panel.title, 40), fontsize=SMALL + 1, pad=12)
