"""Which devices trials run on, found without importing torch."""

from __future__ import annotations

import importlib.util
import os
import re
import runpy
from pathlib import Path

import pynvml

from harmbench.errors import DeviceError


def torch_has_cuda() -> bool:
    """Whether the installed torch was built for CUDA; reads its version file only."""
    spec = importlib.util.find_spec("torch")
    if spec is None or not spec.submodule_search_locations:
        raise DeviceError("torch is not installed; `pip install torch`")
    version_file = Path(spec.submodule_search_locations[0]) / "version.py"
    return runpy.run_path(str(version_file)).get("cuda") is not None


def nvidia_uuids() -> list[str]:
    """UUIDs of the NVIDIA devices that NVML sees, in its order; empty without a driver."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        return [_text(pynvml.nvmlDeviceGetUUID(handle)) for handle in handles]
    finally:
        pynvml.nvmlShutdown()


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def visible_nvidia_indices(uuids: list[str], visible: str | None) -> list[int]:
    """NVML indices of the devices that CUDA shows, in CUDA's order.

    Args:
        uuids: of all devices, in NVML's order.
        visible: the value of CUDA_VISIBLE_DEVICES: None, or comma-separated indices, or UUID prefixes if the first
            entry is one. As in CUDA, and in torch's reading of it, the first entry that names no device, or several,
            ends the list, and a device named twice empties it.

    >>> visible_nvidia_indices(["GPU-aa", "GPU-bb"], "GPU-bb,GPU-aa")
    [1, 0]
    """
    if visible is None:
        return list(range(len(uuids)))
    by_uuid = visible.startswith("GPU-")
    chosen: list[int] = []
    for entry in (part.strip() for part in visible.split(",")):
        number = re.match(r"\d+", entry)
        if by_uuid:
            matches = [i for i, uuid in enumerate(uuids) if entry.startswith("GPU-") and uuid.startswith(entry)]
        else:
            matches = [i for i in range(len(uuids)) if number and i == int(number[0])]
        if len(matches) != 1:
            break
        chosen += matches
    return chosen if len(set(chosen)) == len(chosen) else []


def resolve(asked: list[str]) -> list[str]:
    """Device names that torch understands, from `auto`, `cpu`, `cuda`, `cuda:1`.

    `auto` is every visible CUDA device, or the CPU.

    Raises:
        DeviceError: for a device that is not there.
    """
    count = len(visible_nvidia_indices(nvidia_uuids(), os.environ.get("CUDA_VISIBLE_DEVICES")))
    count = count if torch_has_cuda() else 0
    every_cuda = [f"cuda:{i}" for i in range(count)]
    resolved: list[str] = []
    for name in asked:
        if name == "auto":
            resolved += every_cuda or ["cpu"]
        elif name == "cpu" or name in every_cuda:
            resolved.append(name)
        elif name == "cuda" and every_cuda:
            resolved += every_cuda
        elif name == "cuda" or re.fullmatch(r"cuda:\d+", name):
            here = ", ".join(["cpu", *every_cuda])
            build = "" if torch_has_cuda() else "; this torch is a CPU build"
            raise DeviceError(f"no device '{name}' here (there is: {here}{build}); use `--devices auto`")
        else:
            raise DeviceError(f"cannot read device '{name}'; use auto, cpu, cuda or cuda:INDEX")
    resolved = list(dict.fromkeys(resolved))
    if len({name.split(":")[0] for name in resolved}) > 1:
        raise DeviceError(f"one run, one kind of device; got {', '.join(resolved)}; run once for each kind")
    return resolved


def nvml_index(device: str) -> int | None:
    """The NVML index of a torch device; None for the CPU."""
    if device == "cpu":
        return None
    visible = visible_nvidia_indices(nvidia_uuids(), os.environ.get("CUDA_VISIBLE_DEVICES"))
    return visible[int(device.partition(":")[2] or 0)]
