"""Figures as files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

from harmbench.errors import OptionError
from harmbench.formats import Figure, Report

KINDS = ("svg", "png", "pdf")
_SETTINGS: dict[Any, Any] = {
    "svg.hashsalt": "harmbench",  # the same data give the same file
    "pdf.fonttype": 42,  # text that can be searched
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

    kind = kind or (target.suffix.lstrip(".") if isinstance(target, Path) else "svg")
    if kind not in KINDS:
        raise OptionError(f"cannot draw a picture as '{kind}'; write one of {', '.join(KINDS)}")
    with matplotlib.rc_context(_SETTINGS):
        undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
        figure.paint().savefig(target, format=kind, metadata=undated, dpi=150)


def drawn(report: Report) -> Report:
    """A report with its figures as SVG, for formats that hold their pictures inside.

    Text stays text, to be set in the page's own font and found by a search.
    """
    import io

    import matplotlib

    drawings = {}
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        for figure in report.figures:
            buffer = io.BytesIO()
            draw(figure, buffer, "svg")
            drawings[figure.name] = buffer.getvalue().decode()
    return report.model_copy(update={"drawings": drawings})
