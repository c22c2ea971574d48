"""What a backbone is: options, and a function that builds a module."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from harmbench.registry import Component

if TYPE_CHECKING:
    from torch import nn


class Backbone(Component):
    """Base of all backbones; not itself a backbone."""

    def known_features(self) -> int | None:
        """N, the length of the features, where it can be told without building the module (or importing torch)."""
        return None

    @abstractmethod
    def build(self, input_shape: tuple[int, int, int]) -> nn.Module:
        """A fresh module, (B, C, H, W) -> features (B, N), initialised from torch's global generator.

        Args:
            input_shape: (C, H, W) of one input.
        """
