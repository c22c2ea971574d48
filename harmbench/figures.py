"""Pictures of a report, drawn from its data with matplotlib."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from harmbench.formats import Figure, Report

# Okabe and Ito's colours, distinct for the colour-blind and in grey; markers say the same once more.
_STYLES = (("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#E69F00", "v"), ("#56B4E9", "P"))
_BASELINE = "#000000"


def draw(figure: Figure, path: Path) -> None:
    """Write a figure as a file of the suffix's kind (svg, png, pdf): one panel a group, one row a head.

    Args:
        figure: panels of labelled means with half-widths.
        path: to write.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.lines import Line2D

    panels = figure.panels
    rows = list(dict.fromkeys(point.row for panel in panels for point in panel.points))
    height = 0.9 + 0.22 * len(rows)
    canvas, axes = pyplot.subplots(
        1, len(panels), figsize=(2.6 + 2.5 * len(panels), height), sharey=True, squeeze=False, layout="constrained"
    )
    styles = dict(zip(figure.series, _STYLES * len(figure.series), strict=False))
    for axis, panel in zip(axes[0], panels, strict=True):
        _draw_panel(axis, panel, rows, styles)
        axis.set_xlabel(figure.axis)
    axes[0][0].set_yticks(range(len(rows)), rows, fontsize=8)
    axes[0][0].invert_yaxis()
    handles = [
        Line2D([], [], color=colour, marker=marker, linestyle="", markersize=5, label=series)
        for series, (colour, marker) in styles.items()
    ]
    canvas.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False, fontsize=8)
    canvas.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=150)
    pyplot.close(canvas)


def drawn(report: Report) -> Report:
    """A report with its figures as SVG, for formats that hold their pictures inside.

    Text stays text, to be set in the page's own font and found by a search.
    """
    import matplotlib

    drawings = {}
    with TemporaryDirectory() as folder, matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "harmbench"}):
        for figure in report.figures:
            path = Path(folder) / "figure.svg"
            draw(figure, path)
            drawings[figure.name] = path.read_text(encoding="utf-8")
    return report.model_copy(update={"drawings": drawings})


def _draw_panel(axis: Any, panel: Any, rows: list[str], styles: dict[str, tuple[str, str]]) -> None:
    offsets = {series: (i - (len(styles) - 1) / 2) * 0.18 for i, series in enumerate(styles)}
    if panel.reference is not None:
        axis.axvline(panel.reference, color=_BASELINE, linewidth=0.8, linestyle="--", zorder=0)
    for point in panel.points:
        colour, marker = styles[point.series]
        y = rows.index(point.row) + offsets[point.series]
        axis.errorbar(point.mean, y, xerr=point.half_width, color=colour, marker=marker, markersize=3.5, linewidth=1)
    # A head that fails altogether must not squeeze the rest: it ends where nine in ten are; numbers tell the rest.
    means = sorted(point.mean for point in panel.points)
    low = means[len(means) // 10]
    widths = sorted(point.half_width or 0.0 for point in panel.points)
    margin = 0.1 * max(means[-1] - low, 1e-9) + widths[len(widths) // 2]
    left, right = low - margin, means[-1] + margin
    axis.set_xlim(left, right)
    for point in panel.points:
        if point.mean < left:
            y = rows.index(point.row) + offsets[point.series]
            axis.annotate(f"{point.mean:.0f}", (left, y), fontsize=6, va="center", color=styles[point.series][0])
    axis.set_title(panel.title, fontsize=9)
    axis.grid(axis="x", linewidth=0.3)
    axis.tick_params(axis="x", labelsize=8)
