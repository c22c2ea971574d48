"""What this machine can measure of energy, why not the rest, and what to beware of.

The quick form costs milliseconds and goes with every run; the full one watches each source for a few seconds.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harmbench._devices import board_of, nvidia_boards
from harmbench.energy.codecarbon import processor_times
from harmbench.energy.instruments import Instruments
from harmbench.energy.selftest import SelfTest, agreement, self_test
from harmbench.energy.source import EnergySource
from harmbench.energy.traps import Facts, Trap, find
from harmbench.errors import MeasurementError
from harmbench.results.records import CHARGED, Component, EnergyOrigin, Record


class Diagnosis(Record):
    """What can be measured for some devices.

    Attributes:
        origins: of the joules that trials would report.
        direct_origins: of the counters read beside; a missing one says why.
        tests: one for each source.
        agreement: CodeCarbon's power over the counters', by component.
        traps: that apply.
        instruments: settings of the sources.
    """

    devices: tuple[str, ...]
    origins: dict[Component, EnergyOrigin]
    direct_origins: dict[Component, EnergyOrigin]
    tests: tuple[SelfTest, ...]
    agreement: dict[Component, float]
    traps: tuple[Trap, ...]
    instruments: dict[str, Any]

    @property
    def not_measured(self) -> dict[Component, str]:
        """Components that take part and have no measured joules, with how they are come by."""
        return not_measured(self.origins, self.devices)


def not_measured(origins: Mapping[Component, EnergyOrigin], devices: Sequence[str]) -> dict[Component, str]:
    """Components that take part on these devices and could only be modelled, or not at all.

    >>> modelled = EnergyOrigin(method="model", detail="cpu_load, TDP 8 W")
    >>> not_measured({"cpu": modelled}, ["cpu"])
    {'cpu': 'model: cpu_load, TDP 8 W'}
    """
    missing = EnergyOrigin(method="missing", detail="no source")
    found = {c: origins.get(c, missing) for c in charged(devices)}
    return {c: f"{o.method}: {o.detail}" for c, o in found.items() if o.method in ("model", "missing")}


def charged(devices: Sequence[str]) -> tuple[Component, ...]:
    """Components whose joules are charged to trials on these devices."""
    return CHARGED if any(device.startswith("cuda") for device in devices) else ("cpu",)


def require_measured(devices: Sequence[str]) -> None:
    """Check that the joules of all charged components are measured on this machine, as `run --strict` demands.

    Raises:
        MeasurementError: if a component's joules are modelled or missing.
    """
    with instruments_for(devices) as instruments:
        unmeasured = not_measured(instruments.origins(), devices)
    if unmeasured:
        reasons = "; ".join(f"{component} joules: {reason}" for component, reason in unmeasured.items())
        raise MeasurementError(f"--strict: energy cannot be measured here ({reasons}). See `harmbench doctor`.")


def energy_budget_warnings(budget: str, devices: Sequence[str]) -> list[str]:
    """One line for each charged component whose joules are modelled, so that an energy budget ends by a model.

    Args:
        budget: as the user wrote it, such as `0.5kWh`.
        devices: of the run.

    Raises:
        MeasurementError: if a component has no source of joules.
    """
    with instruments_for(devices) as instruments:
        origins = instruments.origins()
    warnings = []
    for component in charged(devices):
        origin = origins[component]
        if origin.method == "missing":
            raise MeasurementError(
                f"--budget {budget}: no source counts the joules of the {component} here ({origin.detail}); "
                "give a time, such as --budget 2h. See `harmbench doctor`."
            )
        if origin.method == "model":
            warnings.append(
                f"--budget {budget}: the joules of the {component} are modelled here ({origin.detail}), not measured, "
                "so the budget ends by the model"
            )
    return warnings


@contextmanager
def instruments_for(devices: Sequence[str]) -> Iterator[Instruments]:
    """The instruments of the machine and some devices."""
    boards = [board for device in devices if (board := board_of(device)) is not None]
    scope = "whole board" if any(board.scope == "whole board" for board in boards) else "board"
    with Instruments(tuple(board.nvml for board in boards), scope) as instruments:
        yield instruments


def diagnose(
    devices: Sequence[str],
    instruments: Instruments,
    seconds: float = 0.0,
    progress: Callable[[str], object] = str,
) -> Diagnosis:
    """Look at the instruments.

    Args:
        devices: that trials would run on.
        instruments: opened, for these devices.
        seconds: to watch each source for; 0 for the quick form, which times a few readings.
        progress: told what is going on.
    """
    origins, direct_origins = instruments.origins(), instruments.direct_origins()
    sources: dict[str, EnergySource] = {"CodeCarbon": instruments.codecarbon}
    for source in instruments.direct:
        if any(origin.method != "missing" for origin in source.origins().values()):
            sources[str(source.describe()["source"])] = source
    if seconds:
        progress(f"watching {', '.join(sources)} for {seconds:g} s ...")
    before = processor_times()
    tests = self_test(sources, seconds)
    busy = _share(before, processor_times()) if seconds else None
    compared = {c: ratio for test in tests[1:] for c, ratio in agreement(tests[0], test).items()}
    comparable = {c: ratio for c, ratio in compared.items() if origins[c].method == "counter"}
    facts = Facts(
        origins=origins,
        direct_origins=direct_origins,
        codecarbon={**instruments.codecarbon.describe(), "threads": os.cpu_count()},
        rapl=next((d for s in instruments.direct if (d := s.describe())["source"] == "RAPL"), {}),
        devices=tuple(devices),
        boards=len(nvidia_boards()),
        partitioned=any(origin.scope == "whole board" for origin in origins.values()),
        board=instruments.read().board,
        variables=os.environ,
        virtual=is_virtual(),
        busy=busy,
        noise={c: share for test in tests[1:] for c, share in test.noise.items()},
        agreement=comparable,
    )
    return Diagnosis(
        devices=tuple(devices),
        origins=origins,
        direct_origins=direct_origins,
        tests=tests,
        agreement=compared,
        traps=find(facts),
        instruments=instruments.describe(),
    )


def _share(before: tuple[float, float], after: tuple[float, float]) -> float | None:
    """Busy over total processor time; None where no time passed."""
    total = after[1] - before[1]
    return (after[0] - before[0]) / total if total > 0 else None


def is_virtual(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor says that it runs under a hypervisor."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.startswith("flags")), "")
    return "hypervisor" in flags.split()
