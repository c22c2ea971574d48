"""How much one call of `run` may spend, in time or in energy, and where it stops. Pure.

Trials come seed by seed, so what a stopped run holds is a balanced table as long as it ends between two seeds:

- before each trial: it starts only if it is likely to end within the budget. What it takes is the median of what
  trials of its cell took, or those on its data set with its backbone; else the most that any took; before any has
  been seen, it starts. So a call overshoots by one trial (on each device) at most.
- before a further seed: it is begun only if all of it is likely to fit. The seed that a call begins with is run as
  far as the budget goes, so that every call gets on.
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
    """What may be spent.

    Attributes:
        text: as it was asked for.
        limit: in seconds or joules.
        unit: `s` or `J`.
    """

    text: str
    limit: float
    unit: Literal["s", "J"]


def parse(text: str, option: str = "--budget") -> Budget:
    """A budget from `2h`, `30m`, `1h30m` or `0.5kWh`; units are s, m, h, d, Wh and kWh.

    Raises:
        OptionError: for one that cannot be read, or that is nothing.

    >>> parse("1h30m").limit, parse("0.5kWh").limit
    (5400.0, 1800000.0)
    """
    asked = text.strip()
    parts = list(_PART.finditer(asked))
    if not parts or "".join(part[0] for part in parts) != asked:
        raise OptionError(f"cannot read {option} '{text}'; write a time or an energy, such as 2h, 30m or 0.5kWh")
    exact = {unit.lower(): unit for unit in _UNITS}
    found = [(part["number"], exact.get(part["unit"].lower())) for part in parts]
    kinds = {_UNITS[unit][1] for _, unit in found if unit}
    if any(unit is None for _, unit in found):
        guess = "".join(
            number + (unit or _nearest(part["unit"])) for (number, unit), part in zip(found, parts, strict=True)
        )
        raise OptionError(f"cannot read {option} '{text}'; did you mean '{guess}'? Units: {', '.join(_UNITS)}")
    if len(kinds) > 1:
        raise OptionError(f"{option} '{text}' is a time and an energy; give one of them, such as 2h or 0.5kWh")
    limit = sum(float(number) * _UNITS[unit][0] for number, unit in found if unit)
    if limit <= 0:
        raise OptionError(f"{option} must be above 0, got '{text}'")
    return Budget(asked, limit, kinds.pop())


def _nearest(word: str) -> str:
    """The unit that was probably meant: `hours` -> `h`; minutes where nothing was said."""
    stem = word.lower().removesuffix("s")
    known = {**_OTHER_NAMES, **{unit.lower(): unit for unit in _UNITS}}
    near = difflib.get_close_matches(stem, known, n=1, cutoff=0.5)
    return known[near[0]] if near else "m"


def say(amount: float, unit: Literal["s", "J"]) -> str:
    """An amount for people.

    >>> say(95, "s"), say(5400, "s"), say(1.8e6, "J"), say(72, "J")
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
    """Says before each trial whether it may start. Workers of several devices may ask at once.

    Args:
        budget: of this call.
        todo: the trials without a record, in their order.
        begun: seeds of which some trials are done.
        known: what trials of a cell took before, in the budget's unit.
        devices: that work side by side.
    """

    def __init__(
        self,
        budget: Budget,
        todo: Sequence[TrialSpec],
        begun: Iterable[int] = (),
        known: Mapping[tuple[str, ...], Sequence[float]] = {},
        devices: int = 1,
    ) -> None:
        self.budget, self._todo, self._devices = budget, list(todo), devices
        self._begun = set(begun)
        self._took = {cell: list(costs) for cell, costs in known.items()}
        self._running: dict[str, tuple[Sequence[TrialSpec], float]] = {}
        self._started = 0
        self._lock = threading.Lock()
        self.reserve = 0.0  # to be spent after the last trial
        self.stopped = ""  # why no more trials start

    def may_start(self, specs: Sequence[TrialSpec], device: str, spent: float | None) -> bool:
        """Whether a trial may start now, or seeds of its cell that are trained together; once not, never again.

        Args:
            specs: of the trial, or of all that share its process.
            device: where it would run; what ran there before has ended.
            spent: so far in this call; None where it is not known any more.
        """
        with self._lock:
            if spent is not None:
                self._book(device, spent)
            self.stopped = self.stopped or self._why_not(specs, spent)
            if self.stopped or spent is None:
                return False
            self._begun.update(spec.seed for spec in specs)
            self._started += 1
            self._running[device] = specs, spent
            return True

    def _book(self, device: str, spent: float) -> None:
        if device in self._running:
            specs, before = self._running.pop(device)
            self._took.setdefault(specs[0].cell, []).append((spent - before) / len(specs))

    def _why_not(self, specs: Sequence[TrialSpec], spent: float | None) -> str:
        if spent is None:
            return "what was spent is not known any more"
        left, unit = self.budget.limit - spent - self.reserve, self.budget.unit
        if left <= 0:
            return "it is spent"
        each, seeds = self.takes(specs[0]), sorted(spec.seed for spec in specs)
        takes = None if each is None else each * len(specs)
        alone, named = len(specs) == 1, ", ".join(map(str, seeds))
        if takes is not None and takes > left:
            asked = "the next trial takes" if alone else f"the next {len(specs)} trials, trained together, take"
            return f"{asked} about {say(takes, unit)}, and {say(left, unit)} are left"
        of_seed = self.takes_all(other for other in self._todo if other.seed in seeds)
        if self._started and not self._begun.issuperset(seeds) and of_seed > left:
            asked = f"seed {named} takes" if alone else f"seeds {named} take"
            return f"{asked} about {say(of_seed, unit)}, and {say(left, unit)} are left"
        return ""

    def takes(self, spec: TrialSpec) -> float | None:
        """What a trial is likely to take; None where nothing was seen yet."""
        if seen := self._took.get(spec.cell):
            return median(seen)
        if near := [cost for cell, costs in self._took.items() if cell[:2] == spec.cell[:2] for cost in costs]:
            return median(near)
        return max((cost for costs in self._took.values() for cost in costs), default=None)

    def takes_all(self, specs: Iterable[TrialSpec]) -> float:
        """What trials are likely to take, side by side on all devices."""
        return sum(self.takes(spec) or 0.0 for spec in specs) / self._devices


def taken(records: Iterable[TrialRecord], unit: Literal["s", "J"]) -> dict[tuple[str, ...], list[float]]:
    """What recorded trials took, by cell: seconds, or joules of processor and GPU; those that do not say are left out.

    Args:
        records: of trials.
        unit: `s` or `J`.
    """
    found: dict[tuple[str, ...], list[float]] = {}
    for record in records:
        joules = [phase.joules.get(component) for phase in record.phases for component in CHARGED]
        amount = record.wall_seconds if unit == "s" else sum(joule for joule in joules if joule is not None)
        if amount:
            found.setdefault(record.spec.cell, []).append(amount)
    return found


def incomplete(planned: Iterable[TrialSpec], left: Iterable[TrialSpec]) -> dict[int, tuple[int, int]]:
    """Seeds of which some trials are left and others are not: seed -> (left, planned)."""
    all_of, left_of = (Counter(spec.seed for spec in specs) for specs in (planned, left))
    return {seed: (count, all_of[seed]) for seed, count in sorted(left_of.items()) if count < all_of[seed]}
