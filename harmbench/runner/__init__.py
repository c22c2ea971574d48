"""Runs a plan: each trial that the store does not hold yet, through an executor, one record at a time."""

from __future__ import annotations

from harmbench.runner.options import RunOptions
from harmbench.runner.run import Summary, prepare, run

__all__ = ["RunOptions", "Summary", "prepare", "run"]
