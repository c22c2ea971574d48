"""Figures as files."""

from __future__ import annotations

import gc
import io
import os
import re
import signal
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any, BinaryIO, Self

from harmbench.errors import OptionError
from harmbench.report.formats import Figure, Report

KINDS = ("svg", "png", "pdf")
RESOLUTION = 150  # dots per inch of what is pixels
_SETTINGS: dict[Any, Any] = {
    "svg.hashsalt": "harmbench",  # the same data give the same file
    "svg.fonttype": "none",  # text stays text, which can be searched and takes a fifth of the size
    "pdf.fonttype": 42,  # text that can be searched
    "text.hinting": "no_hinting",  # letters as wide in PNG as they are in SVG and PDF
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 9,
}


def draw(figure: Figure, target: Path | BinaryIO, kind: str = "") -> None:
    """Write a figure.

    Args:
        figure: the figure.
        target: a path or a binary buffer. The suffix of a path gives the kind.
        kind: svg, png or pdf. Default: the path's suffix, or svg.

    Raises:
        OptionError: for an unknown kind.

    >>> import io
    >>> from harmbench.report.charts import Dot, DotPanel, Dots
    >>> dot = Dot(head="cosine", loss="harmonic", mean=97.0, half_width=1.0)
    >>> panel = DotPanel(title="mlp on digits", dots=(dot,))
    >>> buffer = io.BytesIO()
    >>> draw(Dots(name="accuracy", caption="One head.", axis="test accuracy (%)", panels=(panel,)), buffer)
    >>> buffer.getvalue()[:5]
    b'<?xml'
    """
    kind = kind or (target.suffix.lstrip(".") if isinstance(target, Path) else "svg")
    if kind not in KINDS:
        raise OptionError(f"cannot draw a plot as '{kind}'; write one of {', '.join(KINDS)}")
    content = _drawn(figure, kind)
    if isinstance(target, Path):
        target.write_bytes(content)
    else:
        target.write(content)


def _drawn(figure: Figure, kind: str) -> bytes:
    import matplotlib

    with matplotlib.rc_context(_SETTINGS):
        painted = figure.paint()
        return _as_svg(painted) if kind == "svg" else _as_other(painted, kind)


def _as_svg(painted: Any) -> bytes:
    from harmbench.report.charts._renderer import svg_renderer

    text = io.StringIO()
    undated = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    renderer = svg_renderer(painted, text, image_dpi=RESOLUTION, metadata=undated)
    painted.draw(renderer)
    renderer.finalize()
    return _slim(text.getvalue()).encode()


def _as_other(painted: Any, kind: str) -> bytes:
    from matplotlib.backend_bases import get_registered_canvas_class

    content = io.BytesIO()
    painted.set_dpi(RESOLUTION)
    canvas = get_registered_canvas_class(kind)(painted)
    undated = {"CreationDate": None} if kind == "pdf" else None
    getattr(canvas, f"print_{kind}")(content, metadata=undated)  # `savefig` would draw it all twice
    return content.getvalue()


def _slim(svg: str) -> str:
    r"""Return an SVG with coordinates rounded to a hundredth of a point and with common fonts.

    >>> print(_slim('<text x="1.23456" style="font: 8px \'DejaVu Sans\'">0.1234</text>'))
    <text x="1.23" style="font: 8px 'DejaVu Sans', Verdana, sans-serif">0.1234</text>
    """
    svg = svg.replace("'DejaVu Sans'", "'DejaVu Sans', Verdana, sans-serif")
    svg = " ".join(map(str.strip, svg.split("\n"))).replace("> <", "><").replace('<g id="', '\n<g id="')
    parts = re.split(r"(>[^<]+<)", svg)  # tags alternate with texts, which stay unchanged
    parts[::2] = [re.sub(r"(?<=\.\d\d)\d+", "", tags) for tags in parts[::2]]
    return "".join(parts)


class Drawer:
    """Draws a report's figures, on request in a second process while the report is composed.

    Args:
        kind: svg, png or pdf.
        in_process: draw in a second process, which starts at once. It is a fork if this process has one thread, which
            costs nothing, and otherwise a new process.
    """

    def __init__(self, kind: str, in_process: bool = False) -> None:
        self._kind = kind
        self._pool = _second_process() if in_process else None
        self._begun: list[Future[bytes]] = []
        if self._pool:
            self._pool.submit(_make_ready)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=True)

    def begin(self, figure: Figure) -> None:
        """Start drawing a figure in the second process, if there is one."""
        if self._pool:
            self._begun.append(self._pool.submit(_drawn, figure, self._kind))

    def finish(self, figures: Sequence[Figure]) -> list[bytes]:
        """Return all figures as files. Figures that were not started are drawn now."""
        if self._begun:
            return [begun.result() for begun in self._begun]
        return [_drawn(figure, self._kind) for figure in figures]


def _second_process() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, get_context("fork" if _is_alone() else "spawn"), initializer=_belong)


def _belong() -> None:
    """Set up the second process: ignore Ctrl-C, and exit when the first process exits."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _is_alone() -> bool:
    """Whether this process has one thread only. A fork would inherit locks that other threads hold."""
    threads = Path("/proc/self/task")
    return threads.is_dir() and len(list(threads.iterdir())) == 1


def drawn(report: Report, drawer: Drawer | None = None) -> Report:
    """Return a report with its figures as SVG, for formats that contain their plots."""
    drawings = (drawer or Drawer("svg")).finish(report.figures)
    texts = {figure.name: svg.decode() for figure, svg in zip(report.figures, drawings, strict=True)}
    return report.model_copy(update={"drawings": texts})


def _make_ready() -> None:
    """Import matplotlib ahead of the first figure, and disable garbage collection in this short-lived process."""
    import matplotlib.figure  # noqa: F401

    from harmbench.report.charts import _renderer  # noqa: F401

    gc.disable()
