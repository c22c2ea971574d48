"""Distances between feature vectors and class centers: (B, N) x (K, N) -> (B, K).

One file, one distance. A distance computes all pairs and nothing else: no exponent, no division by the minimum,
no repair of NaN. Losses (`harmbench/nn/losses/`) turn distances into probabilities.
"""

from __future__ import annotations

from harmbench.nn.distances._base import Distance, Facts
from harmbench.registry import Room

DISTANCES: Room[Distance] = Room("distances", Distance, "metric")

__all__ = ["DISTANCES", "Distance", "Facts"]
