"""Base class of backbones: options, and a method that builds a module."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from harmbench._torch import torch
from harmbench.registry import Component
from harmbench.results.records import Inputs, ObjectiveKind

if TYPE_CHECKING:
    from torch import Tensor, nn


class Backbone(Component):
    """Base class of all backbones.

    Class attributes:
        takes: images, tokens or text. A plan pairs the backbone with data sets that give them. objective: the targets:
            the class of an input, or for text the next tokens or the masked tokens. stacks: whether modules of several
            seeds can run as one stack, for `batched_seeds`. A module with a method `stacked` runs the stack itself.
            Others go through torch.func.vmap. No module may hold buffers, such as the statistics of batch
            normalization.
    """

    takes: ClassVar[Inputs] = "images"
    objective: ClassVar[ObjectiveKind] = "class"
    stacks: ClassVar[bool] = False

    def known_features(self) -> int | None:
        """Return N, the length of the features, or None if it is unknown without building the module."""
        return None

    def content(self) -> str:
        """Return a fingerprint of the backbone's content, such as its weights, or "" if its name is enough.

        Part of a trial's id, so that results of other weights are not taken for results of these.
        """
        return ""

    @abstractmethod
    def build(self, input_shape: tuple[int, ...]) -> nn.Module:
        """Return a new module, inputs -> features (B, N), or (B, T, N) for text, initialized from torch's generator.

        Args:
            input_shape: (C, H, W) for images (B, C, H, W), float32; (T, V) for tokens and text (B, T), int64, all
                below V.
        """

    def centers(self, module: nn.Module) -> nn.Parameter | None:
        """Return the parameter (K, N) of a built module that is also the head's weight.

        The default, None, leaves the head its own weight.
        """
        return None

    def embedding(self, module: nn.Module) -> nn.Parameter | None:
        """Return the token embedding (V, N) of a built module, or None if it has none."""
        return None

    def blank(self, input_shape: tuple[int, ...]) -> Tensor:
        """Return a batch of one input, all zeros."""
        if self.takes != "images":
            return torch.zeros(1, input_shape[0], dtype=torch.long)
        return torch.zeros(1, *input_shape)
