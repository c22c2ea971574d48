"""The budget of one invocation of `run`, in time or energy, and when it stops. Pure.

Trials run seed by seed, so a run that stops between two seeds holds a balanced table:

- Before each trial: the trial starts only if it is likely to end within the budget. The prediction is the median of
  what trials of its cell took. Without such trials, it is the median on its data set and backbone, and without these,
  the largest cost of any trial. The very first trial starts without a prediction. An invocation overshoots its budget
  by at most one trial on each device.
- Before a further seed: the seed starts only if all of it is likely to fit. The first seed of an invocation runs as far
  as the budget allows, so every invocation makes progress.
"""

from __future__ import annotations

import difflib
import re
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from statistics import median
from typing import Literal, NamedTuple

from harmbench.errors import OptionError
from harmbench.results.records import CHARGED, TrialRecord, TrialSpec

JOULES_PER_KWH = 3.6e6
_UNITS: dict[str, tuple[float, Literal["s", "J"]]] = {
    "s": (1.0, "s"),
    "m": (60.0, "s"),
    "h": (3600.0, "s"),
    "d": (86400.0, "s"),
    "Wh": (3600.0, "J"),
    "kWh": (JOULES_PER_KWH, "J"),
}
_OTHER_NAMES = {"sec": "s", "second": "s", "min": "m", "minute": "m", "hr": "h", "hour": "h", "day": "d", "kw": "kWh"}
_PART = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[A-Za-z]*)\s*")


class Budget(NamedTuple):
    """A limit on what may be spent.

    Attributes:
        text: as the user wrote it.
        limit: in seconds or joules.
        unit: `s` or `J`.
    """

    text: str
    limit: float
    unit: Literal["s", "J"]


def parse(text: str, option: str = "--budget") -> Budget:
    """A budget from `2h`, `30m`, `1h30m` or `0.5kWh`. The units are s, m, h, d, Wh and kWh.

    Args:
        text: the budget.
        option: the option that it comes from, for messages.

    Raises:
        OptionError: if the text cannot be read, or is not above 0.

    >>> parse("1h30m").limit, parse("0.5kWh").limit
    (5400.0, 1800000.0)
    """
    stripped = text.strip()
    parts = list(_PART.finditer(stripped))
    if not parts or "".join(part[0] for part in parts) != stripped:
        raise OptionError(f"cannot read {option} '{text}'; write a time or an energy, such as 2h, 30m or 0.5kWh")
    by_lower = {unit.lower(): unit for unit in _UNITS}
    amounts: list[float] = []
    kinds: set[Literal["s", "J"]] = set()
    guess = ""
    is_exact = True
    for part in parts:
        unit = by_lower.get(part["unit"].lower())
        if unit is None:
            is_exact = False
            unit = _nearest(part["unit"])
        factor, kind = _UNITS[unit]
        amounts.append(float(part["number"]) * factor)
        kinds.add(kind)
        guess += part["number"] + unit
    if not is_exact:
        raise OptionError(f"cannot read {option} '{text}'; did you mean '{guess}'? Units: {', '.join(_UNITS)}")
    if len(kinds) > 1:
        raise OptionError(f"{option} '{text}' is a time and an energy; give one of them, such as 2h or 0.5kWh")
    limit = sum(amounts)
    if limit <= 0:
        raise OptionError(f"{option} must be above 0, got '{text}'")
    return Budget(stripped, limit, kinds.pop())


def _nearest(word: str) -> str:
    """The unit that the user probably meant, such as `h` for `hours`, or `m` if there is no such unit."""
    stem = word.lower().removesuffix("s")
    names = _OTHER_NAMES | {unit.lower(): unit for unit in _UNITS}
    near = difflib.get_close_matches(stem, names, n=1, cutoff=0.5)
    if not near:
        return "m"
    return names[near[0]]


def amount_text(amount: float, unit: Literal["s", "J"]) -> str:
    """Seconds or joules in a readable unit.

    >>> amount_text(95, "s"), amount_text(5400, "s"), amount_text(1.8e6, "J"), amount_text(72, "J")
    ('1.6 min', '1.5 h', '0.5 kWh', '0.02 Wh')
    """
    if unit == "J":
        kwh = amount / JOULES_PER_KWH
        if kwh < 0.001:
            return f"{1000 * kwh:.3g} Wh"
        return f"{kwh:.3g} kWh"
    if amount < 10:
        return f"{amount:.2g} s"
    if amount < 90:
        return f"{amount:.0f} s"
    minutes = amount / 60
    if minutes < 90:
        return f"{minutes:.1f} min"
    return f"{minutes / 60:.1f} h"


class Watch:
    """Decides before each trial whether it may start. Workers of several devices may ask at the same time.

    Args:
        budget: of this invocation.
        todo: the trials without a record, in their order.
        begun: seeds of which some trials are done.
        costs: what trials of each cell took before, in the unit of the budget.
        devices: number of devices that work at the same time.

    Attributes:
        reserve: amount that will be spent after the last trial.
        stopped: why no more trials start, or empty.
    """

    def __init__(
        self,
        budget: Budget,
        todo: Sequence[TrialSpec],
        begun: Iterable[int] = (),
        costs: Mapping[tuple[str, ...], Sequence[float]] = {},
        devices: int = 1,
    ) -> None:
        self.budget = budget
        self._todo = list(todo)
        self._devices = devices
        self._begun = set(begun)
        self._costs = {cell: list(amounts) for cell, amounts in costs.items()}
        self._running: dict[str, tuple[Sequence[TrialSpec], float]] = {}
        self._started = 0
        self._lock = threading.Lock()
        self.reserve = 0.0
        self.stopped = ""

    def may_start(self, specs: Sequence[TrialSpec], device: str, spent: float | None) -> bool:
        """Whether a trial, or a group of seeds that share a process, may start now. After one False it stays False.

        Args:
            specs: of the trial, or of the group.
            device: where it would run. The trial that ran there before has ended.
            spent: in this invocation until now, or None if that is unknown.
        """
        with self._lock:
            if spent is not None:
                self._add_cost(device, spent)
            self.stopped = self.stopped or self._why_not(specs, spent)
            if self.stopped or spent is None:
                return False
            self._begun.update(spec.seed for spec in specs)
            self._started += 1
            self._running[device] = specs, spent
            return True

    def _add_cost(self, device: str, spent: float) -> None:
        """Count what the trial that ran on the device took."""
        if device in self._running:
            specs, before = self._running.pop(device)
            self._costs.setdefault(specs[0].cell, []).append((spent - before) / len(specs))

    def _why_not(self, specs: Sequence[TrialSpec], spent: float | None) -> str:
        """Why a trial may not start, or an empty text."""
        if spent is None:
            return "what was spent is no longer known"
        unit = self.budget.unit
        left = self.budget.limit - spent - self.reserve
        if left <= 0:
            return "the budget is spent"
        seeds = sorted(spec.seed for spec in specs)
        trials_take = "the next trial takes"
        seeds_take = f"seed {seeds[0]} takes"
        if len(specs) > 1:
            trials_take = f"the next {len(specs)} trials, trained together, take"
            seeds_take = f"seeds {', '.join(map(str, seeds))} take"
        prediction = self.predict(specs[0])
        if prediction is not None and prediction * len(specs) > left:
            amount = amount_text(prediction * len(specs), unit)
            return f"{trials_take} about {amount}, and {amount_text(left, unit)} are left"
        whole_seeds = self.predict_all(spec for spec in self._todo if spec.seed in seeds)
        if self._started and not self._begun.issuperset(seeds) and whole_seeds > left:
            return f"{seeds_take} about {amount_text(whole_seeds, unit)}, and {amount_text(left, unit)} are left"
        return ""

    def predict(self, spec: TrialSpec) -> float | None:
        """The likely cost of a trial, or None before any trial has ended."""
        same_cell = self._costs.get(spec.cell)
        if same_cell:
            return median(same_cell)
        similar: list[float] = []  # costs with the same data set and backbone
        for cell, costs in self._costs.items():
            if cell[:2] == spec.cell[:2]:
                similar += costs
        if similar:
            return median(similar)
        return max(chain.from_iterable(self._costs.values()), default=None)

    def predict_all(self, specs: Iterable[TrialSpec]) -> float:
        """The likely cost of trials if all devices share them."""
        return sum(self.predict(spec) or 0.0 for spec in specs) / self._devices


def costs_by_cell(records: Iterable[TrialRecord], unit: Literal["s", "J"]) -> dict[tuple[str, ...], list[float]]:
    """Costs of recorded trials, by cell, in seconds or in joules of processor and GPU. Unknown costs are left out.

    Args:
        records: of trials.
        unit: `s` or `J`.
    """
    costs: dict[tuple[str, ...], list[float]] = {}
    for record in records:
        amount = record.wall_seconds
        if unit == "J":
            amount = _joules(record)
        if amount:
            costs.setdefault(record.spec.cell, []).append(amount)
    return costs


def _joules(record: TrialRecord) -> float:
    """Joules of processor and GPU in all phases, without those that are unknown."""
    joules = [phase.joules.get(component) for phase in record.phases for component in CHARGED]
    return sum(amount for amount in joules if amount is not None)


def incomplete(planned: Iterable[TrialSpec], left: Iterable[TrialSpec]) -> dict[int, tuple[int, int]]:
    """Seeds of which only some trials are left, as seed -> (number left, number planned)."""
    planned_by_seed = Counter(spec.seed for spec in planned)
    left_by_seed = Counter(spec.seed for spec in left)
    seeds = {}
    for seed, count in sorted(left_by_seed.items()):
        if count < planned_by_seed[seed]:
            seeds[seed] = count, planned_by_seed[seed]
    return seeds
