"""`torch`, imported on first use.

Components (distances, losses, backbones, data sets) are listed, validated and planned without torch, which
takes over a second to import. They write `from harmbench._torch import torch` and use it inside functions only.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any


class _LazyModule(ModuleType):
    """Stands for a module until an attribute is asked for, then holds that module's own attributes."""

    def __getattr__(self, attribute: str) -> Any:
        module = importlib.import_module(self.__name__)
        value = getattr(module, attribute)
        self.__dict__[attribute] = value
        return value


if TYPE_CHECKING:
    import torch as torch
else:
    torch = _LazyModule("torch")
