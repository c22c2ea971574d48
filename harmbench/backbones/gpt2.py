"""GPT-2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from harmbench.backbones._language import LanguageBackbone
from harmbench.results.records import ObjectiveKind

if TYPE_CHECKING:
    from torch import nn


class Gpt2(LanguageBackbone):
    """GPT-2, causal, from scratch: `size` tiny (2 layers of 128), small (6 of 384) or paper (12 of 768, 124 M).

    Features (B, T, N) after the final layer norm. Positions reach as far as the data set's windows. Needs
    `pip install 'harmbench[language]'`.

    >>> Gpt2(size="paper").known_features()
    768
    """

    name: ClassVar[str] = "gpt2"
    objective: ClassVar[ObjectiveKind] = "next"
    width_field: ClassVar[str] = "n_embd"
    sizes: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {"n_layer": 2, "n_head": 4, "n_embd": 128},
        "small": {"n_layer": 6, "n_head": 6, "n_embd": 384},
        "paper": {"n_layer": 12, "n_head": 12, "n_embd": 768},
    }

    def model(self, length: int, vocabulary: int) -> nn.Module:
        from transformers import GPT2Config, GPT2Model

        drop: dict[str, Any] = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), self.dropout)
        ends: dict[str, Any] = {"bos_token_id": 0, "eos_token_id": 0}  # the data set's end mark
        fields = {"vocab_size": vocabulary, "n_positions": length, "use_cache": False, **ends, **drop}
        return GPT2Model(GPT2Config(**fields, **self.sizes[self.size]))
