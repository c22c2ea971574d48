"""Figures as files."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any, BinaryIO

from harmbench.errors import OptionError
from harmbench.formats import Figure, Report

KINDS = ("svg", "png", "pdf")
_SETTINGS: dict[Any, Any] = {
    "svg.hashsalt": "harmbench",  # the same data give the same file
    "svg.fonttype": "none",  # text stays text: found by a search, and a fifth of the size
    "pdf.fonttype": 42,  # text that can be searched
    "text.hinting": "no_hinting",  # letters as wide in PNG as they are in SVG and PDF
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def draw(figure: Figure, target: Path | BinaryIO, kind: str = "") -> None:
    """Write a figure.

    Args:
        figure: what to draw.
        target: a path, whose suffix says the kind of file, or a binary buffer.
        kind: svg, png or pdf; of the path's suffix, or svg, unless given.

    Raises:
        OptionError: for a kind that there is not.

    >>> import io
    >>> from harmbench.charts import Dot, DotPanel, Dots
    >>> dot = Dot(head="cosine", loss="harmonic", mean=97.0, half_width=1.0)
    >>> panel = DotPanel(title="mlp on digits", dots=(dot,))
    >>> buffer = io.BytesIO()
    >>> draw(Dots(name="accuracy", caption="One head.", axis="test accuracy (%)", panels=(panel,)), buffer)
    >>> buffer.getvalue()[:5]
    b'<?xml'
    """
    import matplotlib
    from matplotlib.backend_bases import get_registered_canvas_class

    kind = kind or (target.suffix.lstrip(".") if isinstance(target, Path) else "svg")
    if kind not in KINDS:
        raise OptionError(f"cannot draw a picture as '{kind}'; write one of {', '.join(KINDS)}")
    undated = {"svg": dict.fromkeys(("Date", "Creator", "Format", "Type")), "pdf": {"CreationDate": None}}.get(kind)
    buffer = io.BytesIO()
    with matplotlib.rc_context(_SETTINGS):
        painted = figure.paint()
        painted.set_dpi(150)
        canvas = get_registered_canvas_class(kind)(painted)
        getattr(canvas, f"print_{kind}")(buffer, metadata=undated)  # `savefig` would draw it all twice
    content = _slim(buffer.getvalue().decode()).encode() if kind == "svg" else buffer.getvalue()
    if isinstance(target, Path):
        target.write_bytes(content)
    else:
        target.write(content)


def _slim(svg: str) -> str:
    r"""An SVG without what nobody sees: places finer than a hundredth of a point, and fonts that few have.

    >>> print(_slim('<text x="1.23456" style="font: 8px \'DejaVu Sans\'">0.1234</text>'))
    <text x="1.23" style="font: 8px 'DejaVu Sans', Verdana, sans-serif">0.1234</text>
    """
    svg = svg.replace("'DejaVu Sans'", "'DejaVu Sans', Verdana, sans-serif")
    svg = " ".join(map(str.strip, svg.split("\n"))).replace("> <", "><").replace('<g id="', '\n<g id="')
    parts = re.split(r"(>[^<]+<)", svg)  # tags; and between them texts, which stay as they are
    parts[::2] = [re.sub(r"(?<=\.\d\d)\d+", "", tags) for tags in parts[::2]]
    return "".join(parts)


def drawn(report: Report) -> Report:
    """A report with its figures as SVG, for formats that hold their pictures inside."""
    drawings = {}
    for figure in report.figures:
        buffer = io.BytesIO()
        draw(figure, buffer, "svg")
        drawings[figure.name] = buffer.getvalue().decode()
    return report.model_copy(update={"drawings": drawings})
