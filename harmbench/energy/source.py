"""Protocol of energy sources, which CodeCarbon and the direct counters follow."""

from __future__ import annotations

from typing import Any, Protocol

from harmbench.results.records import Component, EnergyOrigin, EnergyReading


class EnergySource(Protocol):
    """A source of joules by component.

    Components are "cpu", "gpu" and "ram". Readings are cumulative:
    a window's joules are the difference of two readings.
    """

    def read(self) -> EnergyReading:
        """Return the joules since the start, and the reasons for gaps since the last reading."""

    def origins(self) -> dict[Component, EnergyOrigin]:
        """Return the method, scope and period behind each component's joules, or why there are none."""

    def describe(self) -> dict[str, Any]:
        """Return the settings to store with the results."""
