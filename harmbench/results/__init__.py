"""What is on disk: records, the run folder, artifacts. Derives nothing."""

from __future__ import annotations
