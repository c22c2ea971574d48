"""Where models and tokenizers of the Hugging Face hub lie on this machine; the network is not asked."""

from __future__ import annotations

from pathlib import Path


def found_here(source: str) -> Path:
    """The folder that a source names: itself, or its newest copy in the hub's cache.

    Args:
        source: a folder, or a name of the hub.

    Raises:
        FileNotFoundError: where there is neither.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        # Even its offline mode goes to the network for other reasons; a look into the cache does not.
        for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
            if isinstance(path := try_to_load_from_cache(source, name), str):
                return Path(path).parent
    except HFValidationError:  # no name that the hub could have
        pass
    raise FileNotFoundError(source)
