"""Meters: what is watched during a trial, or computed after it. Training is bit-identical with and without them."""

from __future__ import annotations

from harmbench.meters._base import Flops, HeldOut, Meter, Outcome, Step, Validation, WarmUp, Watcher
from harmbench.registry import Room

METERS: Room[Meter] = Room("meters", Meter, "meter")

__all__ = ["METERS", "Flops", "HeldOut", "Meter", "Outcome", "Step", "Validation", "WarmUp", "Watcher"]
