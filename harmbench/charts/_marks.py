"""Many marks or lines as one artist: matplotlib's time goes by artists, not by what they show."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any

from harmbench.charts._style import Look


def markers(marks: Sequence[tuple[float, float, Look, float]], size: float, places: Any) -> Any:
    """A collection of markers.

    Args:
        marks: for each its x and y, its look, and its opacity from 0 to 1.
        size: of all, in points.
        places: the transform of their x and y, such as `Axes.transData`.
    """
    from matplotlib.collections import PathCollection
    from matplotlib.markers import MarkerStyle
    from matplotlib.transforms import IdentityTransform

    made_of: Any = MarkerStyle
    paths, offsets, edges, faces = [], [], [], []
    for x, y, drawn, opacity in marks:
        style = made_of(drawn.marker, drawn.filling)
        colour = (drawn.colour, opacity)
        halves = [(style.get_path(), style.get_transform(), "none" if drawn.filling == "none" else colour)]
        if style.get_alt_path():  # the other half of one that is half filled
            halves.append((style.get_alt_path(), style.get_alt_transform(), ("white", opacity)))
        for path, transform, face in halves:
            paths.append(path.transformed(transform))
            offsets.append((x, y))
            edges.append(colour)
            faces.append(face)
    made = PathCollection(paths, [size**2], edgecolors=edges, facecolors=faces, linewidths=0.8, zorder=2)
    made.set_transform(IdentityTransform())
    made.set_offsets(offsets)
    made.set_offset_transform(places)
    return made


def strokes(lines: Iterable[tuple[Hashable, Any, Any, Any]], **options: Any) -> Any:
    """A collection of straight lines, those of one group as one path.

    Args:
        lines: for each its group, its ends as pairs of x and y, and its colour, which a group has in common. Where
            lines of one group cross, they are no darker.
        options: of a `PathCollection`.
    """
    from matplotlib.collections import PathCollection
    from matplotlib.path import Path

    groups: dict[Hashable, list[Any]] = {}
    colours = {}
    for group, start, end, colour in lines:
        groups.setdefault(group, []).extend((start, end))
        colours[group] = colour
    paths = [Path(ends, [Path.MOVETO, Path.LINETO] * (len(ends) // 2)) for ends in groups.values()]
    return PathCollection(paths, edgecolors=list(colours.values()), facecolors="none", **options)
