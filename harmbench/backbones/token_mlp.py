"""Multi-layer perceptron over a few tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from harmbench.backbones._tokens import TokenBackbone

if TYPE_CHECKING:
    from torch import nn


class TokenMlp(TokenBackbone):
    """MLP over tokens: embeddings of 16, concatenated -> 100 SiLU -> 16, with features (B, 16), class centers tied.

    The MLP of arXiv 2502.01628 for its algorithmic tasks. `width` is the length of embeddings and features, `hidden`
    that of the layer between. The class centers are the rows of the embedding. With `tied=false` the head has its own.

    >>> import torch
    >>> TokenMlp(width=8).build((2, 31))(torch.tensor([[3, 30], [0, 1]])).shape
    torch.Size([2, 8])
    """

    name: ClassVar[str] = "token_mlp"
    stacks: ClassVar[bool] = True

    hidden: int = Field(default=100, ge=1)

    def build(self, input_shape: tuple[int, ...]) -> nn.Module:
        from harmbench.backbones._token_networks import TokenMlpNetwork

        length, vocabulary = input_shape
        return TokenMlpNetwork(length, vocabulary, self.width, self.hidden)
