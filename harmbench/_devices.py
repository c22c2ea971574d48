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
            except pynvml.NVMLError_NotFound:  # the board has fewer instances than it could have
                continue
    except pynvml.NVMLError:  # the board does not support MIG
        return


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def visible_boards(boards: Sequence[Board], visible: str | None) -> list[int]:
    """NVML indices of the boards that CUDA shows, in CUDA's order.

    Args:
        boards: all, in NVML's order.
        visible: the value of CUDA_VISIBLE_DEVICES, or None. It has comma-separated indices, UUID prefixes or MIG
            instances, as its first entry shows. The rules are those of CUDA and torch. The list ends at the first entry
            that does not name exactly one device, and is empty if a device is named twice. CUDA uses only the first of
            several MIG instances, which gives its board.

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
        matches: list[int] = []
        if by_uuid and entry.startswith("GPU-"):
            matches = [i for i, board in enumerate(boards) if board.uuid.startswith(entry)]
        elif number and not by_uuid and int(number[0]) < len(boards):
            matches = [int(number[0])]
        if len(matches) != 1:
            break
        chosen += matches
    if len(set(chosen)) < len(chosen):
        return []
    return chosen


def _board_of_instance(boards: Sequence[Board], name: str) -> list[int]:
    """The board of a MIG instance, from its UUID or the old form MIG-GPU-<board>/<instance>/<compute instance>."""
    old = re.fullmatch(r"MIG-(GPU-[^/]+)/\d+/\d+", name)
    matches = []
    for index, board in enumerate(boards):
        is_match = any(uuid.startswith(name) for uuid in board.instances)
        if old:
            is_match = board.uuid == old[1]
        if is_match:
            matches.append(index)
    if len(matches) != 1:
        return []
    return matches


def resolve(names: list[str]) -> list[str]:
    """Device names that torch understands, from `auto`, `cpu`, `cuda`, `cuda:1`.

    `auto` is every visible CUDA device, or the CPU.

    Raises:
        DeviceError: for a device that this machine does not have.
    """
    every_cuda: list[str] = []
    if torch_has_cuda():
        boards = visible_boards(nvidia_boards(), os.environ.get("CUDA_VISIBLE_DEVICES"))
        every_cuda = [f"cuda:{i}" for i in range(len(boards))]
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
    """The board whose energy counter covers a torch device, or None for the CPU."""
    if device == "cpu":
        return None
    boards = nvidia_boards()
    visible = visible_boards(boards, os.environ.get("CUDA_VISIBLE_DEVICES"))
    index = visible[int(device.partition(":")[2] or 0)]
    return BoardInUse(index, "whole board" if boards[index].instances else "board")
