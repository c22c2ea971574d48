"""Modules that the fork server loads once for all trials, so that a trial starts in milliseconds."""

from __future__ import annotations

import importlib

from harmbench.nn.kernels import build

for module in (
    "harmbench.runner.trial",
    "sklearn.datasets",
    "sklearn.model_selection",
    "torch._inductor",  # use_deterministic_algorithms imports it, for a second
):
    importlib.import_module(module)

build.library()  # compiles the kernels if this machine has not done so yet, outside of all trials
