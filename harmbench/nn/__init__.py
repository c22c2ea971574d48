"""The library, usable alone: heads, distances, losses and their kernels. Imports nothing of the benchmark."""

from __future__ import annotations
