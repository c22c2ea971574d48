"""Local folders of models and tokenizers of the Hugging Face hub. Nothing here uses the network."""

from __future__ import annotations

from pathlib import Path


def local_folder(source: str) -> Path:
    """The folder itself, or that of the newest copy in the hub's cache.

    Args:
        source: a folder, or a name of the hub.

    Raises:
        FileNotFoundError: if there is no such folder and no copy.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        try:
            # The library's offline mode still uses the network in some cases. This function never does.
            path = try_to_load_from_cache(source, name)
        except HFValidationError:  # not a valid name for the hub
            break
        if isinstance(path, str):
            return Path(path).parent
    raise FileNotFoundError(source)
