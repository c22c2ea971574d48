"""Multi-layer perceptron."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, ClassVar

from harmbench._torch import torch
from harmbench.backbones._base import Backbone
from harmbench.backbones._widths import Widths

if TYPE_CHECKING:
    from torch import nn


class Mlp(Backbone):
    """Multi-layer perceptron: pixels -> 512 ReLU -> 256 ReLU, with features (B, 256), all non-negative.

    The MLP of arXiv 2603.10225. `hidden` gives the widths, such as `mlp[hidden=128]` or `mlp[hidden=512-256-64]`. The
    last is the length of the features.

    >>> import torch
    >>> Mlp(hidden=(32, 16)).build((1, 8, 8))(torch.zeros(5, 1, 8, 8)).shape
    torch.Size([5, 16])
    """

    name: ClassVar[str] = "mlp"
    stacks: ClassVar[bool] = True

    hidden: Widths = (512, 256)

    def known_features(self) -> int:
        return self.hidden[-1]

    def build(self, input_shape: tuple[int, ...]) -> nn.Module:
        layers: list[nn.Module] = [torch.nn.Flatten()]
        for wide, narrow in itertools.pairwise((math.prod(input_shape), *self.hidden)):
            layers += [torch.nn.Linear(wide, narrow), torch.nn.ReLU()]
        return torch.nn.Sequential(*layers)
