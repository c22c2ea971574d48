"""A panel: a rectangle in a figure, whose contents stand in points from its lower left corner, wherever that will be.

An `Axes` of matplotlib does more than that, and takes as long as all that is drawn in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from harmbench.report.charts._scale import Scale

POINTS = 72  # to the inch; at so many dots to the inch, what is measured is in points
ABOVE = 6.0  # points from a panel to its title


def points_of(canvas: Any) -> Any:
    """The transform of points from a figure's lower left corner."""
    from matplotlib.transforms import Affine2D

    return Affine2D().scale(1 / POINTS) + canvas.dpi_scale_trans


class Panel:
    """A panel at the figure's lower left corner, until it is put elsewhere.

    Args:
        canvas: the figure, as large as the panel so far, with a dot to the point.
        row, column: where it will stand among others.

    Attributes:
        width, height: in points.
        x, y: scales, to be set before anything is placed by its values.
        title: the text above.
        points: the transform of points from the panel's corner, wherever that is.
    """

    def __init__(self, canvas: Any, row: int, column: int) -> None:
        from matplotlib.transforms import Affine2D, Bbox, TransformedBbox

        self.canvas, self.row, self.column = canvas, row, column
        self.width, self.height = map(float, canvas.bbox.size)
        self.x = self.y = Scale(0, 1)
        self._corner = Affine2D()
        self.points = self._corner + points_of(canvas)
        self._frame = TransformedBbox(Bbox.from_bounds(0, 0, self.width, self.height), self.points)
        self._texts: list[Any] = []
        self._axes: Any = None
        self.title = self.text(self.width / 2, self.height + ABOVE, "", ha="center")

    def places(self, pairs: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
        """Where pairs of values are, in points."""
        x, y = np.array([*pairs], float).reshape(-1, 2).T
        across, upward = self.width * self.x.shares(x), self.height * self.y.shares(y)
        return list(zip(across.tolist(), upward.tolist(), strict=True))

    def add(self, artist: Any, is_clipped: bool = True) -> None:
        """Draw what is in points, if it has no transform of its own; and by default nothing of it outside the panel."""
        if not artist.is_transform_set():
            artist.set_transform(self.points)
        self.canvas.add_artist(artist)
        if is_clipped:
            artist.set_clip_box(self._frame)

    def text(self, x: float, y: float, text: str, **style: Any) -> Any:
        """Write at a place in points, inside of the panel or in the room that it gets around it."""
        self._texts.append(self.canvas.text(x, y, text, transform=self.points, **style))
        return self._texts[-1]

    def axes(self, projection: str | None = None) -> Any:
        """Axes of matplotlib in the panel's place, for images and circles; of those for images, nothing is seen."""
        self._axes = self.canvas.add_axes((0, 0, 1, 1), projection=projection)
        if not projection:
            self._axes.set_axis_off()
        return self._axes

    def room(self, renderer: Any) -> tuple[float, float, float, float]:
        """Points that texts need left, right, above and below, before the panel is put anywhere."""
        from matplotlib.transforms import Bbox

        boxes = [text.get_window_extent(renderer) for text in self._texts if text.get_text()]
        if self._axes:
            boxes.append(self._axes.get_tightbbox(renderer, bbox_extra_artists=self._axes.texts))
        outer = Bbox.union([*boxes, self._frame])
        return -outer.x0, outer.x1 - self.width, outer.y1 - self.height, -outer.y0

    def put(self, x: float, y: float) -> None:
        """Move to so many points from the lower left corner of the figure, which has its size by now."""
        self._corner.translate(x, y)
        if self._axes:
            wide, high = self.canvas.bbox.size
            self._axes.set_position((x / wide, y / high, self.width / wide, self.height / high))
