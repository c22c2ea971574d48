"""The processor's own energy counters (RAPL), as Linux shows them under /sys/class/powercap.

    intel-rapl:0/name              package-0            counted as cpu
    intel-rapl:0/energy_uj         262143328850         wraps at max_energy_range_uj
    intel-rapl:0:0/name            core, uncore         parts of the package, not counted again
    intel-rapl:0:1/name            dram                 counted as ram
    intel-rapl:1/name              psys                 holds the packages, not counted
    intel-rapl-mmio:0/             the same package by another way, not counted again

AMD's processors appear under the same names.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from harmbench.energy.counter import Counter
from harmbench.results.records import COMPONENTS, Component, EnergyOrigin, EnergyReading

ROOT = Path("/sys/class/powercap")
MAX_WATTS = 1000.0  # of one package
UPDATE_S = 0.001  # Intel's manual: about every millisecond
SAME_J = 1.0  # dies that mirror one counter differ by what is spent between two reads


class RaplSource:
    """RAPL's package and memory counters.

    Args:
        root: the powercap folder.
        clock: monotonic, in seconds.

    >>> RaplSource(Path("nowhere")).origins()["cpu"].detail
    'no nowhere: this kernel, or this virtual machine, shows no RAPL'
    """

    def __init__(self, root: Path = ROOT, clock: Callable[[], float] = time.perf_counter) -> None:
        self._root = root
        self._counters: dict[Component, list[Counter]] = {}
        self._missing: dict[Component, str] = {}
        self._domains: list[dict[str, Any]] = []
        for component, names in (("cpu", "package"), ("ram", "dram")):
            self._open(component, names, clock)  # type: ignore[arg-type]

    def _open(self, component: Component, kind: str, clock: Callable[[], float]) -> None:
        """Open every domain of a kind. A component is missing if one of its domains cannot be read, since the sum would
        be wrong.
        """
        if not self._root.is_dir():
            self._missing[component] = f"no {self._root}: this kernel, or this virtual machine, shows no RAPL"
            return
        folders = [folder for folder in _domains(self._root) if _text(folder / "name").startswith(kind)]
        seen: list[float] = []
        counters: list[Counter] = []
        for folder in folders:
            try:
                raw = _joules(folder / "energy_uj")
                mirrors = any(raw > 0 and abs(raw - other) <= SAME_J for other in seen)
                seen.append(raw)
                if not mirrors:
                    counters.append(_counter(folder, clock))
            except OSError as error:
                self._missing[component] = _why_not(folder, error)
                return
            self._domains.append(
                {
                    "component": component,
                    "domain": folder.name,
                    "name": _text(folder / "name"),
                    "wraps_at_joules": _range(folder),
                    "mirror": mirrors,
                }
            )
        if counters:
            self._counters[component] = counters
        else:
            self._missing[component] = f"{self._root} has no domain named {kind}"

    def read(self) -> EnergyReading:
        joules: dict[Component, float | None] = dict.fromkeys(COMPONENTS, None)
        gaps: dict[Component, str] = {}
        for component, counters in self._counters.items():
            taken = [counter.take() for counter in counters]
            joules[component] = sum(value for value, _ in taken)
            if failures := [gap for _, gap in taken if gap]:
                gaps[component] = f"RAPL: {failures[0]}"
        return EnergyReading(joules=joules, gaps=gaps)

    def advance(self) -> None:
        """Look at the counters, so that none wraps unseen."""
        for counters in self._counters.values():
            for counter in counters:
                counter.advance()

    def origins(self) -> dict[Component, EnergyOrigin]:
        origins: dict[Component, EnergyOrigin] = {
            component: EnergyOrigin(method="missing", detail=reason) for component, reason in self._missing.items()
        }
        for component, counters in self._counters.items():
            detail = f"RAPL, {len(counters)} domain(s)"
            origins[component] = EnergyOrigin(method="counter", scope="package", detail=detail, period_s=UPDATE_S)
        return origins

    def describe(self) -> dict[str, Any]:
        return {"source": "RAPL", "root": str(self._root), "domains": self._domains, "missing": dict(self._missing)}


def _domains(root: Path) -> Iterator[Path]:
    """Folders of domains without duplicates. The MMIO view repeats the others."""
    for folder in sorted(root.glob("*:*")):
        if not folder.name.startswith("intel-rapl-mmio") and (folder / "energy_uj").exists():
            yield folder


def _counter(folder: Path, clock: Callable[[], float]) -> Counter:
    return Counter(lambda: _joules(folder / "energy_uj"), MAX_WATTS, wraps_at=_range(folder), clock=clock)


def _joules(path: Path) -> float:
    try:
        return int(path.read_text()) / 1e6
    except ValueError:
        raise OSError(errno.EIO, f"{path.name} holds no number") from None


def _range(folder: Path) -> float | None:
    """Joules at which a counter wraps, or None if unknown."""
    try:
        return _joules(folder / "max_energy_range_uj")
    except OSError:
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _why_not(folder: Path, error: OSError) -> str:
    if isinstance(error, PermissionError):
        return f"{folder / 'energy_uj'} may be read by root only: sudo chmod a+r {folder.parent}/*/energy_uj"
    return f"{folder / 'energy_uj'} cannot be read ({error.strerror or error})"
