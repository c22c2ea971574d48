"""What the fork server loads once for all trials, so that a trial starts in milliseconds."""

from __future__ import annotations

import harmbench.cli
import harmbench.runner.trial  # noqa: F401
