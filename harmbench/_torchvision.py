"""torchvision, and with it timm, on machines where its C++ extension cannot be loaded.

torchvision's wheels link CUDA libraries. Beside a CPU build of torch the extension does not load; torchvision
passes over that in silence, but then describes two operators of the extension and stops with "operator
torchvision::nms does not exist". Declaring the two by name is enough: harmbench detects no boxes and never calls
them, and whoever does is told that they have no implementation.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

_SCHEMAS = {name: f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor" for name in ("nms", "qnms")}
_kept_alive: list[object] = []  # a Library takes its declarations along when it is collected


def import_torchvision() -> ModuleType:
    """The torchvision module; call this before anything that imports torchvision, such as timm.

    Where torchvision's extension loads, this is a plain import. Where it does not, the missing operators are
    declared first.

    Raises:
        ModuleNotFoundError: where torchvision is not installed.

    >>> import_torchvision().datasets.MNIST.__name__
    'MNIST'
    """
    if not any(_loads(file) for file in _extension_files()):
        _declare_missing_operators()
    return importlib.import_module("torchvision")


def _extension_files() -> list[Path]:
    spec = importlib.util.find_spec("torchvision")
    folders = (spec.submodule_search_locations if spec else None) or []
    return [file for folder in folders for file in Path(folder).glob("_C*") if file.suffix in (".so", ".pyd")]


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
