"""A tokenizer that exists already: a folder that `save_pretrained` wrote, a `tokenizer.json`, or a name of the hub.

load         the tokenizer, and its tokens for the end of a document and for masks
content      fingerprint of local files
known_size   size of the vocabulary, if local files have it
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from harmbench._hub import found_here
from harmbench.errors import DatasetUnavailableError, UsageError
from harmbench.results.records import fingerprint

FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
# Names for what a tokenizer.json alone does not tell.
_ENDS = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "[SEP]", "<s>")
_MASKS = ("<|mask|>", "<mask>", "[MASK]")


def load(source: str, download: bool) -> tuple[Any, int, int | None]:
    """Return the tokenizer, the number of its end token, and that of its mask token or None.

    Args:
        source: a folder, a file or a name of the hub.
        download: whether it may be downloaded from the hub.

    Raises:
        DatasetUnavailableError: if it is missing or cannot be fetched.
        UsageError: if it has no token to separate documents.
    """
    from tokenizers import Tokenizer

    path = Path(source).expanduser()
    file = path if path.is_file() else _folder(source, download) / FILES[0]
    if not file.is_file():
        raise UsageError(f"tokenizer {source}: {file.parent} holds no {FILES[0]}; name one of the tokenizers library")
    tokenizer, special = Tokenizer.from_file(str(file)), _special(file.parent) if file != path else {}
    tokenizer.no_truncation()
    tokenizer.no_padding()
    numbers = tokenizer.get_vocab()
    ends, masks = (special.get("eos_token"), special.get("sep_token"), *_ENDS), (special.get("mask_token"), *_MASKS)
    end = next((numbers[name] for name in ends if name in numbers), None)
    if end is None:
        raise UsageError(f"tokenizer {source}: no token for the end of a document (looked for {', '.join(_ENDS)})")
    return tokenizer, end, next((numbers[name] for name in masks if name in numbers), None)


def _folder(source: str, download: bool) -> Path:
    """The folder that a source names, on this machine in the end."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    try:
        if download and not Path(source).expanduser().is_dir():
            for name in FILES:
                with contextlib.suppress(EntryNotFoundError):  # not all of them are always there
                    hf_hub_download(source, name)
        return found_here(source)
    except (OSError, ValueError) as error:
        raise DatasetUnavailableError(
            f"tokenizer {source} cannot be loaded: it is no folder with a tokenizer, nor in the hub's cache on this "
            f"machine; if the hub has it, get it with --download ({type(error).__name__})"
        ) from None


def _special(folder: Path) -> dict[str, str]:
    """Names of the special tokens, from the files of a folder."""
    names: dict[str, str] = {}
    for name in FILES[1:]:
        settings = json.loads((folder / name).read_bytes()) if (folder / name).is_file() else {}
        texts = {
            key: token["content"] if isinstance(token, dict) else token
            for key, token in settings.items()
            if key in ("eos_token", "sep_token", "mask_token") and token
        }
        names |= texts
    return names


def content(source: str) -> str:
    """Fingerprint of the names, sizes and times of local files, or "" for a name of the hub."""
    path = Path(source).expanduser()
    files = [path] if path.is_file() else [path / name for name in FILES if (path / name).is_file()]
    stats = ((file.name, file.stat()) for file in files)
    return fingerprint([(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]) if files else ""


def known_size(source: str) -> int | None:
    """Number of tokens, or None if it is unknown before the tokenizer is loaded."""
    path = Path(source).expanduser()
    file = path / FILES[0] if path.is_dir() else path
    if not file.is_file():
        return None
    try:
        settings = json.loads(file.read_bytes())
        vocabulary = settings["model"]["vocab"]
        pieces = vocabulary.values() if isinstance(vocabulary, dict) else range(len(vocabulary))
        return int(max([*pieces, *(token["id"] for token in settings.get("added_tokens", ()))])) + 1
    except (ValueError, KeyError, TypeError):
        return None
