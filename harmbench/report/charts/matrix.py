"""Counts of pairs as heat maps."""

from __future__ import annotations

from typing import Any

import numpy as np

from harmbench.report.charts._layout import fit, panels_of
from harmbench.report.charts._panel import Panel
from harmbench.report.charts._scale import Scale
from harmbench.report.charts._style import SMALL, dress
from harmbench.report.charts._ticks import draw_ticks
from harmbench.report.formats import Column, Figure, Table
from harmbench.results.records import Record

MOST_COLUMNS = 4
MOST_NUMBERS = 12  # classes up to which the shares are written into the fields


class MatrixPanel(Record):
    """One head: counts by row and column."""

    title: str
    head: str
    loss: str
    counts: tuple[tuple[int, ...], ...]


class Matrix(Figure):
    """Shares of each row, as the darker the larger; a root in the color shows small ones too."""

    rows: str
    columns: str
    panels: tuple[MatrixPanel, ...]

    def table(self) -> Table:
        columns = (
            *(Column(label=label, numeric=False) for label in ("panel", "head", "loss")),
            *(Column(label=label) for label in (self.rows, self.columns, "samples")),
        )
        rows = tuple(
            (panel.title, panel.head, panel.loss, str(i), str(j), str(count))
            for panel in self.panels
            for i, row in enumerate(panel.counts)
            for j, count in enumerate(row)
            if count
        )
        return Table(title=f"{self.columns} by {self.rows}", caption=self.caption, columns=columns, rows=rows)

    def paint(self) -> Any:
        panels = panels_of(len(self.panels), (1.9, 1.9), MOST_COLUMNS)
        for panel, shown in zip(panels, self.panels, strict=True):
            dress(panel, shown.title, SMALL - 0.5)
            self._paint(panel, np.array(shown.counts))
            draw_ticks(panel, grid=False)
        return fit(panels, x=self.columns, y=self.rows)

    def _paint(self, panel: Panel, counts: Any) -> None:
        shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
        has_numbers, end = len(counts) <= MOST_NUMBERS, len(counts) - 0.5
        panel.x = Scale(-0.5, end, "each" if has_numbers else "linear")
        panel.y = panel.x._replace(start=end, end=-0.5)
        panel.axes().imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1)
        for (i, j), share in np.ndenumerate(shares) if has_numbers else ():
            if share >= 0.005:
                ((x, y),) = panel.places([(j, i)])
                shade = "white" if share > 0.35 else "black"
                panel.text(x, y, f"{100 * share:.0f}", ha="center", va="center", fontsize=4.5, color=shade)
