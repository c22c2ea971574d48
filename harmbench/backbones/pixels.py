"""No backbone: the head reads the pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from harmbench._torch import torch
from harmbench.backbones._base import Backbone

if TYPE_CHECKING:
    from torch import nn


class Pixels(Backbone):
    """No layers at all: the pixels (B, C * H * W) are the features, so a head on them is a model of a single layer.

    Used by the weight-visualization experiments of both papers. Each class's weights are an image (`harmbench plot
    --kind class_weights`).

    >>> import torch
    >>> Pixels().build((1, 8, 8))(torch.zeros(5, 1, 8, 8)).shape
    torch.Size([5, 64])
    """

    name: ClassVar[str] = "pixels"
    stacks: ClassVar[bool] = True

    def build(self, input_shape: tuple[int, ...]) -> nn.Module:
        return torch.nn.Flatten()
