"""What measures and draws an SVG. A module of its own, as it loads matplotlib."""

from __future__ import annotations

from functools import lru_cache
from io import StringIO
from typing import Any

from matplotlib.backends.backend_svg import RendererSVG
from matplotlib.textpath import text_to_path


def svg_renderer(canvas: Any, target: StringIO, **options: Any) -> Any:
    """For a figure that has a dot to the point. It measures each text once in a process, not in each figure twice."""
    made_of: Any = _Renderer
    return made_of(*canvas.bbox.size, target, **options)


class _Renderer(RendererSVG):
    def get_text_width_height_descent(self, s: str, prop: Any, ismath: Any) -> tuple[float, float, float]:
        return _measured(s, prop, ismath)


@lru_cache(maxsize=10_000)
def _measured(text: str, font: Any, ismath: Any) -> tuple[float, float, float]:
    measure: Any = text_to_path.get_text_width_height_descent
    width, height, descent = measure(text, font, ismath)
    return width, height, descent
