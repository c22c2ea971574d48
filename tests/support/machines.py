"""A machine that does not exist: RAPL as real files, boards behind a stand-in for NVML, one clock for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

from harmbench.results.records import COMPONENTS, EnergyOrigin, EnergyReading

RANGE_J = 20_000.0  # far less than real ones, so that it wraps


class NVMLError(Exception):
    """As pynvml's."""


class NVMLError_NotFound(NVMLError):  # noqa: N801, N818 - its name there
    """Nothing under this index."""


class NVMLError_NotSupported(NVMLError):  # noqa: N801, N818
    """Not by this board."""


class FakeNvml:
    """Boards with an energy counter each.

    Args:
        names: of the boards; None for a machine without a driver.
        instances: UUIDs of MIG instances by board.
    """

    NVMLError, NVMLError_NotFound, NVMLError_NotSupported = NVMLError, NVMLError_NotFound, NVMLError_NotSupported
    NVML_TEMPERATURE_GPU, NVML_CLOCK_SM, NVML_CLOCK_MEM = 0, 1, 2

    def __init__(self, names: Sequence[str] | None = ("A100",), instances: Mapping[int, Sequence[str]] = {}) -> None:
        self.names, self.instances = names, instances
        self.millijoules = [5_000_000.0] * len(names or ())
        self.watts, self.celsius = [0.0] * len(names or ()), 40
        self.throttle_bits = 0
        self.pids: list[int] = []
        self.counts = True  # whether there are energy counters
        self.open = 0

    def nvmlInit(self):
        if self.names is None:
            raise self.NVMLError("Driver Not Loaded")
        self.open += 1

    def nvmlShutdown(self):
        self.open -= 1

    def nvmlDeviceGetCount(self):
        return len(self.names)

    def nvmlDeviceGetHandleByIndex(self, index):
        if index >= len(self.names):
            raise self.NVMLError("Invalid Argument")
        return index

    def nvmlDeviceGetName(self, handle):
        return self.names[handle]

    def nvmlDeviceGetUUID(self, handle):
        return handle if isinstance(handle, str) else f"GPU-{self.names[handle]}"

    def nvmlDeviceGetMaxMigDeviceCount(self, handle):
        if handle not in self.instances:
            raise self.NVMLError_NotSupported("Not Supported")
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle, index):
        if index >= len(self.instances[handle]):
            raise self.NVMLError_NotFound("Not Found")
        return self.instances[handle][index]

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):
        if not self.counts:
            raise self.NVMLError_NotSupported("Not Supported")
        return int(self.millijoules[handle])

    def nvmlDeviceGetMemoryInfo(self, handle):
        return SimpleNamespace(total=2**34, free=2**34, used=0)

    def nvmlSystemGetDriverVersion(self):
        return "570.1"

    def nvmlDeviceGetEnforcedPowerLimit(self, handle):
        return 400_000

    def nvmlDeviceGetUtilizationRates(self, handle):
        return SimpleNamespace(gpu=100)

    def nvmlDeviceGetPowerUsage(self, handle):
        return self.watts[handle] * 1000

    def nvmlDeviceGetTemperature(self, handle, sensor):
        return self.celsius

    def nvmlDeviceGetClockInfo(self, handle, clock):
        return {1: 1410, 2: 1215}[clock]

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle):
        return self.throttle_bits

    def nvmlDeviceGetComputeRunningProcesses(self, handle):
        return [SimpleNamespace(pid=pid) for pid in self.pids]


def domain(root: Path, folder: str, name: str, joules: float = 0.0, wraps_at: float | None = RANGE_J) -> Path:
    """A folder of the powercap tree."""
    path = root / folder
    path.mkdir(parents=True)
    (path / "name").write_text(f"{name}\n")
    if wraps_at is not None:
        (path / "max_energy_range_uj").write_text(f"{round(wraps_at * 1e6)}\n")
    write_joules(path, joules)
    return path


def write_joules(path: Path, joules: float) -> None:
    """Set a counter, at once: whoever reads meanwhile sees the old value or the new one."""
    partial = path / "partial"
    partial.write_text(f"{round(joules * 1e6)}\n")
    partial.replace(path / "energy_uj")


class Machine:
    """A processor of 64 W, memory of 8 W and boards of the given power; time passes only when told."""

    def __init__(self, root: Path, board_watts: Sequence[float] = (256.0,)) -> None:
        self.root, self.seconds = root, 1000.0
        self.watts = {"cpu": 64.0, "ram": 8.0}
        self.spent = {"cpu": RANGE_J - 100.0, "ram": 10.0}  # the processor's counter wraps soon
        self.folders = {
            "cpu": domain(root, "intel-rapl:0", "package-0", self.spent["cpu"]),
            "ram": domain(root, "intel-rapl:1", "dram", self.spent["ram"]),
        }
        self.nvml = FakeNvml([f"board{index}" for index in range(len(board_watts))])
        self.nvml.watts = list(board_watts)
        self.frozen: set[str] = set()

    def clock(self) -> float:
        return self.seconds

    def pass_by(self, seconds: float) -> None:
        """Let time pass under load."""
        self.seconds += seconds
        for component, folder in self.folders.items():
            if component not in self.frozen:
                self.spent[component] += self.watts[component] * seconds
                if folder.exists() and (folder / "energy_uj").exists():
                    write_joules(folder, self.spent[component] % RANGE_J)
        for index, watts in enumerate(self.nvml.watts):
            if "gpu" not in self.frozen:
                self.nvml.millijoules[index] += 1000 * watts * seconds


class Scripted:
    """A source that says what it is told, in place of CodeCarbon."""

    def __init__(self, machine: Machine, method: str = "counter", factor: float = 1.0) -> None:
        self.machine, self.factor = machine, factor
        self.origin = EnergyOrigin(method=method, scope="package", detail="scripted", period_s=0.1)
        self.fails: Exception | None = None

    def read(self) -> EnergyReading:
        if self.fails:
            raise self.fails
        machine = self.machine
        joules = {"cpu": machine.spent["cpu"], "ram": machine.spent["ram"], "gpu": machine.nvml.millijoules[0] / 1000}
        return EnergyReading(joules={c: self.factor * joules[c] for c in COMPONENTS})

    def origins(self) -> dict:
        return dict.fromkeys(COMPONENTS, self.origin)

    def describe(self) -> dict:
        return {"source": "Scripted", "version": "3.3.2"}
