"""All instruments for one device's trials: CodeCarbon, and hardware counters read directly.

CodeCarbon gives the figures. The direct counters check it. If one jumps, freezes or vanishes, CodeCarbon's joules from
the same counter are unknown too. The direct joules are stored for comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Protocol, Self

from harmbench.energy.codecarbon import CodeCarbonSource
from harmbench.energy.nvml import NvmlSource
from harmbench.energy.rapl import RaplSource
from harmbench.energy.source import EnergySource
from harmbench.results.records import COMPONENTS, Component, EnergyOrigin, EnergyReading


class DirectSource(EnergySource, Protocol):
    """A source that reads hardware counters itself."""

    def advance(self) -> None:
        """Read the counters, so that no wrap is missed."""


class Instruments:
    """CodeCarbon and the direct counters as one source and context manager.

    Args:
        gpu_indices: NVML indices of the boards to count.
        gpu_scope: scope of a board's energy.
        direct: sources to read in addition to CodeCarbon (default: RAPL and NVML).

    Raises:
        MeasurementError: where CodeCarbon does not start.
    """

    def __init__(
        self,
        gpu_indices: tuple[int, ...] = (),
        gpu_scope: str = "board",
        direct: Sequence[DirectSource] | None = None,
    ) -> None:
        default_sources: list[DirectSource] = [RaplSource(), NvmlSource(gpu_indices, gpu_scope)]
        self.direct = default_sources if direct is None else list(direct)
        self.codecarbon: EnergySource = CodeCarbonSource(gpu_indices, gpu_scope, beside=self._advance)
        self._watched: set[Component] = set()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        if isinstance(self.codecarbon, CodeCarbonSource):
            self._stack.enter_context(self.codecarbon)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def _advance(self) -> None:
        for source in self.direct:
            source.advance()

    def read(self) -> EnergyReading:
        """Return CodeCarbon's joules with those of the direct counters. A source that fails has a reason instead."""
        ours = self._read_codecarbon()
        beside = self._read_direct()
        # A component stays watched: when a board's counter fails, CodeCarbon polls its power without notice.
        self._watched |= {c for c, origin in self.origins().items() if origin.method == "counter"}
        gaps = {**{c: gap for c, gap in beside.gaps.items() if c in self._watched}, **ours.gaps}
        return ours.model_copy(update={"gaps": gaps, "direct": beside, "board": beside.board})

    def _read_codecarbon(self) -> EnergyReading:
        try:
            return self.codecarbon.read()
        except Exception as error:  # noqa: BLE001 - whatever it is, the trial goes on, and has no joules
            return _failed("CodeCarbon", error)

    def _read_direct(self) -> EnergyReading:
        """The direct sources as one."""
        joules: dict[Component, float | None] = dict.fromkeys(COMPONENTS, None)
        gaps: dict[Component, str] = {}
        board = None
        for source in self.direct:
            try:
                reading = source.read()
            except Exception as error:  # noqa: BLE001 - as above
                reading = _failed(str(source.describe().get("source")), error)
            counted = {c for c, origin in source.origins().items() if origin.method != "missing"}
            joules |= {c: reading.joules.get(c) for c in counted}
            gaps |= {c: gap for c, gap in reading.gaps.items() if c in counted}
            board = reading.board or board
        return EnergyReading(joules=joules, gaps=gaps, board=board)

    def origins(self) -> dict[Component, EnergyOrigin]:
        return self.codecarbon.origins()

    def direct_origins(self) -> dict[Component, EnergyOrigin]:
        """Origins of the joules of the direct sources, or why there are none."""
        return {component: origin for source in self.direct for component, origin in source.origins().items()}

    def describe(self) -> dict[str, Any]:
        return {
            "codecarbon": self.codecarbon.describe(),
            "direct": [source.describe() for source in self.direct],
            "origins": {c: origin.to_plain() for c, origin in self.origins().items()},
            "direct_origins": {c: origin.to_plain() for c, origin in self.direct_origins().items()},
        }


def _failed(name: str, error: Exception) -> EnergyReading:
    message = " ".join(f"{type(error).__name__}: {error}".split())
    return EnergyReading(
        joules=dict.fromkeys(COMPONENTS, None), gaps=dict.fromkeys(COMPONENTS, f"{name} failed: {message}")
    )
