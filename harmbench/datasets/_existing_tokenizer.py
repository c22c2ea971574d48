"""A tokenizer that exists already: a folder that `save_pretrained` wrote, a `tokenizer.json`, or a name of the hub.

load         the tokenizer, and its tokens for the end of a document and for masks
content      fingerprint of local files
known_size   size of the vocabulary, if local files have it
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from harmbench._hub import local_folder
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

    file = Path(source).expanduser()
    special: dict[str, str] = {}
    if not file.is_file():
        folder = _folder(source, download)
        file = folder / FILES[0]
        if not file.is_file():
            raise UsageError(f"tokenizer {source}: {folder} holds no {FILES[0]}; name one of the tokenizers library")
        special = _special(folder)
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    numbers = tokenizer.get_vocab()
    end = _first_number(numbers, [special.get("eos_token"), special.get("sep_token"), *_ENDS])
    if end is None:
        raise UsageError(f"tokenizer {source}: no token for the end of a document (looked for {', '.join(_ENDS)})")
    mask = _first_number(numbers, [special.get("mask_token"), *_MASKS])
    return tokenizer, end, mask


def _first_number(numbers: Mapping[str, int], names: Iterable[str | None]) -> int | None:
    """Number of the first of these tokens that the vocabulary has, or None if it has none."""
    for name in names:
        if name is not None and name in numbers:
            return numbers[name]
    return None


def _folder(source: str, download: bool) -> Path:
    """The folder on this machine that a source names, after a download if there may be one."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    try:
        if download and not Path(source).expanduser().is_dir():
            for name in FILES:
                with contextlib.suppress(EntryNotFoundError):  # not all of them are always there
                    hf_hub_download(source, name)
        return local_folder(source)
    except (OSError, ValueError) as error:
        raise DatasetUnavailableError(
            f"tokenizer {source} cannot be loaded: it is no folder with a tokenizer, nor in the hub's cache on this "
            f"machine; if the hub has it, get it with --download ({type(error).__name__})"
        ) from None


def _special(folder: Path) -> dict[str, str]:
    """Names of the special tokens, from the files of a folder."""
    names: dict[str, str] = {}
    for file in FILES[1:]:
        if not (folder / file).is_file():
            continue
        settings = json.loads((folder / file).read_bytes())
        for key in ("eos_token", "sep_token", "mask_token"):
            token = settings.get(key)
            if isinstance(token, dict) and token:
                names[key] = token["content"]
            elif token:
                names[key] = token
    return names


def content(source: str) -> str:
    """Fingerprint of the names, sizes and times of local files, or "" for a name of the hub."""
    path = Path(source).expanduser()
    candidates = [path, *(path / name for name in FILES)]
    stats = [(file.name, file.stat()) for file in candidates if file.is_file()]
    if not stats:
        return ""
    return fingerprint([(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats])


def known_size(source: str) -> int | None:
    """Number of tokens, or None if it is unknown before the tokenizer is loaded."""
    file = Path(source).expanduser()
    if file.is_dir():
        file = file / FILES[0]
    if not file.is_file():
        return None
    try:
        settings = json.loads(file.read_bytes())
        vocabulary = settings["model"]["vocab"]
        numbers = [token["id"] for token in settings.get("added_tokens", ())]
        if isinstance(vocabulary, dict):
            numbers += vocabulary.values()
        else:
            numbers += range(len(vocabulary))
        return int(max(numbers)) + 1
    except (ValueError, KeyError, TypeError):
        return None
