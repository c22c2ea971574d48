"""Finds the devices that trials run on, without importing torch."""

from __future__ import annotations

import importlib.util
import os
import re
import runpy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pynvml

from harmbench.errors import DeviceError


def torch_has_cuda() -> bool:
    """Whether the installed torch was built for CUDA. Reads only its version file."""
    spec = importlib.util.find_spec("torch")
    if spec is None or not spec.submodule_search_locations:
        raise DeviceError("torch is not installed; `pip install torch`")
    version_file = Path(spec.submodule_search_locations[0]) / "version.py"
    return runpy.run_path(str(version_file)).get("cuda") is not None


class Board(NamedTuple):
    """An NVIDIA board.

    Attributes:
        uuid: from NVML.
        instances: UUIDs of its MIG instances, or empty if it is not partitioned.
    """

    uuid: str
    instances: tuple[str, ...] = ()


def nvidia_boards() -> list[Board]:
    """The boards that NVML sees, in its order. The list is empty without a driver."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        return [Board(_text(pynvml.nvmlDeviceGetUUID(handle)), tuple(_instances(handle))) for handle in handles]
    finally:
        pynvml.nvmlShutdown()


def _instances(handle: Any) -> Iterator[str]:
    """UUIDs of a board's MIG instances."""
    try:
        for index in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
            try:
                yield _text(pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)))
            except pynvml.NVMLError_NotFound:  # fewer instances than it could hold
                continue
    except pynvml.NVMLError:  # no MIG here
        return


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def visible_boards(boards: Sequence[Board], visible: str | None) -> list[int]:
    """NVML indices of the boards that CUDA shows, in CUDA's order.

    Args:
        boards: all, in NVML's order.
        visible: the value of CUDA_VISIBLE_DEVICES: None, or comma-separated indices, or UUID prefixes if the first
            entry is one, or MIG instances if the first entry is one. As in CUDA, and in torch's reading of it, the
            first entry that names no device, or several, ends the list, and a device named twice empties it. Of MIG
            instances CUDA takes the first alone; it stands for its board.

    >>> visible_boards([Board("GPU-aa"), Board("GPU-bb", ("MIG-cc",))], "GPU-bb,GPU-aa")
    [1, 0]
    >>> visible_boards([Board("GPU-aa"), Board("GPU-bb", ("MIG-cc",))], "MIG-cc")
    [1]
    """
    if visible is None:
        return list(range(len(boards)))
    entries = [part.strip() for part in visible.split(",")]
    if entries[0].startswith("MIG-"):
        return _board_of_instance(boards, entries[0])
    by_uuid = visible.startswith("GPU-")
    chosen: list[int] = []
    for entry in entries:
        number = re.match(r"\d+", entry)
        if by_uuid:
            matches = [i for i, board in enumerate(boards) if entry.startswith("GPU-") and board.uuid.startswith(entry)]
        else:
            matches = [i for i in range(len(boards)) if number and i == int(number[0])]
        if len(matches) != 1:
            break
        chosen += matches
    return chosen if len(set(chosen)) == len(chosen) else []


def _board_of_instance(boards: Sequence[Board], name: str) -> list[int]:
    """The board of a MIG instance, from its UUID or the old form MIG-GPU-<board>/<instance>/<compute instance>."""
    old = re.fullmatch(r"MIG-(GPU-[^/]+)/\d+/\d+", name)
    if old:
        matches = [i for i, board in enumerate(boards) if board.uuid == old[1]]
    else:
        matches = [i for i, board in enumerate(boards) if any(uuid.startswith(name) for uuid in board.instances)]
    return matches if len(matches) == 1 else []


def resolve(names: list[str]) -> list[str]:
    """Device names that torch understands, from `auto`, `cpu`, `cuda`, `cuda:1`.

    `auto` is every visible CUDA device, or the CPU.

    Raises:
        DeviceError: for a device that this machine does not have.
    """
    count = len(visible_boards(nvidia_boards(), os.environ.get("CUDA_VISIBLE_DEVICES")))
    count = count if torch_has_cuda() else 0
    every_cuda = [f"cuda:{i}" for i in range(count)]
    resolved: list[str] = []
    for name in names:
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


class BoardInUse(NamedTuple):
    """The board of a torch device.

    Attributes:
        nvml: its index in NVML.
        scope: of its energy: `board`, or `whole board` if the device is only an instance of it.
    """

    nvml: int
    scope: str


def board_of(device: str) -> BoardInUse | None:
    """The board whose energy counter belongs to a torch device, or None for the CPU."""
    if device == "cpu":
        return None
    boards = nvidia_boards()
    visible = visible_boards(boards, os.environ.get("CUDA_VISIBLE_DEVICES"))
    index = visible[int(device.partition(":")[2] or 0)]
    return BoardInUse(index, "whole board" if boards[index].instances else "board")
