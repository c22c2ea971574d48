"""The amount that an invocation with a budget has spent, and whether the next trial may start."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime

from harmbench.energy.doctor import charged
from harmbench.energy.source import EnergySource
from harmbench.planning.budget import Budget, Watch, incomplete
from harmbench.results.records import BudgetRecord, Component, IdleWindow, Method, TrialSpec


class Spending:
    """Reads what was spent on all devices, and asks the `Watch` of the budget.

    Args:
        budget: of this invocation.
        planned: all trials of the plan.
        todo: the trials without a record, in their order.
        costs: what stored trials of each cell took, in the unit of the budget.
        devices: that run the trials.
        began: when the invocation did, by `time.perf_counter`.
    """

    def __init__(
        self,
        budget: Budget,
        planned: Sequence[TrialSpec],
        todo: Sequence[TrialSpec],
        costs: Mapping[tuple[str, ...], Sequence[float]],
        devices: Sequence[str],
        began: float,
    ) -> None:
        self.budget = budget
        self._planned = planned
        self._todo = todo
        self._began = began
        self._started = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._components = charged(devices)
        self._joules: dict[str, dict[Component, float | None]] = {}  # by device
        self._methods: dict[Component, Method] = {}
        missing = {spec.id for spec in todo}
        begun = {spec.seed for spec in planned if spec.id not in missing}
        self._watch = Watch(budget, todo, begun, costs, devices=len(devices))

    def read(self, device: str, source: EnergySource) -> float | None:
        """The amount spent until now, or None if that is unknown."""
        if self.budget.unit == "J":
            joules = source.read().joules
            origins = source.origins()
            for component in self._components:
                if component in origins and origins[component].method != "missing":
                    self._methods[component] = origins[component].method
            self._joules[device] = {component: joules.get(component) for component in self._components}
        return self._spent()

    def _spent(self) -> float | None:
        """Seconds or joules spent until the last reading, or None if that is unknown."""
        if self.budget.unit == "s":
            return time.perf_counter() - self._began
        return self._spent_joules()

    def _spent_joules(self) -> float | None:
        """Joules of all devices. Every device's source has those of the processor, so they are counted once."""
        readings = list(self._joules.values())
        processor = [joules["cpu"] for joules in readings]
        boards = [joules["gpu"] for joules in readings if "gpu" in joules]
        if not readings or None in processor or None in boards:
            return None
        board_joules = sum(joules for joules in boards if joules is not None)
        return max(joules for joules in processor if joules is not None) + board_joules

    def reserve(self, idle: IdleWindow) -> None:
        """Reserve as much for the idle window at the end as the one at the start took."""
        if self.budget.unit == "s":
            amount = idle.seconds
        else:
            amount = sum(idle.joules.get(component) or 0.0 for component in self._components)
        self._watch.reserve = max(self._watch.reserve, amount)

    def allows(self, specs: Sequence[TrialSpec], device: str, source: EnergySource) -> bool:
        """Whether the trials of a process may start on a device now."""
        return self._watch.may_start(specs, device, self.read(device, source))

    def record(self, invocation: str, ended: Collection[str]) -> BudgetRecord:
        """The record of what was spent and which trials are left, for the end of the invocation.

        Args:
            invocation: its id.
            ended: ids of the trials that ended in it.
        """
        left = self._left(ended)
        stopped = ""
        if left:
            stopped = self._watch.stopped or "interrupted"
        incomplete_seeds = incomplete(self._planned, left)
        return BudgetRecord(
            invocation=invocation,
            asked=self.budget.text,
            unit=self.budget.unit,
            limit=self.budget.limit,
            spent=self._spent(),
            methods=self._methods,
            started=self._started,
            trials=len(ended),
            left=len(left),
            stopped=stopped,
            incomplete={seed: count for seed, (count, _) in incomplete_seeds.items()},
        )

    def predicted(self, ended: Collection[str]) -> float:
        """The likely cost of the trials that are left, in the unit of the budget."""
        return self._watch.predict_all(self._left(ended))

    def _left(self, ended: Collection[str]) -> list[TrialSpec]:
        """Trials that were planned for this invocation and did not end in it."""
        return [spec for spec in self._todo if spec.id not in ended]
