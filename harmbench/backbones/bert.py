"""BERT."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from harmbench.backbones._language import LanguageBackbone
from harmbench.results.records import ObjectiveKind

if TYPE_CHECKING:
    from torch import nn


class Bert(LanguageBackbone):
    """BERT, masked, from scratch: `size` tiny (2 layers of 128), small (6 of 384) or paper (12 of 768).

    Features (B, T, N) of the last layer, without pooler and next-sentence task. In every window 15 % of the tokens are
    predicted: 80 % of them masked, 10 % replaced, 10 % unchanged. Needs `pip install 'harmbench[language]'`.

    >>> Bert().known_features()
    128
    """

    name: ClassVar[str] = "bert"
    objective: ClassVar[ObjectiveKind] = "masked"
    sizes: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 128, "intermediate_size": 512},
        "small": {"num_hidden_layers": 6, "num_attention_heads": 6, "hidden_size": 384, "intermediate_size": 1536},
        "paper": {"num_hidden_layers": 12, "num_attention_heads": 12, "hidden_size": 768, "intermediate_size": 3072},
    }

    def model(self, length: int, vocabulary: int) -> nn.Module:
        from transformers import BertConfig, BertModel

        drop: dict[str, Any] = dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), self.dropout)
        config = BertConfig(
            vocab_size=vocabulary, max_position_embeddings=length, pad_token_id=None, **drop, **self.sizes[self.size]
        )
        return BertModel(config, add_pooling_layer=False)
