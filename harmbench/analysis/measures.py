"""Measures: what trials measured, under which name and unit, and how two values are compared."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from harmbench.results._upgrade import MEASURES
from harmbench.results.records import TrialRecord
from harmbench.results.vocabulary import COMPONENTS, Component

Scale = Literal["difference", "ratio"]
_SHARE = re.compile("accuracy|f1|share|rate|variance|calibration_error")


class Measure(NamedTuple):
    """A measure: its name, unit and better direction."""

    name: str
    unit: str
    better: Literal["higher", "lower", "neither"]

    @property
    def scale(self) -> Scale:
        """Scale on which two values are compared. A gap can be 0 or negative, so it has no ratios."""
        return "difference" if self.unit == "1" or self.name.endswith("_gap") else "ratio"

    def changed(self, change: float, sign: str = "+") -> str:
        """Return a change as text: points for accuracies and other shares, per cent for ratios, else a plain number.

        >>> Measure("test_accuracy", "1", "higher").changed(0.01), Measure("throughput", "1/s", "higher").changed(0.01)
        ('+1 points', '+1 %')
        """
        if self.scale == "ratio":
            return f"{100 * change:{sign}.3g} %"
        if self.unit != "1":
            return f"{change:{sign}.4g} {self.unit}s"
        return f"{100 * change:{sign}.3g} points" if _SHARE.search(self.name) else f"{change:{sign}.3g}"

    def interval(self, change: float, low: float | None, high: float | None) -> str:
        """Return a change with its interval as text."""
        number, _, unit = self.changed(change).partition(" ")
        if low is None or high is None:
            return f"{number} {unit}".strip()
        bounds = (self.changed(bound).partition(" ")[0] for bound in (low, high))
        return f"{number} [{', '.join(bounds)}] {unit}".strip()


def find_measure(trials: Sequence[TrialRecord], name: str) -> Measure | None:
    """Return the measure of this name, or None if no trial has it.

    `joules` and names that begin with it are sums over processor and accelerator.
    """
    name = MEASURES.get(name, name)
    names = summands(trials, name)
    measures = (Measure(name, m.unit, m.better) for t in trials for m in t.measurements if m.name in names)
    return next(measures, None)


def measure_names(trials: Sequence[TrialRecord]) -> list[str]:
    """Return all names that `find_measure` accepts, sorted."""
    names = {m.name for t in trials for m in t.measurements}
    return sorted(names | {name.partition("_")[2] for name in names if name.startswith("cpu_joules")})


def missing_measure(trials: Sequence[TrialRecord], name: str) -> str:
    """Return the reason for a measure that no trial has, with the nearest name."""
    near = next(iter(difflib.get_close_matches(name, measure_names(trials), n=1, cutoff=0.5)), "")
    return f"the run has no measure {name}" + (f"; the nearest is {near}" if near else "")


def summands(trials: Sequence[TrialRecord], name: str) -> list[str]:
    """Return the names of the measurements whose sum a measure is. Only `joules...` has several."""
    return [f"{component}_{name}" for component in charged_components(trials)] if name.startswith("joules") else [name]


def summed_value(trial: TrialRecord, name: str) -> float | None:
    """Return a trial's value of a measure, or None if a summand is missing."""
    values = [trial.value(part) for part in summands([trial], name)]
    known = [value for value in values if value is not None]
    return sum(known) if values and len(known) == len(values) else None


def charged_components(trials: Sequence[TrialRecord]) -> list[Component]:
    """Return the components with a source of joules. Memory is left out, since its joules are a guess."""
    sources = {c for t in trials for c, origin in t.energy_origins.items() if origin.method != "missing"}
    return [component for component in COMPONENTS if component in sources and component != "ram"]


def is_time(name: str) -> bool:
    """Whether a measure is a time that a trial may not reach. A missing value is then censored at the last step."""
    return name.endswith("_to_target") or name.startswith("steps_to_lasting_") or name == "grokking_gap"
