"""Executors: where trials run. Each trial gets a fresh process, so that its crash or kill touches no other."""

from __future__ import annotations

from harmbench.executors.local import Finished, LocalExecutor, Progress, Started

__all__ = ["Finished", "LocalExecutor", "Progress", "Started"]
