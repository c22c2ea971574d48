"""Backbones: inputs -> features, (B, C, H, W) or (B, T) -> (B, N)."""

from __future__ import annotations

from harmbench.backbones._base import Backbone
from harmbench.registry import Room

BACKBONES: Room[Backbone] = Room("backbones", Backbone, "backbone")

__all__ = ["BACKBONES", "Backbone"]
