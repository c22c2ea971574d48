"""A tokeniser that exists already: a folder that `save_pretrained` wrote, a `tokenizer.json`, or a name of the hub.

load         the tokeniser, and its tokens for the end of a document and for masks
content      tells one content of local files from another
known_size   size of the vocabulary, where local files say it
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

from harmbench._hub import found_here
from harmbench._torchvision import import_torchvision
from harmbench.errors import DatasetUnavailableError, UsageError
from harmbench.records import fingerprint

FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
# Names for what a tokenizer.json alone does not tell.
_ENDS = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "[SEP]", "<s>")
_MASKS = ("<|mask|>", "<mask>", "[MASK]")


def load(source: str, download: bool) -> tuple[Any, int, int | None]:
    """The tokeniser, the number of its end mark, and that of its mask, None where it has none.

    Args:
        source: where it is.
        download: whether the hub may be asked for it.

    Raises:
        DatasetUnavailableError: where it is not there, or cannot be fetched.
        UsageError: where it has no token to stand between documents.
    """
    path = Path(source).expanduser()
    if path.is_file():
        from tokenizers import Tokenizer

        tokenizer: Any = Tokenizer.from_file(str(path))
        said: dict[str, str | None] = {}
    else:
        tokenizer, said = _of_transformers(source, path, download)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    numbers = tokenizer.get_vocab()
    end = next((numbers[name] for name in (said.get("end"), *_ENDS) if name in numbers), None)
    if end is None:
        raise UsageError(f"tokenizer {source}: no token for the end of a document (looked for {', '.join(_ENDS)})")
    return tokenizer, end, next((numbers[name] for name in (said.get("mask"), *_MASKS) if name in numbers), None)


def _of_transformers(source: str, path: Path, download: bool) -> tuple[Any, dict[str, str | None]]:
    """A tokeniser by the transformers library, and what it calls its special tokens."""
    if importlib.util.find_spec("transformers") is None:
        raise DatasetUnavailableError(
            f"tokenizer {source} needs the package transformers: pip install 'harmbench[language]'"
        )
    import_torchvision()
    from transformers import AutoTokenizer

    try:
        loaded = AutoTokenizer.from_pretrained(source if download and not path.is_dir() else str(found_here(source)))
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise DatasetUnavailableError(
            f"tokenizer {source} cannot be loaded: it is no folder with a tokenizer, nor in the hub's cache on this "
            f"machine; if the hub has it, get it with --download ({type(error).__name__})"
        ) from None
    if not getattr(loaded, "is_fast", False):
        raise UsageError(f"tokenizer {source} is none of the tokenizers library; name one with a tokenizer.json")
    return loaded.backend_tokenizer, {"end": loaded.eos_token or loaded.sep_token, "mask": loaded.mask_token}


def content(source: str) -> str:
    """Names, sizes and times of local files; empty for a name of the hub."""
    path = Path(source).expanduser()
    files = [path] if path.is_file() else [path / name for name in FILES if (path / name).is_file()]
    stats = ((file.name, file.stat()) for file in files)
    return fingerprint([(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]) if files else ""


def known_size(source: str) -> int | None:
    """Number of tokens; None where it is told only when the tokeniser is loaded."""
    path = Path(source).expanduser()
    file = path / FILES[0] if path.is_dir() else path
    if not file.is_file():
        return None
    try:
        said = json.loads(file.read_bytes())
        vocabulary = said["model"]["vocab"]
        pieces = vocabulary.values() if isinstance(vocabulary, dict) else range(len(vocabulary))
        return int(max([*pieces, *(token["id"] for token in said.get("added_tokens", ()))])) + 1
    except (ValueError, KeyError, TypeError):
        return None
