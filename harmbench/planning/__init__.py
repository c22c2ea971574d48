"""Suite file -> plan, with its price. Needs no torch."""

from __future__ import annotations
