"""Small convolutional network."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from harmbench._torch import torch
from harmbench.backbones._base import Backbone
from harmbench.backbones._widths import Widths
from harmbench.errors import UsageError

if TYPE_CHECKING:
    from torch import nn


class Cnn(Backbone):
    """Convolutional network: two of (3x3 convolution, ReLU, 2x2 max-pool), 32 and 64 channels, then 128 ReLU.

    The CNN of arXiv 2603.10225: features (B, 128), none negative. `channels` gives one such block for each number,
    such as `cnn[channels=32-64-128]`. Every block halves the image. `width` is the length of the features.

    >>> import torch
    >>> Cnn(channels=(4, 8), width=16).build((3, 32, 32))(torch.zeros(5, 3, 32, 32)).shape
    torch.Size([5, 16])
    """

    name: ClassVar[str] = "cnn"
    stacks: ClassVar[bool] = True

    channels: Widths = (32, 64)
    width: int = Field(default=128, ge=1)

    def known_features(self) -> int:
        return self.width

    def build(self, input_shape: tuple[int, ...]) -> nn.Module:
        """A fresh module.

        Args:
            input_shape: (C, H, W) of one input.

        Raises:
            UsageError: where the image is too small to be halved once for each block.
        """
        colors, height, width = input_shape
        halvings = len(self.channels)
        if min(height, width) < 2**halvings:
            raise UsageError(
                f"{self}: images of {height}x{width} pixels are too small for {halvings} max-pools; "
                f"they need {2**halvings}x{2**halvings}, or fewer channels: cnn[channels=32]"
            )
        layers: list[nn.Module] = []
        for shallow, deep in itertools.pairwise((colors, *self.channels)):
            layers += [torch.nn.Conv2d(shallow, deep, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2)]
        flat = self.channels[-1] * (height >> halvings) * (width >> halvings)
        layers += [torch.nn.Flatten(), torch.nn.Linear(flat, self.width), torch.nn.ReLU()]
        return torch.nn.Sequential(*layers)
