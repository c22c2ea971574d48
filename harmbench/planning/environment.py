"""The hardware, software and settings that run trials, captured without importing torch."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil
import pynvml

from harmbench import __version__
from harmbench.results.records import fingerprint

PACKAGES = (
    "harmbench",
    "torch",
    "torchvision",
    "timm",
    "numpy",
    "scipy",
    "scikit-learn",
    "pandas",
    "codecarbon",
    "nvidia-ml-py",
    "transformers",
    "tokenizers",
    "datasets",
)
# Settings of the process that can change results or measurements.
VARIABLES = (
    "CUDA_DEVICE_ORDER",
    "CUDA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "CUBLAS_WORKSPACE_CONFIG",
    "HARMBENCH_",
)


def package_version(package: str) -> str:
    """The installed version, or `absent`."""
    if package == "harmbench":
        return __version__  # of the code that runs; an editable install keeps the metadata of the day it was made
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def result_versions() -> dict[str, str]:
    """Versions of the packages that can change a trial's numbers. They are part of every trial's id."""
    return {package: package_version(package) for package in ("harmbench", "torch", "timm")}


def capture(**more: Any) -> dict[str, Any]:
    """Facts about this machine and process that a reader of the results may need, with their fingerprint in `id`.

    Args:
        more: further facts.
    """
    here: dict[str, Any] = {
        **more,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "cpu": cpu_name(),
        "cpu_count": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "gpus": gpus(),
        "versions": {package: package_version(package) for package in PACKAGES},
        "commit": commit(),
        "variables": {name: value for name, value in sorted(os.environ.items()) if name.startswith(VARIABLES)},
    }
    return {"id": fingerprint(here), **here}


def cpu_name() -> str:
    """The processor's name as the system gives it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def gpus() -> list[dict[str, Any]]:
    """Name, memory and driver of each NVIDIA device. The list is empty without a driver."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        driver = str(pynvml.nvmlSystemGetDriverVersion())
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        return [
            {
                "name": str(pynvml.nvmlDeviceGetName(handle)),
                "memory_bytes": int(pynvml.nvmlDeviceGetMemoryInfo(handle).total),
                "driver": driver,
            }
            for handle in handles
        ]
    finally:
        pynvml.nvmlShutdown()


def commit() -> str:
    """The commit of the checkout that harmbench runs from, or an empty text if it is installed or git is missing."""
    root = Path(__file__).resolve().parent.parent.parent
    if not (root / ".git").exists():
        return ""
    try:
        described = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty"],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return described.stdout.strip()
