"""`torch`, imported on first use.

Distances, losses, backbones and data sets are listed, validated and planned without torch, which takes over a second to
import. Their modules write `from harmbench._torch import torch` and use it only inside functions.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any


class _LazyModule(ModuleType):
    """A module that is imported when one of its attributes is read for the first time."""

    def __getattr__(self, attribute: str) -> Any:
        module = importlib.import_module(self.__name__)
        value = getattr(module, attribute)
        self.__dict__[attribute] = value
        return value


if TYPE_CHECKING:
    import torch as torch
else:
    torch = _LazyModule("torch")
