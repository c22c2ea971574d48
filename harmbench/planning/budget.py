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
    exact = {unit.lower(): unit for unit in _UNITS}
    amounts = [(part["number"], exact.get(part["unit"].lower())) for part in parts]
    kinds = {_UNITS[unit][1] for _, unit in amounts if unit}
    if any(unit is None for _, unit in amounts):
        guess = "".join(
            number + (unit or _nearest(part["unit"])) for (number, unit), part in zip(amounts, parts, strict=True)
        )
        raise OptionError(f"cannot read {option} '{text}'; did you mean '{guess}'? Units: {', '.join(_UNITS)}")
    if len(kinds) > 1:
        raise OptionError(f"{option} '{text}' is a time and an energy; give one of them, such as 2h or 0.5kWh")
    limit = sum(float(number) * _UNITS[unit][0] for number, unit in amounts if unit)
    if limit <= 0:
        raise OptionError(f"{option} must be above 0, got '{text}'")
    return Budget(stripped, limit, kinds.pop())


def _nearest(word: str) -> str:
    """The unit that the user probably meant, such as `h` for `hours`, or `m` if there is no such unit."""
    stem = word.lower().removesuffix("s")
    names = {**_OTHER_NAMES, **{unit.lower(): unit for unit in _UNITS}}
    near = difflib.get_close_matches(stem, names, n=1, cutoff=0.5)
    return names[near[0]] if near else "m"


def amount_text(amount: float, unit: Literal["s", "J"]) -> str:
    """Seconds or joules in a readable unit.

    >>> amount_text(95, "s"), amount_text(5400, "s"), amount_text(1.8e6, "J"), amount_text(72, "J")
    ('1.6 min', '1.5 h', '0.5 kWh', '0.02 Wh')
    """
    if unit == "J":
        kwh = amount / JOULES_PER_KWH
        return f"{kwh:.3g} kWh" if kwh >= 0.001 else f"{1000 * kwh:.3g} Wh"
    if amount < 90:
        return f"{amount:.2g} s" if amount < 10 else f"{amount:.0f} s"
    minutes = amount / 60
    return f"{minutes:.1f} min" if minutes < 90 else f"{minutes / 60:.1f} h"


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
        self.budget, self._todo, self._devices = budget, list(todo), devices
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
        left, unit = self.budget.limit - spent - self.reserve, self.budget.unit
        if left <= 0:
            return "the budget is spent"
        seeds = sorted(spec.seed for spec in specs)
        alone, names = len(specs) == 1, ", ".join(map(str, seeds))
        prediction = self.predict(specs[0])
        group = None if prediction is None else prediction * len(specs)
        if group is not None and group > left:
            subject = "the next trial takes" if alone else f"the next {len(specs)} trials, trained together, take"
            return f"{subject} about {amount_text(group, unit)}, and {amount_text(left, unit)} are left"
        whole_seeds = self.predict_all(spec for spec in self._todo if spec.seed in seeds)
        if self._started and not self._begun.issuperset(seeds) and whole_seeds > left:
            subject = f"seed {names} takes" if alone else f"seeds {names} take"
            return f"{subject} about {amount_text(whole_seeds, unit)}, and {amount_text(left, unit)} are left"
        return ""

    def predict(self, spec: TrialSpec) -> float | None:
        """The likely cost of a trial, or None before any trial has ended."""
        if same_cell := self._costs.get(spec.cell):
            return median(same_cell)
        dataset_and_backbone = spec.cell[:2]
        near = [cost for cell, costs in self._costs.items() if cell[:2] == dataset_and_backbone for cost in costs]
        if near:
            return median(near)
        return max((cost for costs in self._costs.values() for cost in costs), default=None)

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
        joules = [phase.joules.get(component) for phase in record.phases for component in CHARGED]
        amount = record.wall_seconds if unit == "s" else sum(joule for joule in joules if joule is not None)
        if amount:
            costs.setdefault(record.spec.cell, []).append(amount)
    return costs


def incomplete(planned: Iterable[TrialSpec], left: Iterable[TrialSpec]) -> dict[int, tuple[int, int]]:
    """Seeds of which only some trials are left, as seed -> (number left, number planned)."""
    all_of, left_of = (Counter(spec.seed for spec in specs) for specs in (planned, left))
    return {seed: (count, all_of[seed]) for seed, count in sorted(left_of.items()) if count < all_of[seed]}
