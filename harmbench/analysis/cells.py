"""Cells: all trials of one condition, head and loss, with their values by seed."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from operator import attrgetter
from typing import NamedTuple

from harmbench.analysis.collapse import looks_collapsed
from harmbench.analysis.conditions import condition_name
from harmbench.analysis.measures import charged_components, summands, summed_value
from harmbench.analysis.stats import Interval, mean_interval
from harmbench.results.energy import EnergyOrigin
from harmbench.results.records import Measurement, TrialRecord
from harmbench.results.vocabulary import COMPONENTS, Component

_NAME, _VALUE = attrgetter("name"), attrgetter("value")

Key = tuple[str, str, str, str, str]


class _Index(NamedTuple):
    """A cell's measurements as a table with a row for each trial and a column for each measure.

    Attributes:
        columns: index of each measure's column, by name.
        rows: measurements of each trial. None if a trial lacks the measure.
        values: values of each column.
    """

    columns: dict[str, int]
    rows: Sequence[Sequence[Measurement | None]]
    values: Sequence[tuple[float | None, ...]]


@dataclass(frozen=True)
class Cell:
    """All trials of one condition (data set x backbone x setting), head and loss."""

    dataset: str
    backbone: str
    head: str
    loss: str
    trials: tuple[TrialRecord, ...]
    setting: str = ""

    @property
    def key(self) -> Key:
        return self.dataset, self.backbone, self.head, self.loss, self.setting

    @property
    def is_baseline(self) -> bool:
        """Whether this is the linear head with cross-entropy."""
        return (self.head, self.loss) == ("linear", "cross_entropy")

    @cached_property
    def label(self) -> str:
        return f"{self.head} + {self.loss}"

    @cached_property
    def condition(self) -> str:
        """Name of the condition, within which cells are compared."""
        return condition_name(self.dataset, self.backbone, self.setting)

    @cached_property
    def sources(self) -> dict[Component, EnergyOrigin]:
        """Origin of joules by component. The last trial decides if trials differ."""
        return {component: origin for trial in self.trials for component, origin in trial.energy_origins.items()}

    @cached_property
    def charged(self) -> list[Component]:
        """Components whose joules count, see `charged_components`."""
        return charged_components(self.trials)

    @cached_property
    def methods(self) -> dict[Component, set[str]]:
        """Methods by which the trials' joules were obtained, by component."""
        methods: dict[Component, set[str]] = defaultdict(set)
        for trial in self.trials:
            for component, origin in trial.energy_origins.items():
                methods[component].add(origin.method)
        return methods

    @cached_property
    def is_of_text(self) -> bool:
        """Whether the targets of any trial are tokens of a text."""
        return any(trial.is_of_text for trial in self.trials)

    @cached_property
    def answers(self) -> int:
        """Least number of test targets of a trial that ended well. 0 if unknown."""
        counts = (trial.answers("test") for trial in self.trials if trial.status == "ok")
        return min(filter(None, counts), default=0)

    @cached_property
    def _index(self) -> _Index:
        """Table of all measurements, built in one pass in memory order."""
        by_trial = [trial.measurements for trial in self.trials]
        names_by_trial = [list(map(_NAME, measurements)) for measurements in by_trial]
        if names_by_trial and all(
            names == names_by_trial[0] for names in names_by_trial
        ):  # the usual case, which avoids hashing half a million names
            columns = {name: condition for condition, name in enumerate(names_by_trial[0])}
            return _Index(columns, by_trial, list(zip(*(list(map(_VALUE, row)) for row in by_trial), strict=True)))
        columns = {name: condition for condition, name in enumerate(dict.fromkeys(chain.from_iterable(names_by_trial)))}
        by_name = [dict(zip(names, row, strict=True)) for names, row in zip(names_by_trial, by_trial, strict=True)]
        rows = [[named.get(name) for name in columns] for named in by_name]
        return _Index(columns, rows, list(zip(*([m and m.value for m in row] for row in rows), strict=True)))

    def measurements_of(self, name: str) -> list[Measurement]:
        """Return the trials' measurements of a measure, in their order, including missing values."""
        columns, rows, _ = self._index
        return [m for row in rows if (m := row[columns[name]])] if name in columns else []

    def missing_of(self, name: str) -> list[Measurement]:
        """Return the trials' missing measurements of a measure."""
        has_gaps = name in self.measures and None in self._column(name)
        return [m for m in self.measurements_of(name) if m.value is None] if has_gaps else []

    @cached_property
    def _seeds(self) -> list[int | None]:
        """Seed of each trial. None if the trial ended badly."""
        return [trial.spec.seed if trial.status == "ok" else None for trial in self.trials]

    @cached_property
    def _by_seed(self) -> dict[str, dict[int, float]]:
        """Cache of `by_seed`."""
        return {}

    def by_seed(self, name: str) -> dict[int, float]:
        """Return a measure's value by seed, for trials that ended well and have a value."""
        if name not in self._by_seed:
            by_seed = zip(self._seeds, self._column(name), strict=False)
            self._by_seed[name] = {seed: v for seed, v in by_seed if v is not None and seed is not None}
        return self._by_seed[name]

    def values(self, name: str) -> Sequence[float]:
        """Return the values of `by_seed`, in its order."""
        column = self._column(name) if self._is_whole else (None,)
        return list(self.by_seed(name).values()) if None in column else column  # type: ignore[return-value]

    @cached_property
    def _is_whole(self) -> bool:
        """Whether all trials ended well and have distinct seeds, so that a complete column is `by_seed`."""
        return None not in self._seeds and len(set(self._seeds)) == len(self._seeds)

    def _column(self, name: str) -> Sequence[float | None]:
        """Values of all trials, or nothing if no trial has the measure."""
        if name.startswith("joules"):
            return [summed_value(trial, name) for trial in self.trials]
        columns, _, values = self._index
        return values[columns[name]] if name in columns else ()

    @property
    def measures(self) -> Collection[str]:
        """Names of all measures, including those with missing values."""
        return self._index.columns.keys()

    @cached_property
    def _intervals(self) -> dict[str, Interval | None]:
        """Cache of `interval`."""
        return {}

    def interval(self, name: str) -> Interval | None:
        """Return a measure's mean over seeds with its interval, or None without values."""
        if name not in self._intervals:
            values = self.values(name)
            self._intervals[name] = mean_interval(values) if values else None
        return self._intervals[name]

    @cached_property
    def _statuses(self) -> Counter[str]:
        return Counter(trial.status for trial in self.trials)

    def count(self, status: str) -> int:
        """Return the number of trials with this status."""
        return self._statuses[status]

    @property
    def ended_badly(self) -> int:
        """Number of trials that diverged or failed."""
        return len(self.trials) - self.count("ok")

    @cached_property
    def without_collapsed(self) -> Cell:
        """The cell without its collapsed trials, whose structure scores would look perfect."""
        flags, accuracy = self.by_seed("collapsed"), self.by_seed("test_accuracy")
        seeds = ((trial, trial.spec.seed) for trial in self.trials)
        rest = tuple(t for t, seed in seeds if not looks_collapsed(t, flags.get(seed), accuracy.get(seed)))
        return self if len(rest) == len(self.trials) else replace(self, trials=rest)

    @property
    def collapsed(self) -> int:
        """Number of collapsed trials."""
        return len(self.trials) - len(self.without_collapsed.trials)

    @property
    def disqualified(self) -> str:
        """Reason why the cell cannot be the best, or an empty text.

        Trials that failed, diverged or collapsed may have had the hard seeds.
        """
        counts = {"ended badly": self.ended_badly, "collapsed": self.collapsed}
        return ", ".join(f"{count} {what}" for what, count in counts.items() if count)

    def why_missing(self, name: str) -> str:
        """Return the first reason why a measure is missing."""
        names = summands(self.trials, name)
        reasons = (m.reason for t in self.trials for m in t.measurements if m.name in names and m.value is None)
        return next(reasons, "no trial ended well")

    def modelled(self, name: str) -> str:
        """Return the summand of a measure that is modelled and not measured, or an empty text.

        Joules count as modelled if their source is a model, whether or not a trial has a value.
        """
        for summand in summands(self.trials, name):
            for component in COMPONENTS:
                if summand.startswith(f"{component}_joules") and "model" in self.methods.get(component, ()):
                    return f"{component.upper()} energy"
            if any(m.origin == "modelled" for m in self.measurements_of(summand)):
                return summand
        return ""


_recent: deque[tuple[tuple[TrialRecord, ...], list[Cell]]] = deque(maxlen=2)  # a report needs them a dozen times


def cells_of(trials: Iterable[TrialRecord]) -> list[Cell]:
    """Return the cells of trials, in the order in which they first ran.

    The cells of the last two tuples of trials are cached.
    """
    if not isinstance(trials, tuple):
        return _cells(trials)
    cells = next((cells for held, cells in _recent if held is trials), None)
    if cells is None:
        cells = _cells(trials)
        _recent.append((trials, cells))
    return list(cells)


def _cells(trials: Iterable[TrialRecord]) -> list[Cell]:
    by_cell: dict[Key, list[TrialRecord]] = defaultdict(list)
    for trial in trials:
        by_cell[trial.spec.cell].append(trial)
    return [
        Cell(dataset, backbone, head, loss, tuple(members), setting)
        for (dataset, backbone, head, loss, setting), members in by_cell.items()
    ]


def sources_of(trials: Iterable[TrialRecord]) -> dict[Component, EnergyOrigin]:
    """Return the origin of joules by component. The last cell decides if cells differ."""
    return {component: origin for cell in cells_of(trials) for component, origin in cell.sources.items()}
