"""Transformer encoder over a few tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, ValidationInfo, field_validator

from harmbench.backbones._tokens import TokenBackbone

if TYPE_CHECKING:
    from torch import nn


class TokenTransformer(TokenBackbone):
    """Transformer over tokens: 2 encoder layers of width 16, 2 attention heads, with features (B, 16), class centers
    tied.

    The transformer of arXiv 2502.01628 for its algorithmic tasks: learned positions, layers normalized after each
    residual connection, ReLU, no mask, one more residual connection around each layer, the last position read out.
    `width`, `heads`, `layers`, `feedforward` are its sizes. `dropout` acts in training only. The released code also
    applied it in evaluation. The class centers are the rows of the embedding. With `tied=false`, as in the paper's
    harmonic transformer, the head has its own.

    >>> import torch
    >>> TokenTransformer(layers=1).build((3, 25))(torch.tensor([[3, 24, 0], [0, 1, 2]])).shape
    torch.Size([2, 16])
    """

    name: ClassVar[str] = "token_transformer"
    stacks: ClassVar[bool] = True

    heads: int = Field(default=2, ge=1, validate_default=True)
    layers: int = Field(default=2, ge=1)
    feedforward: int = Field(default=64, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)

    @field_validator("heads")
    @classmethod
    def _divide_the_width(cls, heads: int, info: ValidationInfo) -> int:
        width = info.data.get("width", heads)
        if width % heads:
            raise ValueError(f"must divide the width, {width}, got {heads}")
        return heads

    def build(self, input_shape: tuple[int, ...]) -> nn.Module:
        from harmbench.backbones._token_networks import TokenTransformerNetwork

        length, vocabulary = input_shape
        return TokenTransformerNetwork(
            length, vocabulary, self.width, self.heads, self.layers, self.feedforward, self.dropout
        )
