"""NVIDIA boards through NVML: the total-energy counter, and what a board says of itself.

The counter counts millijoules of the whole board since the driver was loaded, and steps about ten times a second. It
does not wait for queued kernels: whoever opens or closes a window does.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import psutil

from harmbench.energy.counter import Counter
from harmbench.results.records import COMPONENTS, BoardState, Component, EnergyOrigin, EnergyReading

MAX_WATTS = 3000.0  # of one board
UPDATE_S = 0.1
STATE_S = 1.0  # asking for the state costs milliseconds, so it is asked for no more often

# nvml.h, nvmlClocksEventReasons: those that hold work back.
THROTTLES = {
    0x02: "application clock setting",
    0x04: "power cap",
    0x08: "hardware slowdown",
    0x10: "sync boost",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
}


class NvmlSource:
    """Energy counters of some boards.

    Args:
        indices: NVML's, of the boards to count; empty for none.
        scope: what a board stands for; `whole board` where the trial has only a part of it.
        nvml: the pynvml module, or what behaves like it.
        clock: monotonic, in seconds.

    >>> NvmlSource(()).origins()["gpu"].detail
    'no GPU takes part'
    """

    def __init__(
        self,
        indices: Sequence[int],
        scope: str = "board",
        nvml: Any = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._indices, self._scope, self._clock = tuple(indices), scope, clock
        self._handles: list[Any] = []
        self._counters: list[Counter] = []
        self._names: list[str] = []
        self._state = BoardState()
        self._state_at = -STATE_S
        self._nvml = nvml
        self._missing = self._open() if indices else "no GPU takes part"

    def _open(self) -> str:
        """Open the boards' counters. Returns the reason for a failure, or ""."""
        if self._nvml is None:
            import pynvml  # at first use: most machines have no board

            self._nvml = pynvml
        try:
            self._nvml.nvmlInit()
            for index in self._indices:
                handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
                self._handles.append(handle)
                self._names.append(_text(self._nvml.nvmlDeviceGetName(handle)))
                self._counters.append(Counter(lambda handle=handle: self._joules(handle), MAX_WATTS, clock=self._clock))  # type: ignore[misc]
        except self._nvml.NVMLError as error:
            return f"NVML: {error}"
        except OSError as error:
            self._counters = []
            return f"board {self._indices[len(self._counters)]} ({self._names[-1]}) has no energy counter ({error})"
        return ""

    def _joules(self, handle: Any) -> float:
        try:
            return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1000
        except self._nvml.NVMLError as error:
            raise OSError(str(error)) from None

    def read(self) -> EnergyReading:
        joules: dict[Component, float | None] = dict.fromkeys(COMPONENTS, None)
        gaps: dict[Component, str] = {}
        if self._counters:
            taken = [counter.take() for counter in self._counters]
            joules["gpu"] = sum(value for value, _ in taken)
            if found := [gap for _, gap in taken if gap]:
                gaps["gpu"] = f"NVML: {found[0]}"
        return EnergyReading(joules=joules, gaps=gaps, board=self.state() if self._handles else None)

    def advance(self) -> None:
        """Look at the counters."""
        for counter in self._counters:
            counter.advance()

    def state(self) -> BoardState:
        """Telemetry of the boards, at most a second old: watts added up, the highest of all else."""
        if self._clock() - self._state_at >= STATE_S:
            self._state, self._state_at = self._ask(), self._clock()
        return self._state

    def _ask(self) -> BoardState:
        nvml = self._nvml
        watts = self._each(lambda handle: nvml.nvmlDeviceGetPowerUsage(handle) / 1000)
        celsius = self._each(lambda handle: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))
        sm = self._each(lambda handle: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM))
        memory = self._each(lambda handle: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM))
        reasons = self._each(nvml.nvmlDeviceGetCurrentClocksThrottleReasons)
        held = {name for bits in reasons for bit, name in THROTTLES.items() if int(bits) & bit}
        return BoardState(
            watts=sum(watts) if watts else None,
            celsius=max(celsius, default=None),
            sm_mhz=max(sm, default=None),
            memory_mhz=max(memory, default=None),
            throttling=tuple(sorted(held)),
            other_processes=self._others(),
        )

    def _each(self, ask: Callable[[Any], float]) -> list[float]:
        """Return one answer for each board, or an empty result if a board does not support it."""
        try:
            return [ask(handle) for handle in self._handles]
        except self._nvml.NVMLError:
            return []

    def _others(self) -> int | None:
        """Number of foreign processes on the boards, or None if NVML's process ids are not this system's."""
        try:
            found = [p.pid for h in self._handles for p in self._nvml.nvmlDeviceGetComputeRunningProcesses(h)]
        except self._nvml.NVMLError:
            return None
        if found and not any(psutil.pid_exists(pid) for pid in found):
            return None
        ours = {os.getpid()} | {child.pid for child in psutil.Process().children(recursive=True)}
        return len(set(found) - ours)

    def origins(self) -> dict[Component, EnergyOrigin]:
        if self._missing:
            return {"gpu": EnergyOrigin(method="missing", detail=self._missing)}
        detail = f"NVML's energy counter, {len(self._counters)} board(s): {', '.join(self._names)}"
        return {"gpu": EnergyOrigin(method="counter", scope=self._scope, detail=detail, period_s=UPDATE_S)}

    def describe(self) -> dict[str, Any]:
        return {
            "source": "NVML",
            "indices": list(self._indices),
            "names": self._names,
            "scope": self._scope,
            "missing": self._missing,
        }


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
