"""Modules that the fork server also loads for suites with language models, which takes seconds."""

from __future__ import annotations

from harmbench._torchvision import import_torchvision

import_torchvision()

from transformers import BertModel, GPT2Model, Qwen2Model  # noqa: E402, F401 - transformers imports torchvision
