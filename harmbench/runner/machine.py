"""State of the machine during a trial: whether it keeps its speed, and whether the trial has it alone.

A small fixed workload before and after each trial takes some ten milliseconds and gives the machine's speed for every
trial. A reference trial would take as long as a trial and give it only a few times in a run. The load of other
processes is measured over the whole trial: processor time of the machine less that of this process.
"""

from __future__ import annotations

import os
import statistics
import time

import psutil
import torch

from harmbench.results.records import MachineState
from harmbench.runner.timing import synchronize

REPEATS = 5
SIZE = {"cpu": 256, "cuda": 2048}  # of the square matrices
LENGTH = {"cpu": 1 << 18, "cuda": 1 << 26}  # of the vector


class MachineWatch:
    """Watches the machine from construction on.

    Args:
        device: that the trial runs on.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        self._start = time.perf_counter()
        self._busy = _busy_seconds()
        self._own = _own_seconds()
        self._before = 0.0

    def before(self) -> None:
        """Time the workload before training."""
        self._before = calibrate(self._device)

    def after(self) -> MachineState:
        """Time the workload again, and return the state of the machine in between."""
        after = calibrate(self._device)
        elapsed = time.perf_counter() - self._start
        others = (_busy_seconds() - self._busy) - (_own_seconds() - self._own)
        return MachineState(
            before=self._before,
            after=after,
            load_average=self._load,
            busy_elsewhere=max(0.0, others / elapsed),
            cores=os.cpu_count() or 1,
        )


def calibrate(device: torch.device) -> float:
    """Seconds of a fixed workload of matrix products and passes over a vector, the median of a few repeats."""
    size = SIZE.get(device.type, 256)
    length = LENGTH.get(device.type, 1 << 18)
    matrix = torch.ones(size, size, device=device)
    vector = torch.ones(length, device=device)
    seconds = []
    for _ in range(REPEATS + 1):  # the first one wakes threads and caches
        synchronize(device)
        start = time.perf_counter()
        for _ in range(4):
            matrix @ matrix
            vector.mul_(1.0)
        synchronize(device)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])


def _busy_seconds() -> float:
    """Processor seconds of the whole machine, summed over cores."""
    times = psutil.cpu_times()._asdict()
    kinds = ("user", "nice", "system", "irq", "softirq", "steal")
    return float(sum(times.get(kind, 0.0) for kind in kinds))


def _own_seconds() -> float:
    times = psutil.Process().cpu_times()
    return float(times.user + times.system)
