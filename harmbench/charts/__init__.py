"""Charts: figures by the form of their data, each with its table and its way of being painted.

    dots        means with intervals, a row for each head
    lines       values over steps, fractions or ranks
    tradeoff    quality against cost, with the front
    plane       labelled points on two components
    images      a grid of small images
    matrix      a table of shares as a heat map
    radar       scores around a circle
    _style      one look for each head in all of them

What a chart shows of a run is decided in `harmbench.pictures`. matplotlib is loaded when one is painted.
"""

from __future__ import annotations

from harmbench.charts.dots import Dot, DotPanel, Dots
from harmbench.charts.tradeoff import Mark, Tradeoff, TradeoffPanel

__all__ = ["Dot", "DotPanel", "Dots", "Mark", "Tradeoff", "TradeoffPanel"]
