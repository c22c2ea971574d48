"""Data sets: fixed train / validation / test splits, as tensors."""

from __future__ import annotations

from harmbench.datasets._base import Dataset, Splits, leaked_share
from harmbench.datasets._parts import Part, carve, in_three, standardized
from harmbench.registry import Room

DATASETS: Room[Dataset] = Room("datasets", Dataset, "dataset")

__all__ = ["DATASETS", "Dataset", "Part", "Splits", "carve", "in_three", "leaked_share", "standardized"]
