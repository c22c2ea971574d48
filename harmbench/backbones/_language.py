"""Base classes of language models: the transformers library, tied embeddings, and sizes."""

from __future__ import annotations

import importlib.util
from abc import abstractmethod
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from harmbench._torchvision import import_torchvision
from harmbench.backbones._base import Backbone
from harmbench.errors import UsageError
from harmbench.results.records import Inputs

if TYPE_CHECKING:
    from torch import nn

ModelSize = Literal["tiny", "small", "paper"]


class TransformersBackbone(Backbone):
    """Base class of language models of the transformers library.

    Features are the last hidden states (B, T, N). `tied` makes the rows of the input embedding the class centers.
    """

    takes: ClassVar[Inputs] = "text"

    tied: bool = False

    def unavailable(self) -> str | None:
        """Return why it cannot be built here, in one line, or None if it can."""
        if importlib.util.find_spec("transformers") is None:
            return f"backbone '{self}' needs the package transformers: pip install 'harmbench[language]'"
        return None

    def content(self) -> str:
        if self.unavailable():
            return ""
        return f"transformers {version('transformers')}"

    @abstractmethod
    def model(self, length: int, vocabulary: int) -> nn.Module:
        """The transformers model without its head."""

    def build(self, input_shape: tuple[int, ...]) -> nn.Module:
        problem = self.unavailable()
        if problem:
            raise UsageError(problem)
        from harmbench.backbones._hidden_states import HiddenStates

        import_torchvision()  # transformers imports it
        return HiddenStates(self.model(*input_shape))

    def embedding(self, module: nn.Module) -> nn.Parameter:
        return module.embedding  # type: ignore[return-value]

    def centers(self, module: nn.Module) -> nn.Parameter | None:
        return self.embedding(module) if self.tied else None


class LanguageBackbone(TransformersBackbone):
    """Base class of language models with predefined sizes, trained from scratch.

    Class attributes:
        sizes: fields of the configuration by name of the size. `paper` is the size of arXiv 2603.10225.
        width_field: the field that is N.
    """

    sizes: ClassVar[Mapping[str, Mapping[str, Any]]]
    width_field: ClassVar[str] = "hidden_size"

    size: ModelSize = "tiny"
    dropout: float = Field(default=0.0, ge=0, lt=1)

    def known_features(self) -> int:
        return int(self.sizes[self.size][self.width_field])
