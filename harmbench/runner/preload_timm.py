"""Modules that the fork server also loads for suites with timm."""

from __future__ import annotations

from harmbench._torchvision import import_torchvision

import_torchvision()

import timm  # noqa: E402, F401 - only after torchvision loads
