"""What a backbone is: options, and a function that builds a module."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from harmbench._torch import torch
from harmbench.registry import Component
from harmbench.results.records import Inputs, ObjectiveKind

if TYPE_CHECKING:
    from torch import Tensor, nn


class Backbone(Component):
    """Base of all backbones; not itself a backbone.

    Class attributes:
        takes: images, tokens or text; a plan pairs the backbone with data sets that give them.
        objective: what a model is asked for: the class of an input, or, of a text, each next token or the masked ones.
        stacks: whether its modules can be run as a stack, one for each seed, as `batched_seeds` asks. A module with a
            method `stacked` runs the stack itself; any other goes through torch.func.vmap. None may hold buffers, such
            as the statistics of a batch normalization.
    """

    takes: ClassVar[Inputs] = "images"
    objective: ClassVar[ObjectiveKind] = "class"
    stacks: ClassVar[bool] = False

    def known_features(self) -> int | None:
        """N, the length of the features, where it can be told without building the module (or importing torch)."""
        return None

    def content(self) -> str:
        """Tells one content of the backbone from another; empty where its address says it all.

        Part of a trial's id, so that results of other weights are not taken for results of these.
        """
        return ""

    @abstractmethod
    def build(self, input_shape: tuple[int, ...]) -> nn.Module:
        """A fresh module, inputs -> features (B, N), or (B, T, N) of text, initialized from torch's global generator.

        Args:
            input_shape: (C, H, W) for images (B, C, H, W), float32; (T, V) for tokens and text (B, T), int64, all
                below V.
        """

    def centers(self, module: nn.Module) -> nn.Parameter | None:
        """The parameter (K, N) of a module built here that is to be the head's weight too.

        None, the rule, leaves the head its own.
        """
        return None

    def embedding(self, module: nn.Module) -> nn.Parameter | None:
        """The table (V, N) of a module built here that turns tokens into vectors; None where there is none."""
        return None

    def blank(self, input_shape: tuple[int, ...]) -> Tensor:
        """A batch of one input, all zeros."""
        if self.takes != "images":
            return torch.zeros(1, input_shape[0], dtype=torch.long)
        return torch.zeros(1, *input_shape)
