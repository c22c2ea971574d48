"""From documents to tokens of a byte-level BPE, in a file of the user's cache folder.

Text            tokens of the parts of a text, with the tokenizer
cached          the tokens from the cache, made at the first call on a machine
split           documents in three parts
windows         a stream of tokens in inputs of one length

A cached file has a checksum file. A file that fails it is made again, with a message.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

END, MASK = 0, 1  # token numbers: between documents, and in place of what a masked model is to guess
SPECIAL = ("<|endoftext|>", "<|mask|>")
PARTS = ("train", "validation", "test")
_HELD_OUT = 0.05  # share of documents in the validation part, and in the test part
_SECONDS = 600  # for another process to make the tokens that this one needs


class Text(NamedTuple):
    """A tokenized text.

    Attributes:
        train, validation, test: tokens of each part as one stream, uint32 (L,).
        token_bytes: length of each token in bytes, (V,), all 0 if unknown.
        tokenizer: the tokenizer as JSON.
        mask: number of the mask token, -1 if there is none.
    """

    train: np.ndarray[Any, Any]
    validation: np.ndarray[Any, Any]
    test: np.ndarray[Any, Any]
    token_bytes: np.ndarray[Any, Any]
    tokenizer: str
    mask: int = MASK


def cached(path: Path, make: Callable[[], Text]) -> Text:
    """Return the tokens of a file. One process creates the file if it is missing or fails its checksum.

    Raises:
        OSError: if the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock", timeout=_SECONDS):
        if not _is_whole(path):
            _say(f"reading and tokenizing {path.stem}, once on this machine")
            _write(path, make())
    with np.load(path, allow_pickle=False) as arrays:
        train, validation, test = (arrays[name] for name in PARTS)
        tokenizer = bytes(arrays["tokenizer"]).decode()
        return Text(train, validation, test, arrays["token_bytes"], tokenizer, int(arrays["mask"]))


def split(documents: Iterable[str]) -> tuple[list[str], list[str], list[str]]:
    """Split different documents into training, validation and test part by a hash of their content.

    >>> [len(part) for part in split(str(i) for i in range(1000))]
    [894, 51, 55]
    """
    parts: tuple[list[str], list[str], list[str]] = ([], [], [])
    by_digest = {hashlib.sha256(text.encode()).hexdigest(): text for text in documents}
    for digest, document in sorted(by_digest.items()):
        position = int(digest[:8], 16) / 2**32  # uniform in [0, 1)
        if position < _HELD_OUT:
            parts[2].append(document)
        elif position < 2 * _HELD_OUT:
            parts[1].append(document)
        else:
            parts[0].append(document)
    return parts


def windows(tokens: Tensor, length: int) -> Tensor:
    """View of a stream (L,) as windows (M, length + 1). Neighbors share one token, and a rest at the end is unused.

    >>> windows(torch.arange(8), 3).tolist()
    [[0, 1, 2, 3], [3, 4, 5, 6]]
    """
    if len(tokens) <= length:
        return tokens.new_empty(0, length + 1)
    return tokens.unfold(0, length + 1, length)


def unseen(inputs: Tensor, training: Tensor) -> Tensor:
    """Inputs that are not in the training inputs.

    >>> unseen(torch.tensor([[1, 2], [3, 4]]), torch.tensor([[3, 4]])).tolist()
    [[1, 2]]
    """
    training_rows = {row.tobytes() for row in training.numpy()}
    is_unseen = [row.tobytes() not in training_rows for row in inputs.numpy()]
    return inputs[torch.tensor(is_unseen, dtype=torch.bool)]


def spread(inputs: Tensor, count: int) -> Tensor:
    """At most `count` of the inputs, evenly spread.

    >>> spread(torch.arange(10), 4).tolist()
    [0, 2, 5, 7]
    """
    if len(inputs) <= count:
        return inputs
    return inputs[torch.arange(count) * len(inputs) // count]


def train_tokenizer(documents: list[str], vocabulary: int) -> Any:
    """Train a byte-level BPE, which encodes any text without loss."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer)
    return tokenizer


def encode(tokenizer: Any, documents: list[str], end: int = END) -> np.ndarray[Any, Any]:
    """Documents as one stream, each behind an end mark, uint32 (L,)."""
    encoded = tokenizer.encode_batch_fast(documents, add_special_tokens=False)
    return np.concatenate([np.array([end, *document.ids], dtype=np.uint32) for document in encoded])


def encoder(tokenizer: str) -> Callable[[str], list[int]]:
    """Return a function from a text to token numbers, given a tokenizer as JSON."""
    from tokenizers import Tokenizer

    loaded = Tokenizer.from_str(tokenizer)
    return lambda text: list(loaded.encode(text, add_special_tokens=False).ids)


def token_bytes(tokenizer: Any) -> np.ndarray[Any, Any]:
    """Length of each token in bytes of UTF-8, (V,), 0 for special tokens. Byte-level BPE has one letter a byte.

    All 0 for another kind of tokenizer, whose tokens do not determine the length of the text.
    """
    numbers = tokenizer.get_vocab()
    lengths = np.zeros(max(numbers.values()) + 1, dtype=np.uint32)
    settings = json.loads(tokenizer.to_str())
    if (settings.get("decoder") or {}).get("type") != "ByteLevel":
        return lengths
    for token, number in numbers.items():
        lengths[number] = len(token)
    for token in settings["added_tokens"]:  # in UTF-8, not one letter a byte
        length = len(token["content"].encode())
        if token["special"]:
            length = 0
        lengths[token["id"]] = length
    return lengths


def _write(path: Path, text: Text) -> None:
    tokenizer = np.frombuffer(text.tokenizer.encode(), dtype=np.uint8)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".npz", delete=False) as scratch:
        np.savez(scratch, **{**text._asdict(), "tokenizer": tokenizer})
    _checksum_file(path).write_text(_checksum(Path(scratch.name)))
    Path(scratch.name).replace(path)


def _is_whole(path: Path) -> bool:
    if not path.exists():
        return False
    checksum_file = _checksum_file(path)
    if checksum_file.exists() and checksum_file.read_text() == _checksum(path):
        return True
    _say(f"{path} fails its checksum and is made again")
    return False


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _checksum_file(path: Path) -> Path:
    return path.with_suffix(".sha256")


def _say(line: str) -> None:
    sys.stderr.write(f"harmbench: {line}\n")
