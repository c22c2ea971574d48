"""The fixed words of records: components, phases, directions, origins, kinds of inputs and of artifacts."""

from __future__ import annotations

from typing import Literal

Component = Literal["cpu", "gpu", "ram"]
COMPONENTS: tuple[Component, ...] = ("cpu", "gpu", "ram")
CHARGED: tuple[Component, ...] = ("cpu", "gpu")  # memory's joules are always a guess, so verdicts leave them out
Phase = Literal["load", "warm-up", "train", "evaluate", "analyze"]
PHASES: tuple[Phase, ...] = ("load", "warm-up", "train", "evaluate", "analyze")
Direction = Literal["higher", "lower", "neither"]
Origin = Literal["measured", "modelled", "derived", "missing"]
Method = Literal["counter", "polled", "model", "missing"]
Inputs = Literal["images", "tokens", "text"]
ObjectiveKind = Literal["class", "next", "masked"]
MASKED_SHARE = 0.15  # share of a window's tokens that are targets where the objective is `masked`
Artifact = Literal["class_weights", "confusion", "embedding", "features", "spectrum"]
