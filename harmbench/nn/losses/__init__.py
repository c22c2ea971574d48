"""Losses: scores -> log-probabilities -> scalar. The only place where a distance becomes a preference."""

from __future__ import annotations

from harmbench.nn.losses._base import Loss
from harmbench.registry import Room

LOSSES: Room[Loss] = Room("losses", Loss, "loss")

__all__ = ["LOSSES", "Loss"]
