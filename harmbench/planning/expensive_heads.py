"""Heads of a plan that cost far more than a linear head."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

from harmbench.backbones import BACKBONES
from harmbench.datasets import DATASETS
from harmbench.planning import head_cost
from harmbench.planning.plan import Plan, rows_of_step


def expensive_heads(plan: Plan, data_dir: Path) -> list[str]:
    """One line on each group of expensive distance heads, from `harmbench.planning.head_cost`.

    Args:
        plan: with the heads.
        data_dir: folder of data sets, which says how many classes they have.
    """
    settings = plan.suite.settings
    device = plan.trials[0].device_kind
    cells = [
        head_cost.PlannedHead(
            backbone,
            dataset,
            head,
            rows_of_step(dataset, backbone, settings[setting].batch_size),
            BACKBONES.parse(backbone).known_features(),
            DATASETS.parse(dataset).known_classes(data_dir),
        )
        for dataset, backbone, head, _, setting in plan.cells
        if head != "linear"
    ]
    return head_cost.warnings(cells, device, has_kernels(device))


def has_kernels(device: str) -> bool:
    """Whether this machine can compile kernels for a kind of device: with Triton for CUDA, a C++ compiler for the CPU.

    Args:
        device: `cpu` or `cuda`.
    """
    if device != "cpu":
        return importlib.util.find_spec("triton") is not None
    compilers = ["g++", "c++", "clang++"]
    if os.environ.get("CXX"):
        compilers = [os.environ["CXX"]]
    return any(shutil.which(compiler) for compiler in compilers)
