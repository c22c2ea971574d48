"""Any language model of the transformers library by name.

Hf.model      from its configuration with new weights, or with pretrained ones
_try_out      rejects models without hidden states, and models that look ahead at tokens to be predicted
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from harmbench._hub import local_folder
from harmbench._torch import torch
from harmbench.backbones._language import TransformersBackbone
from harmbench.errors import UsageError
from harmbench.results.records import ObjectiveKind, fingerprint

if TYPE_CHECKING:
    from torch import nn

_WIDTHS = ("hidden_size", "n_embd", "d_model", "dim")  # what configurations call N
_LENGTHS = ("max_position_embeddings", "n_positions")
_FAILURES = (OSError, ValueError, KeyError, ImportError, RuntimeError, AttributeError, TypeError, IndexError)


class Hf(TransformersBackbone):
    """Any language model of the transformers library, `hf:NAME`: a name of the Hugging Face hub, or a folder that
    `save_pretrained` wrote. The model is that of `AutoModel`, without its head.

    Trials download nothing, so run `hf download NAME` before. Weights are new, or pretrained with `pretrained=true`:
    then the data set needs the model's own tokenizer, such as `stdlib[tokenizer=NAME]`, and windows no longer than the
    model reads. `masked=true` predicts masked tokens, as BERT does. Otherwise the model predicts the next tokens, and a
    model that looks ahead is rejected. Code from the hub is never run. Needs `pip install 'harmbench[language]'`.

    >>> str(Hf(path="gpt2", pretrained=True))
    'hf:gpt2[pretrained=True]'
    """

    name: ClassVar[str] = "hf"
    argument: ClassVar[str | None] = "path"

    path: str
    pretrained: bool = False
    masked: bool = False

    @property
    def objective(self) -> ObjectiveKind:  # type: ignore[override]  # of others it is the class's, here an option's
        return "masked" if self.masked else "next"

    def known_features(self) -> int | None:
        config = self._folder() / "config.json"
        if not config.is_file():
            return None
        fields = json.loads(config.read_bytes())
        for name in _WIDTHS:
            if name in fields:
                return int(fields[name])
        return None

    def content(self) -> str:
        """The library's version, and names, sizes and times of local files."""
        files = []
        for path in sorted(self._folder().glob("*")):
            if path.suffix in (".json", ".safetensors", ".bin"):
                stat = path.stat()
                files.append((path.name, stat.st_size, stat.st_mtime_ns))
        return fingerprint([super().content(), files])

    def model(self, length: int, vocabulary: int) -> nn.Module:
        model: nn.Module = self._pretrained(vocabulary) if self.pretrained else self._fresh(length, vocabulary)
        if getattr(model, "pooler", None) is not None:
            setattr(model, "pooler", None)  # nothing reads it  # noqa: B010 - mypy knows no such attribute
        self._try_out(model, length, vocabulary)
        return model.train()

    def _folder(self) -> Path:
        return Path(self.path).expanduser()

    def _loaded(self, kind: Any) -> Any:
        """Return what the class `kind` of the library loads for this name."""
        from transformers.utils import logging

        # The library's progress bars and messages would disturb the display of the run.
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        logging.set_verbosity_error()  # type: ignore[no-untyped-call]
        try:
            return kind.from_pretrained(str(local_folder(self.path)))
        except _FAILURES as error:
            raise UsageError(
                f"backbone '{self}' cannot be loaded: {self.path} is no folder that save_pretrained wrote, nor in the "
                f"hub's cache on this machine; if the hub has it, get it with `hf download {self.path}`"
            ) from error

    def _fresh(self, length: int, vocabulary: int) -> Any:
        from transformers import AutoConfig, AutoModel

        config = self._loaded(AutoConfig)
        config.vocab_size = vocabulary
        config.use_cache = False
        config.bos_token_id = config.eos_token_id = config.pad_token_id = None  # numbers of another vocabulary
        for field in _LENGTHS:
            if 0 < (getattr(config, field, 0) or 0) < length:
                setattr(config, field, length)
        try:
            return AutoModel.from_config(config)  # type: ignore[no-untyped-call]
        except _FAILURES as error:
            raise UsageError(f"backbone '{self}' cannot be built of its configuration: {_one_line(error)}") from error

    def _pretrained(self, vocabulary: int) -> Any:
        from transformers import AutoModel

        model = self._loaded(AutoModel).float()
        model.config.use_cache = False
        table = model.get_input_embeddings()
        rows = len(table.weight)
        if vocabulary not in (rows, self._tokens()):
            raise UsageError(
                f"backbone '{self}' has weights for the {self._tokens() or rows} tokens of its own tokenizer, and the "
                f"data set has {vocabulary}; give the data set that tokenizer, such as stdlib[tokenizer={self.path}]"
            )
        if vocabulary < rows:  # tables are filled up to round numbers, with rows that no token has
            table.weight = torch.nn.Parameter(table.weight[:vocabulary].detach().clone())
            table.num_embeddings = vocabulary
        return model

    def _tokens(self) -> int | None:
        """Size of the model's own vocabulary, or None if it has no tokenizer."""
        from tokenizers import Tokenizer

        file = local_folder(self.path) / "tokenizer.json"
        if not file.is_file():
            return None
        numbers = Tokenizer.from_file(str(file)).get_vocab().values()
        return int(max(numbers)) + 1

    def _try_out(self, model: Any, length: int, vocabulary: int) -> None:
        """Run the model on a window, and again with a changed second half.

        Raises:
            UsageError: if it cannot run, or if features of the first half change in a model of next tokens.
        """
        generator = torch.Generator().manual_seed(0)
        half = length // 2
        tokens = torch.randint(vocabulary, (1, length), generator=generator)
        changed = torch.cat([tokens[:, :half], (tokens[:, half:] + 1) % vocabulary], dim=1)
        model.eval()
        try:
            with torch.no_grad():
                features = model(tokens).last_hidden_state[0, :half]
                changed_features = model(changed).last_hidden_state[0, :half]
        except _FAILURES as error:
            raise UsageError(
                f"backbone '{self}' does not take windows of {length} tokens ({_one_line(error)}); if they are too "
                "long for it, give the data set a shorter length"
            ) from error
        if self.masked:
            return
        difference = (features - changed_features).abs().max()
        if difference > 1e-5 * features.abs().max():
            options = "pretrained=true,masked=true" if self.pretrained else "masked=true"
            raise UsageError(
                f"backbone '{self}' looks ahead, so it cannot predict the next token; write hf:{self.path}[{options}]"
            )


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
