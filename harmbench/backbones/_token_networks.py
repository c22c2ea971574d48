"""The modules behind `token_mlp` and `token_transformer`."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def embedding(vocabulary: int, width: int) -> nn.Embedding:
    """A table (V, N) of normal entries, so that rows have length 1 or so."""
    table = nn.Embedding(vocabulary, width)
    nn.init.normal_(table.weight, std=width**-0.5)
    return table


class TokenMlpNetwork(nn.Module):
    """Tokens (B, T) -> embeddings, side by side -> hidden, SiLU -> (B, N)."""

    def __init__(self, length: int, vocabulary: int, width: int, hidden: int) -> None:
        super().__init__()
        self.embedding = embedding(vocabulary, width)
        self.layers = nn.Sequential(nn.Linear(length * width, hidden), nn.SiLU(), nn.Linear(hidden, width))

    def forward(self, tokens: Tensor) -> Tensor:
        features: Tensor = self.layers(self.embedding(tokens).flatten(1))
        return features


class TokenTransformerNetwork(nn.Module):
    """Tokens (B, T) -> embeddings and positions -> encoder layers -> the last position (B, N).

    Around each layer, which has its own residual connections, there is another one.
    """

    def __init__(
        self, length: int, vocabulary: int, width: int, heads: int, layers: int, feedforward: int, dropout: float
    ) -> None:
        super().__init__()
        self.embedding = embedding(vocabulary, width)
        self.positions = nn.Parameter(torch.randn(length, width))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, feedforward, dropout, batch_first=True) for _ in range(layers)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        x: Tensor = self.embedding(tokens) + self.positions
        for layer in self.layers:
            x = x + layer(x)
        return x[:, -1]
