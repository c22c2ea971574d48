"""What the fork server loads once for all trials, so that a trial starts in milliseconds."""

from __future__ import annotations

import sklearn.datasets
import sklearn.model_selection
import torch._inductor  # use_deterministic_algorithms imports it, for a second

import harmbench.cli
import harmbench.runner.trial  # noqa: F401
