"""Places in a panel in points from its lower left corner, once its limits are final: its size in points is fixed.

Figures have a dot to the point until they are drawn (see `_layout`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def in_points(axis: Any, places: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Where pairs of values are."""
    if not places:
        return []
    return list(map(tuple, (axis.transData.transform(places) - axis.bbox.p0).tolist()))


def points_of(axis: Any) -> Any:
    """The transform of such points, wherever the panel will stand."""
    from matplotlib.transforms import Affine2D

    return Affine2D().scale(1 / axis.bbox.width, 1 / axis.bbox.height) + axis.transAxes
