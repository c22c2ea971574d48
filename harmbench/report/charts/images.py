"""Strips of small images, one for each head."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from harmbench.report.charts._layout import fit, panels_of
from harmbench.report.charts._style import SMALL, look, number
from harmbench.report.formats import Column, Figure, Table
from harmbench.results.records import Record

MOST_ROWS = 10  # of one block; more heads stand in a second block beside the first
MOST_IMAGES = 10  # of a strip


class Strip(Record):
    """The images of one head, side by side.

    Attributes:
        title: names the head, and says how good it is.
        shape: (C, H, W) of each image; one or three channels.
        images: its pixels in that order, an entry for each image.
        facts: pairs of label and value for the table.
    """

    title: str
    head: str
    loss: str
    shape: tuple[int, int, int]
    images: tuple[tuple[float, ...], ...]
    facts: tuple[tuple[str, float | None], ...] = ()


class Images(Figure):
    """Images whose zero is white, or gray where they have three channels; each strip has a scale of its own.

    Attributes:
        names: of the images of a strip.
    """

    names: tuple[str, ...]
    strips: tuple[Strip, ...]

    def table(self) -> Table:
        facts = [label for label, _ in self.strips[0].facts]
        columns = (
            *(Column(label=label, numeric=False) for label in ("head", "loss", "image")),
            *(Column(label=label) for label in facts),
            Column(label="pixels (channel, row, column)", numeric=False),
        )
        rows = tuple(
            (
                strip.head,
                strip.loss,
                name,
                *(number(value) for _, value in strip.facts),
                " ".join(f"{value:.3g}" for value in image),
            )
            for strip in self.strips
            for name, image in zip(self.names, strip.images, strict=True)
        )
        return Table(title="Class weights on pixels", caption=self.caption, columns=columns, rows=rows)

    def paint(self) -> Any:
        shown = min(len(self.names), MOST_IMAGES)
        blocks = math.ceil(len(self.strips) / MOST_ROWS)
        panels = panels_of(len(self.strips), (0.42 * shown, 0.4), most=blocks, downwards=True)
        for panel, strip in zip(panels, self.strips, strict=True):
            self._paint(panel.axes(), strip, shown)
        return fit(panels)

    def _paint(self, axis: Any, strip: Strip, shown: int) -> None:
        from matplotlib.transforms import ScaledTranslation

        channels, height, width = strip.shape
        stack = np.array(strip.images[:shown]).reshape(shown, channels, height, width)
        scale = float(np.quantile(np.abs(stack), 0.995)) or 1.0
        gap = np.full((channels, height, max(1, width // 8)), np.nan)
        tiles = [part for image in stack for part in (image, gap)][:-1]
        row = np.concatenate(tiles, axis=2)
        if channels == 3:
            axis.imshow(np.nan_to_num(np.clip(0.5 + row / (2 * scale), 0, 1), nan=1.0).transpose(1, 2, 0))
        else:
            axis.imshow(row.mean(0), cmap="RdBu", vmin=-scale, vmax=scale, interpolation="nearest")
        axis.set_title(strip.title, fontsize=SMALL - 1, pad=2, loc="left", x=0.26 / shown)
        above = axis.transAxes + ScaledTranslation(4 / 72, 5.5 / 72, axis.figure.dpi_scale_trans)
        marker = look(strip.head, strip.loss).marker_options(4)
        axis.plot(0, 1, linestyle="", clip_on=False, transform=above, **marker)
