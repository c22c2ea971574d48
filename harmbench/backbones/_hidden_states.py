"""Module of language models: tokens -> last hidden states."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class HiddenStates(nn.Module):
    """Tokens (B, T) -> last hidden states (B, T, N) of a transformers model."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    @property
    def embedding(self) -> nn.Parameter:
        """The input embedding (V, N)."""
        weight: nn.Parameter = self.model.get_input_embeddings().weight
        return weight

    def forward(self, tokens: Tensor) -> Tensor:
        features: Tensor = self.model(tokens).last_hidden_state
        return features
