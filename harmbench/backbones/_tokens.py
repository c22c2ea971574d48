"""Base class of backbones over tokens: an embedding that may also be the class centers."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from harmbench.backbones._base import Backbone
from harmbench.results.records import Inputs

if TYPE_CHECKING:
    from torch import nn


class TokenBackbone(Backbone):
    """Base class of backbones over tokens. Its modules have an `embedding` (V, N).

    `tied` makes the rows of the table the class centers, so that the head has no weight of its own.
    """

    takes: ClassVar[Inputs] = "tokens"

    width: int = Field(default=16, ge=1)
    tied: bool = True

    def known_features(self) -> int:
        return self.width

    def embedding(self, module: nn.Module) -> nn.Parameter:
        return module.get_parameter("embedding.weight")

    def centers(self, module: nn.Module) -> nn.Parameter | None:
        return self.embedding(module) if self.tied else None
