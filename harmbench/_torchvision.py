"""torchvision, and with it timm, on machines where its C++ extension cannot be loaded.

torchvision's wheels link CUDA libraries, so the extension does not load with a CPU build of torch. torchvision ignores
that at first, but then registers two operators of the extension and fails with "operator torchvision::nms does not
exist". It is enough to declare the two operators by name. harmbench does not detect boxes and never calls them. Other
callers get torch's error that the operator has no implementation.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

_SCHEMAS = {name: f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor" for name in ("nms", "qnms")}
_kept_alive: list[object] = []  # the declarations of a Library end when it is garbage-collected


def import_torchvision() -> ModuleType:
    """Import torchvision. Call this before importing anything that imports torchvision, such as timm.

    This declares the missing operators first if torchvision's extension cannot be loaded.

    Raises:
        ModuleNotFoundError: if torchvision is not installed.

    >>> import_torchvision().datasets.MNIST.__name__
    'MNIST'
    """
    if not any(_loads(file) for file in _extension_files()):
        _declare_missing_operators()
    return importlib.import_module("torchvision")


def _extension_files() -> list[Path]:
    spec = importlib.util.find_spec("torchvision")
    if spec is None:
        return []
    files: list[Path] = []
    for folder in spec.submodule_search_locations or ():
        files += Path(folder).glob("_C*")
    return [file for file in files if file.suffix in (".so", ".pyd")]


def _loads(extension: Path) -> bool:
    import torch

    try:
        torch.ops.load_library(str(extension))  # type: ignore[no-untyped-call]
    except OSError:
        return False
    return True


def _declare_missing_operators() -> None:
    import torch

    missing = [schema for name, schema in _SCHEMAS.items() if not hasattr(torch.ops.torchvision, name)]
    if missing:
        library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        for schema in missing:
            library.define(schema)  # type: ignore[no-untyped-call]
        _kept_alive.append(library)
