"""Residual multi-layer perceptron."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from harmbench.backbones import Backbone

if TYPE_CHECKING:
    from torch import nn


class ResidualMlp(Backbone):
    """Residual MLP: a linear layer, then blocks x + ReLU(Linear(LayerNorm(x))). Features have shape (B, width).

    The blocks of ResNet (He et al., CVPR 2016) with linear layers, as is usual for tabular data.

    >>> import torch
    >>> ResidualMlp(width=16).build((30, 1, 1))(torch.zeros(5, 30, 1, 1)).shape
    torch.Size([5, 16])
    """

    name: ClassVar[str] = "residual_mlp"

    width: int = Field(default=64, ge=1)
    depth: int = Field(default=2, ge=1)

    def known_features(self) -> int:
        return self.width

    def build(self, input_shape: tuple[int, ...]) -> nn.Module:
        from torch import nn

        from harmbench_example._residual_block import ResidualBlock

        first = nn.Linear(math.prod(input_shape), self.width)
        blocks = [ResidualBlock(self.width) for _ in range(self.depth)]
        return nn.Sequential(nn.Flatten(), first, *blocks)
