"""Joules by component through CodeCarbon, behind one adapter.

CodeCarbon's traps, and what is done about each:
- `EmissionsTracker` asks the network where it is: the offline tracker is used, and CO2 is left to the report.
- its tasks stop the periodic reading and lose energy when a counter wraps: one long-lived tracker with periodic
  reading reads on, and `read()` takes snapshots of its component counters in between.
- a reading and the periodic thread may meet and count the same span twice: readings are serialized by a lock.
- UUIDs in CUDA_VISIBLE_DEVICES match nothing and give 0 J: NVML indices are passed.
- a config file or CODECARBON_* variable may change the figures: every setting that could is given here, and what
  comes from outside is listed in `describe()`.
- the time that readings take is billed to nobody: each modelled or polled piece of hardware keeps its own clock.
- its load model takes the cube of a load counted in ticks of 10 ms, so windows of a few of them get up to three times
  the power, or a tenth: the load is taken over half a second at least.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from harmbench.errors import MeasurementError
from harmbench.results.records import COMPONENTS, Component, EnergyOrigin, EnergyReading

JOULES_PER_KWH = 3.6e6
READING_S = 1.0
LOAD_S = 0.5
_METHODS = {"intel_rapl": "counter", "windows_emi": "counter", "intel_power_gadget": "polled"}

# All that could change joules, or send them somewhere.
SETTINGS: dict[str, Any] = {
    "country_iso_code": "USA",  # it asks for one; its CO2 is never read
    "region": None,
    "cloud_provider": None,
    "cloud_region": None,
    "measure_power_secs": READING_S,
    "tracking_mode": "machine",
    "force_cpu_power": None,
    "force_ram_power": None,
    "force_mode_cpu_load": False,
    "force_carbon_intensity_g_co2e_kwh": None,
    "rapl_include_dram": False,
    "rapl_prefer_psys": False,
    "pue": 1,
    "wue": 0,
    "allow_multiple_runs": True,
    "output_methods": [],
    "output_handlers": [],
    "output_dir": ".",
    "emissions_endpoint": None,
    "api_call_interval": -1,
    "electricitymaps_api_token": None,
    "log_level": "error",
}


class CodeCarbonSource:
    """CodeCarbon's offline tracker as a source of joules and a context manager.

    Args:
        gpu_indices: NVML indices of the devices to count; empty for none.
        gpu_scope: what a device stands for; `whole board` where the trial has only a part of it.
        beside: called with every reading, the periodic ones too.
        clock: monotonic, in seconds; says what readings stand for.

    Raises:
        MeasurementError: where CodeCarbon does not start.
    """

    def __init__(
        self,
        gpu_indices: tuple[int, ...] = (),
        gpu_scope: str = "board",
        beside: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._gpu_indices, self._gpu_scope, self._beside, self._clock = gpu_indices, gpu_scope, beside, clock
        self._tracker: Any = None
        self._covered: dict[Component, float] = {}
        self._start_s = self._stands = 0.0
        self._read_at = self._seen_at = clock()

    def __enter__(self) -> Self:
        began = time.perf_counter()
        self._tracker = _serialized_tracker(self._gpu_indices, self._on_reading)
        self._tracker.start()
        if getattr(self._tracker, "_start_time", None) is None:  # it logs its own errors, and goes on
            raise MeasurementError("CodeCarbon's tracker did not start; run `harmbench doctor`")
        with self._tracker.reading:
            for hardware in self._tracker._hardware:
                _keep_own_clock(hardware)
                if getattr(hardware, "_mode", "") == "cpu_load":
                    hardware._cpu_load_meter = SteadyLoad()
        self._start_s = time.perf_counter() - began
        self._read_at = self._clock()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tracker.stop()

    def _on_reading(self) -> None:
        """After each reading, in the lock: what it stands for, if it is a sample."""
        now = self._clock()
        self._stands += min(now - self._seen_at, 3 * READING_S)
        self._seen_at = now
        self._beside()

    def read(self) -> EnergyReading:
        tracker = self._tracker
        with tracker.reading:
            tracker._measure_power_and_energy()
            kwh: dict[Component, float] = {
                "cpu": tracker._total_cpu_energy.kWh,
                "gpu": tracker._total_gpu_energy.kWh,
                "ram": tracker._total_ram_energy.kWh,
            }
            origins = self.origins()
            self._cover(origins)
        measured = {component for component, origin in origins.items() if origin.method != "missing"}
        return EnergyReading(
            joules={c: kwh[c] * JOULES_PER_KWH if c in measured else None for c in COMPONENTS},
            covered_s=dict(self._covered),
        )

    def _cover(self, origins: dict[Component, EnergyOrigin]) -> None:
        """Counters and models cover all the time between two reads. Samples cover it only if there is one a period."""
        now = self._clock()
        window, self._read_at = now - self._read_at, now
        stands, self._stands = min(self._stands, window), 0.0
        for component, origin in origins.items():
            seconds = window
            if origin.method == "polled":
                seconds = stands if window >= READING_S else 0.0
            if origin.method != "missing":
                self._covered[component] = self._covered.get(component, 0.0) + seconds

    def origins(self) -> dict[Component, EnergyOrigin]:
        missing_gpu = "no GPU takes part" if not self._gpu_indices else "CodeCarbon finds no GPU"
        found: dict[Component, EnergyOrigin] = {
            "cpu": EnergyOrigin(method="missing", detail="CodeCarbon finds no CPU"),
            "gpu": EnergyOrigin(method="missing", detail=missing_gpu),
            "ram": EnergyOrigin(method="missing", detail="CodeCarbon finds no memory"),
        }
        for hardware in self._tracker._hardware:
            component, origin = _origin(hardware, self._gpu_scope)
            if component != "gpu" or self._gpu_indices:
                found[component] = origin
        return found

    def describe(self) -> dict[str, Any]:
        """The tracker's effective settings, and those that came from outside."""
        tracker = self._tracker
        effective = {name: tracker._conf.get(name) for name in SETTINGS}
        return {
            "source": "CodeCarbon",
            "tracker": type(tracker).__mro__[1].__name__,
            "version": tracker._conf.get("codecarbon_version"),
            "tracking_mode": tracker._tracking_mode,
            "reading_period_s": tracker._measure_power_secs,
            "periodic_reading": tracker._scheduler is not None and not tracker._scheduler._stopped,
            "load_averaged_over_s": LOAD_S,
            "pue": tracker._pue,
            "cpu_model": tracker._conf.get("cpu_model"),
            "gpu_indices": list(self._gpu_indices),
            "start_s": round(self._start_s, 3),
            "settings": {name: value for name, value in effective.items() if name != "electricitymaps_api_token"},
            "settings_from_outside": settings_from_outside(),
        }


def settings_from_outside() -> list[str]:
    """Names of config files and variables that CodeCarbon reads and that could change the figures."""
    files = [path for path in (Path("~/.codecarbon.config").expanduser(), Path(".codecarbon.config")) if path.exists()]
    return [str(path.name) for path in files] + sorted(
        name for name in os.environ if name.lower().startswith("codecarbon_")
    )


class SteadyLoad:
    """Share of the processor that is busy, in percent, over the last LOAD_S seconds or since the last look.

    Whichever is longer. Fits CodeCarbon's `SystemCPULoadMeter`. The kernel counts busy time in ticks of 10 ms. Over
    fewer than a few dozen of them a load is mostly rounding, and its cube more so.

    Args:
        times: busy and total seconds of all processors since some start.
        clock: monotonic, in seconds.
    """

    def __init__(
        self,
        times: Callable[[], tuple[float, float]] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._times, self._clock = times or processor_times, clock
        self._seen: deque[tuple[float, tuple[float, float]]] = deque()
        self.reset()

    def reset(self) -> None:
        """Forget what was seen."""
        self._seen = deque([(self._clock(), self._times())])

    def percent(self) -> float:
        """The load, between 0 and 100."""
        now, (busy, total) = self._clock(), self._times()
        while len(self._seen) > 1 and self._seen[1][0] <= now - LOAD_S:
            self._seen.popleft()
        busy_before, total_before = self._seen[0][1]
        if now - self._seen[-1][0] >= LOAD_S / 10:
            self._seen.append((now, (busy, total)))
        share = (busy - busy_before) / (total - total_before) if total > total_before else 0.0
        return 100 * min(max(share, 0.0), 1.0)


def processor_times() -> tuple[float, float]:
    """Busy and total seconds. On Linux, the user's time already includes that of guests."""
    times = psutil.cpu_times()
    total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return total - times.idle - getattr(times, "iowait", 0.0), total


def _keep_own_clock(hardware: Any) -> None:
    """Bill a piece of hardware for the time since its own last reading: the tracker's clock skips its readings."""
    measure, last = hardware.measure_power_and_energy, time.perf_counter()

    def measure_all(last_duration: float) -> Any:  # noqa: ARG001 - the tracker's, without its readings
        nonlocal last
        before, last = last, time.perf_counter()
        return measure(last_duration=last - before)

    hardware.measure_power_and_energy = measure_all


def _serialized_tracker(gpu_indices: tuple[int, ...], on_reading: Callable[[], None]) -> Any:
    from codecarbon import OfflineEmissionsTracker
    from codecarbon.external.logger import logger

    logger.setLevel(logging.ERROR)  # it speaks before it reads its own log_level

    class SerializedTracker(OfflineEmissionsTracker):
        """The offline tracker, with readings one at a time: its timer and our snapshots share the counters."""

        reading = threading.RLock()

        def _measure_power_and_energy(self) -> None:
            with self.reading:
                super()._measure_power_and_energy()
                on_reading()

    tracker = SerializedTracker(gpu_ids=list(gpu_indices), **SETTINGS)
    tracker._electricitymaps_api_token = None  # an old name of it in a config file would have it ask the network
    return tracker


def _origin(hardware: Any, gpu_scope: str = "board") -> tuple[Component, EnergyOrigin]:
    """Component and origin of one of CodeCarbon's hardware objects."""
    kind = type(hardware).__name__
    if kind == "RAM":
        return "ram", EnergyOrigin(method="model", scope="machine", detail="watts per assumed memory module")
    if kind == "GPU":
        return "gpu", _gpu_origin(hardware, gpu_scope)
    if kind == "CPU":
        return "cpu", _cpu_origin(hardware)
    component: Component = "ram" if getattr(hardware, "chip_part", "CPU") == "RAM" else "cpu"
    if getattr(hardware, "chip_part", "") == "GPU":
        component = "gpu"
    return component, EnergyOrigin(method="polled", scope="package", detail=kind, period_s=READING_S)


def _cpu_origin(hardware: Any) -> EnergyOrigin:
    mode = hardware._mode
    method = _METHODS.get(mode, "model")
    if method == "counter":
        return EnergyOrigin(method="counter", scope="package", detail=mode, period_s=0.001)
    if method == "polled":
        return EnergyOrigin(method="polled", scope="machine", detail=mode, period_s=READING_S)
    period = LOAD_S if mode == "cpu_load" else None
    return EnergyOrigin(method="model", scope="machine", detail=f"{mode}, TDP {hardware._tdp} W", period_s=period)


def _gpu_origin(hardware: Any, scope: str = "board") -> EnergyOrigin:
    """Counter where every counted board has one, else polled power."""
    chosen = [device for device in hardware.devices.devices if device.gpu_index in hardware._get_gpu_ids()]
    detail = f"{len(chosen)} board(s) through NVML"
    if not chosen:
        return EnergyOrigin(method="missing", detail="none of the boards asked for is one that CodeCarbon finds")
    if all(device._has_counter and not device._use_power_fallback for device in chosen):
        return EnergyOrigin(method="counter", scope=scope, detail=detail, period_s=0.1)
    return EnergyOrigin(method="polled", scope=scope, detail=detail, period_s=READING_S)
