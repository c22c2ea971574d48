"""What a source of joules is: every one of them, CodeCarbon or a counter read directly, fits this protocol."""

from __future__ import annotations

from typing import Any, Protocol

from harmbench.results.records import Component, EnergyOrigin, EnergyReading


class EnergySource(Protocol):
    """A source of joules by component."""

    def read(self) -> EnergyReading:
        """Joules since the source started, and what is missing since the last reading."""

    def origins(self) -> dict[Component, EnergyOrigin]:
        """Where the joules of each component that it is there for come from, or why there are none."""

    def describe(self) -> dict[str, Any]:
        """Settings and facts worth keeping with the results."""
