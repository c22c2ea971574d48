"""Joules by component, through CodeCarbon, behind one adapter.

CodeCarbon's traps, and what is done about each:
- `EmissionsTracker` asks the network where it is: the offline tracker is used, and CO2 is left to the report.
- its tasks stop the periodic reading and lose energy when a counter wraps: one long-lived tracker with periodic
  reading reads on, and `read()` takes snapshots of its component counters in between.
- a reading and the periodic thread may meet and count the same span twice: readings are serialised by a lock.
- UUIDs in CUDA_VISIBLE_DEVICES match nothing and give 0 J: NVML indices are passed.
- a config file or CODECARBON_* variable may change the figures: they are listed in `describe()`.
"""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from harmbench.errors import MeasurementError
from harmbench.records import COMPONENTS, Component, EnergyOrigin, EnergyReading

JOULES_PER_KWH = 3.6e6
_METHODS = {"intel_rapl": "counter", "windows_emi": "counter", "intel_power_gadget": "polled"}


class EnergySource(Protocol):
    """What an executor needs of a source of joules."""

    def read(self) -> EnergyReading:
        """Joules since the source started."""

    def origins(self) -> dict[Component, EnergyOrigin]:
        """Where the joules of each component come from."""


class CodeCarbonSource:
    """CodeCarbon's offline tracker as a source of joules; a context manager.

    Args:
        gpu_indices: NVML indices of the devices to count; empty for none.

    Raises:
        MeasurementError: where CodeCarbon does not start.
    """

    def __init__(self, gpu_indices: tuple[int, ...] = ()) -> None:
        self._gpu_indices = gpu_indices
        self._tracker: Any = None

    def __enter__(self) -> Self:
        self._tracker = _serialised_tracker(self._gpu_indices)
        self._tracker.start()
        if getattr(self._tracker, "_start_time", None) is None:  # it logs its own errors, and goes on
            raise MeasurementError("CodeCarbon's tracker did not start; run `harmbench doctor`")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tracker.stop()

    def read(self) -> EnergyReading:
        tracker = self._tracker
        with tracker.reading:
            tracker._measure_power_and_energy()
            kwh: dict[Component, float] = {
                "cpu": tracker._total_cpu_energy.kWh,
                "gpu": tracker._total_gpu_energy.kWh,
                "ram": tracker._total_ram_energy.kWh,
            }
        measured = {component for component, origin in self.origins().items() if origin.method != "missing"}
        return EnergyReading(joules={c: kwh[c] * JOULES_PER_KWH if c in measured else None for c in COMPONENTS})

    def origins(self) -> dict[Component, EnergyOrigin]:
        missing_gpu = "no GPU takes part" if not self._gpu_indices else "CodeCarbon finds no GPU"
        found: dict[Component, EnergyOrigin] = {
            "cpu": EnergyOrigin(method="missing", detail="CodeCarbon finds no CPU"),
            "gpu": EnergyOrigin(method="missing", detail=missing_gpu),
            "ram": EnergyOrigin(method="missing", detail="CodeCarbon finds no memory"),
        }
        for hardware in self._tracker._hardware:
            component, origin = _origin(hardware)
            if component != "gpu" or self._gpu_indices:
                found[component] = origin
        return found

    def describe(self) -> dict[str, Any]:
        """The tracker's effective settings, and those that came from outside."""
        tracker = self._tracker
        return {
            "tracker": type(tracker).__mro__[1].__name__,
            "version": tracker._conf.get("codecarbon_version"),
            "tracking_mode": tracker._tracking_mode,
            "reading_period_s": tracker._measure_power_secs,
            "pue": tracker._pue,
            "cpu_model": tracker._conf.get("cpu_model"),
            "gpu_indices": list(self._gpu_indices),
            "settings_from_outside": settings_from_outside(),
        }


def settings_from_outside() -> list[str]:
    """Names of config files and variables that CodeCarbon reads and that could change the figures."""
    files = [path for path in (Path("~/.codecarbon.config").expanduser(), Path(".codecarbon.config")) if path.exists()]
    return [str(path.name) for path in files] + sorted(
        name for name in os.environ if name.lower().startswith("codecarbon_")
    )


def _serialised_tracker(gpu_indices: tuple[int, ...]) -> Any:
    from codecarbon import OfflineEmissionsTracker
    from codecarbon.external.logger import logger

    logger.setLevel(logging.ERROR)  # it speaks before it reads its own log_level

    class SerialisedTracker(OfflineEmissionsTracker):
        """The offline tracker, with readings one at a time: its timer and our snapshots share the counters."""

        reading = threading.RLock()

        def _measure_power_and_energy(self) -> None:
            with self.reading:
                super()._measure_power_and_energy()

    return SerialisedTracker(
        country_iso_code="USA",  # it asks for one; its CO2 is never read
        measure_power_secs=1,
        tracking_mode="machine",
        gpu_ids=list(gpu_indices),
        output_methods=[],
        log_level="error",
        pue=1,
        allow_multiple_runs=True,
    )


def _origin(hardware: Any) -> tuple[Component, EnergyOrigin]:
    """Component and origin of one of CodeCarbon's hardware objects."""
    kind = type(hardware).__name__
    if kind == "RAM":
        return "ram", EnergyOrigin(method="model", scope="machine", detail="watts per assumed memory module")
    if kind == "GPU":
        return "gpu", _gpu_origin(hardware)
    if kind == "CPU":
        method = _METHODS.get(hardware._mode, "model")
        scope = "package" if method == "counter" else "machine"
        detail = hardware._mode if method != "model" else f"{hardware._mode}, TDP {hardware._tdp} W"
        return "cpu", EnergyOrigin(method=method, scope=scope, detail=detail)
    component: Component = "ram" if getattr(hardware, "chip_part", "CPU") == "RAM" else "cpu"
    if getattr(hardware, "chip_part", "") == "GPU":
        component = "gpu"
    return component, EnergyOrigin(method="polled", scope="package", detail=kind)


def _gpu_origin(hardware: Any) -> EnergyOrigin:
    """Counter where every counted board has one, else polled power."""
    chosen = [device for device in hardware.devices.devices if device.gpu_index in hardware._get_gpu_ids()]
    has_counter = all(device._has_counter and not device._use_power_fallback for device in chosen)
    return EnergyOrigin(
        method="counter" if has_counter else "polled", scope="board", detail=f"{len(chosen)} board(s) through NVML"
    )
