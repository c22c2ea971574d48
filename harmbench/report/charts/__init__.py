"""Charts: figures by the form of their data, each with its table and its way of being painted.

    dots        means with intervals, a row for each head
    lines       values over steps, fractions or ranks
    tradeoff    quality against cost, with the front
    plane       labeled points on two components
    images      strips of small images
    matrix      counts of pairs as heat maps
    radar       scores around a circle
    _style      one look for each head in all of them
    _panel      what a panel holds, in points from its corner
    _scale      where values are along an axis
    _marks      many marks or lines as one artist
    _layout     where panels and texts stand
    _ticks      ticks, grid and frame of a panel
    _legend     what marks and lines mean
    _renderer   what measures and draws an SVG

What a chart shows of a run is decided in `harmbench.plots`. matplotlib is loaded when one is painted.
"""

from __future__ import annotations

from harmbench.report.charts.dots import Dot, DotPanel, Dots
from harmbench.report.charts.images import Images, Strip
from harmbench.report.charts.lines import Line, LinePanel, Lines, limits_of_shares
from harmbench.report.charts.matrix import Matrix, MatrixPanel
from harmbench.report.charts.plane import Plane, PlanePanel, Spot
from harmbench.report.charts.radar import Radar, RadarLine, RadarPanel, Spoke
from harmbench.report.charts.tradeoff import Mark, Tradeoff, TradeoffPanel

__all__ = [
    "Dot",
    "DotPanel",
    "Dots",
    "Images",
    "Line",
    "LinePanel",
    "Lines",
    "Mark",
    "Matrix",
    "MatrixPanel",
    "Plane",
    "PlanePanel",
    "Radar",
    "RadarLine",
    "RadarPanel",
    "Spoke",
    "Spot",
    "Strip",
    "Tradeoff",
    "TradeoffPanel",
    "limits_of_shares",
]
