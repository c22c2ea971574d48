"""Counts of pairs as heat maps."""

from __future__ import annotations

from typing import Any

import numpy as np

from harmbench.charts._layout import fit, panels_of
from harmbench.charts._style import SMALL, dress
from harmbench.charts._ticks import draw_ticks
from harmbench.formats import Column, Figure, Table
from harmbench.records import Record

MOST_COLUMNS = 4
MOST_NUMBERS = 12  # classes up to which the shares are written into the fields


class MatrixPanel(Record):
    """One head: counts by row and column."""

    title: str
    head: str
    loss: str
    counts: tuple[tuple[int, ...], ...]


class Matrix(Figure):
    """Shares of each row, as the darker the larger; a root in the colour shows small ones too."""

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
        canvas, axes = panels_of(len(self.panels), (1.9, 1.9), MOST_COLUMNS)
        for axis, panel in zip(axes, self.panels, strict=True):
            dress(axis, panel.title, SMALL - 0.5)
            self._paint(axis, np.array(panel.counts))
            draw_ticks(axis, grid=False)
        return fit(canvas, x=self.columns, y=self.rows)

    def _paint(self, axis: Any, counts: Any) -> None:
        from matplotlib.ticker import FixedLocator

        shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
        axis.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1)
        if len(counts) > MOST_NUMBERS:
            return
        for which in (axis.xaxis, axis.yaxis):
            which.set_major_locator(FixedLocator(range(len(counts))))
        for (i, j), share in np.ndenumerate(shares):
            if share >= 0.005:
                shade = "white" if share > 0.35 else "black"
                axis.text(j, i, f"{100 * share:.0f}", ha="center", va="center", fontsize=4.5, color=shade)
