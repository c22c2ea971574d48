"""Many marks or lines as one artist, and those of one look as one path: matplotlib's time goes by these."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple

from harmbench.report.charts._style import Look

Point = tuple[float, float]


class Marker(NamedTuple):
    """A marker at x and y, in points."""

    x: float
    y: float
    look: Look
    opacity: float = 1.0


class Polyline(NamedTuple):
    """A line through points; a color may be a pair with an opacity, the style is one of matplotlib's."""

    points: Sequence[Point]
    color: Hashable
    style: Any = "-"
    width: float = 1.0


def markers(marks: Iterable[Marker], size: float, **options: Any) -> Any:
    """A collection of markers. Where some of one color lie on each other, they are no darker.

    Args:
        marks: what is drawn; all of one color and filling lie where the first of them does, above or below others.
        size: of all, in points.
        options: of a `PathCollection`.
    """
    from matplotlib.collections import PathCollection
    from matplotlib.path import Path

    groups: dict[Any, list[Any]] = {}
    for x, y, drawn, opacity in marks:
        for outline, face in _outlines(drawn, size):
            filled = face if face == "none" else (face, opacity)
            groups.setdefault(((drawn.color, opacity), filled), []).append((outline, (x, y)))
    paths = [
        Path.make_compound_path(*(Path(outline.vertices + place, outline.codes) for outline, place in group))
        for group in groups.values()
    ]
    edges, faces = [edge for edge, _ in groups], [face for _, face in groups]
    style = {"linewidths": 0.8, "zorder": 2} | options
    return PathCollection(paths, edgecolors=edges, facecolors=faces, **style)


@cache
def _outlines(drawn: Look, size: float) -> list[tuple[Any, str]]:
    """Paths of a marker, each with the color that fills it: two of one that is half filled."""
    from matplotlib.markers import MarkerStyle

    made_of: Any = MarkerStyle
    style = made_of(drawn.marker, drawn.filling)
    first = style.get_path().transformed(style.get_transform().scale(size))
    found = [(first, "none" if drawn.filling == "none" else drawn.color)]
    if style.get_alt_path():
        found.append((style.get_alt_path().transformed(style.get_alt_transform().scale(size)), "white"))
    return found


def polylines(lines: Iterable[Polyline], places: Callable[[list[Point]], list[Point]] = list, **options: Any) -> Any:
    """A collection of lines. Where some of one look cross, they are no darker.

    Args:
        lines: what is drawn; where one has no number for a place, it has a gap.
        places: turns pairs of values into places in points, if the lines go through values.
        options: of a `PathCollection`.
    """
    from matplotlib.collections import PathCollection
    from matplotlib.path import Path

    groups: dict[Any, tuple[list[Any], list[Any]]] = {}
    for points, *look in lines:
        ends, codes = groups.setdefault(tuple(look), ([], []))
        ends += points
        codes += [Path.MOVETO] + [Path.LINETO] * (len(points) - 1)
    colors, styles, widths = ([look[i] for look in groups] for i in range(3))
    paths = [Path(places(ends), codes) for ends, codes in groups.values()]
    return PathCollection(paths, edgecolors=colors, linestyles=styles, linewidths=widths, facecolors="none", **options)
