"""Qwen2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from harmbench.backbones._language import LanguageBackbone
from harmbench.results.records import ObjectiveKind

if TYPE_CHECKING:
    from torch import nn


class Qwen2(LanguageBackbone):
    """Qwen2, causal, from scratch: `size` tiny (2 layers of 128), small (6 of 384) or paper (24 of 896, 0.5 B).

    Features (B, T, N) after the final RMS norm. It has rotary positions, grouped key-value heads, SwiGLU. Needs
    `pip install 'harmbench[language]'`.

    >>> Qwen2(size="paper").known_features()
    896
    """

    name: ClassVar[str] = "qwen2"
    objective: ClassVar[ObjectiveKind] = "next"
    sizes: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "hidden_size": 128,
            "intermediate_size": 384,
        },
        "small": {
            "num_hidden_layers": 6,
            "num_attention_heads": 6,
            "num_key_value_heads": 2,
            "hidden_size": 384,
            "intermediate_size": 1152,
        },
        "paper": {
            "num_hidden_layers": 24,
            "num_attention_heads": 14,
            "num_key_value_heads": 2,
            "hidden_size": 896,
            "intermediate_size": 4864,
            "rope_theta": 1e6,
        },
    }

    def model(self, length: int, vocabulary: int) -> nn.Module:
        from transformers import Qwen2Config, Qwen2Model

        fields: dict[str, Any] = {"vocab_size": vocabulary, "max_position_embeddings": length, "use_cache": False}
        return Qwen2Model(Qwen2Config(**fields, attention_dropout=self.dropout, **self.sizes[self.size]))
