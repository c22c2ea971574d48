"""Records -> values: cells, comparisons, claims, statistics."""

from __future__ import annotations
