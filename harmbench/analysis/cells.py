"""Trials as cells, and what they say of a measure: what reports, claims and comparisons share."""

from __future__ import annotations

import difflib
import math
import re
from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from operator import attrgetter
from typing import Literal, NamedTuple

from harmbench.analysis.stats import Interval, mean_interval
from harmbench.results._upgrade import MEASURES
from harmbench.results.records import COMPONENTS, Component, EnergyOrigin, Measurement, TrialRecord

_SHARE = re.compile("accuracy|f1|share|rate|variance|calibration_error")
_NAME, _VALUE = attrgetter("name"), attrgetter("value")
CHANCE_ERRORS = 3  # standard errors above chance from which on an accuracy counts

Key = tuple[str, str, str, str, str]
Scale = Literal["difference", "ratio"]


class _Index(NamedTuple):
    """A cell's measurements as a table with a row for each trial and a column for each measure.

    Attributes:
        places: of the columns, by name.
        rows: None where a trial does not know a measure.
        values: of each column.
    """

    places: dict[str, int]
    rows: Sequence[Sequence[Measurement | None]]
    values: Sequence[tuple[float | None, ...]]


@dataclass(frozen=True)
class Cell:
    """All trials of one dataset x backbone x head x loss, at one setting of what the suite varies."""

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
        """Linear head with cross-entropy."""
        return (self.head, self.loss) == ("linear", "cross_entropy")

    @cached_property
    def label(self) -> str:
        return f"{self.head} + {self.loss}"

    @cached_property
    def place(self) -> str:
        """Where it is compared with others."""
        return place(self.dataset, self.backbone, self.setting)

    @cached_property
    def sources(self) -> dict[Component, EnergyOrigin]:
        """Where joules come from, by component; where trials differ, as the last of them says."""
        return {component: origin for trial in self.trials for component, origin in trial.energy_origins.items()}

    @cached_property
    def charged(self) -> list[Component]:
        """Components whose joules count, as `charged_components` says."""
        return charged_components(self.trials)

    @cached_property
    def methods(self) -> dict[Component, set[str]]:
        """How each component's joules were come by, in all trials."""
        found: dict[Component, set[str]] = defaultdict(set)
        for trial in self.trials:
            for component, origin in trial.energy_origins.items():
                found[component].add(origin.method)
        return found

    @cached_property
    def is_of_text(self) -> bool:
        """Whether the answers of any trial are the tokens of a text."""
        return any(trial.is_of_text for trial in self.trials)

    @cached_property
    def answers(self) -> int:
        """The fewest that the test part of a trial which ended well asked for; 0 where nobody knows."""
        counts = (trial.answers("test") for trial in self.trials if trial.status == "ok")
        return min(filter(None, counts), default=0)

    @cached_property
    def _index(self) -> _Index:
        """All measurements side by side, from one pass in the order in which they lie in memory."""
        told = [trial.measurements for trial in self.trials]
        named = [list(map(_NAME, measurements)) for measurements in told]
        if named and all(names == named[0] for names in named):  # without hashing half a million names
            places = {name: place for place, name in enumerate(named[0])}
            return _Index(places, told, list(zip(*(list(map(_VALUE, row)) for row in told), strict=True)))
        places = {name: place for place, name in enumerate(dict.fromkeys(chain.from_iterable(named)))}
        known = [dict(zip(names, row, strict=True)) for names, row in zip(named, told, strict=True)]
        rows = [[of_trial.get(name) for name in places] for of_trial in known]
        return _Index(places, rows, list(zip(*([m and m.value for m in row] for row in rows), strict=True)))

    def said(self, name: str) -> list[Measurement]:
        """What the trials say of a measure, in their order: a value, or why there is none."""
        places, rows, _ = self._index
        return [m for row in rows if (m := row[places[name]])] if name in places else []

    def gaps(self, name: str) -> list[Measurement]:
        """What they say of a measure where they have no value."""
        has_gaps = name in self.measures and None in self._column(name)
        return [m for m in self.said(name) if m.value is None] if has_gaps else []

    @cached_property
    def _seeds(self) -> list[int | None]:
        """Of the trials; None where one ended badly."""
        return [trial.spec.seed if trial.status == "ok" else None for trial in self.trials]

    @cached_property
    def _by_seed(self) -> dict[str, dict[int, float]]:
        """What `by_seed` has been asked for."""
        return {}

    def by_seed(self, name: str) -> dict[int, float]:
        """A measure's value by seed, of the trials that ended well and have one."""
        if name not in self._by_seed:
            given = zip(self._seeds, self._column(name), strict=False)
            self._by_seed[name] = {seed: v for seed, v in given if v is not None and seed is not None}
        return self._by_seed[name]

    def values(self, name: str) -> Sequence[float]:
        """Those of `by_seed`, in its order."""
        column = self._column(name) if self._is_whole else (None,)
        return list(self.by_seed(name).values()) if None in column else column  # type: ignore[return-value]

    @cached_property
    def _is_whole(self) -> bool:
        """Whether all trials ended well, each of a seed of its own, so that a column without gaps is by seed."""
        return None not in self._seeds and len(set(self._seeds)) == len(self._seeds)

    def _column(self, name: str) -> Sequence[float | None]:
        """Values of all trials; nothing where none knows the measure."""
        if name.startswith("joules"):
            return [_value(trial, name) for trial in self.trials]
        places, _, values = self._index
        return values[places[name]] if name in places else ()

    @property
    def measures(self) -> Collection[str]:
        """Names of all that a trial has a value of, or says why not."""
        return self._index.places.keys()

    @cached_property
    def _intervals(self) -> dict[str, Interval | None]:
        """What `interval` has been asked for."""
        return {}

    def interval(self, name: str) -> Interval | None:
        """A measure's mean over seeds, with its interval."""
        if name not in self._intervals:
            values = self.values(name)
            self._intervals[name] = mean_interval(values) if values else None
        return self._intervals[name]

    @cached_property
    def _statuses(self) -> Counter[str]:
        return Counter(trial.status for trial in self.trials)

    def count(self, status: str) -> int:
        """Trials that ended so."""
        return self._statuses[status]

    @property
    def ended_badly(self) -> int:
        """Trials that diverged or failed."""
        return len(self.trials) - self.count("ok")

    @cached_property
    def sound(self) -> Cell:
        """The cell without the trials that collapsed, which look perfect on shapes; itself where none did."""
        said, accuracy = self.by_seed("collapsed"), self.by_seed("test_accuracy")
        seeds = ((trial, trial.spec.seed) for trial in self.trials)
        kept = tuple(t for t, seed in seeds if not _is_collapsed(t, said.get(seed), accuracy.get(seed)))
        return self if len(kept) == len(self.trials) else replace(self, trials=kept)

    @property
    def collapsed(self) -> int:
        """Trials that ended well and do not tell the classes apart."""
        return len(self.trials) - len(self.sound.trials)

    @property
    def unsound(self) -> str:
        """Why the cell cannot be called the best, whatever its means: the seeds that are left may be the easy ones."""
        counts = {"ended badly": self.ended_badly, "collapsed": self.collapsed}
        return ", ".join(f"{count} {what}" for what, count in counts.items() if count)

    def why_missing(self, name: str) -> str:
        """The first reason why a measure is missing."""
        summed = parts(self.trials, name)
        found = (m.reason for t in self.trials for m in t.measurements if m.name in summed and m.value is None)
        return next(found, "no trial ended well")

    def modelled(self, name: str) -> str:
        """Which part of a measure is modelled and not measured; empty where none is.

        Joules count as modelled where their source is a model, whether or not a trial has a value.
        """
        for part in parts(self.trials, name):
            for component in COMPONENTS:
                if part.startswith(f"{component}_joules") and "model" in self.methods.get(component, ()):
                    return f"{component.upper()} energy"
            if any(m.origin == "modelled" for m in self.said(part)):
                return part
        return ""


def place(dataset: str, backbone: str, setting: str) -> str:
    """What to call the place where heads are compared.

    >>> place("lattice", "token_mlp", "weight_decay=0")
    'token_mlp on lattice, weight_decay=0'
    """
    return f"{backbone} on {dataset}" + (f", {setting}" if setting else "")


def in_order(setting: str) -> tuple[tuple[float, str], ...]:
    """What a setting is ordered by: numbers by size.

    >>> in_order("weight_decay=0.5 optimizer=sgd")
    ((0.5, ''), (inf, 'sgd'))
    """
    values = [part.partition("=")[2] for part in setting.split()]
    return tuple((float(value), "") if _is_number(value) else (math.inf, value) for value in values)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def is_collapsed(trial: TrialRecord) -> bool:
    """Whether a trial ended well in a model that does not tell the classes apart.

    As the meter `representation` says; where it was not on, by test accuracy: not above chance, one over the number of
    classes, by three standard errors.
    """
    return _is_collapsed(trial, trial.value("collapsed"), trial.value("test_accuracy"))


def _is_collapsed(trial: TrialRecord, said: float | None, accuracy: float | None) -> bool:
    if trial.status != "ok" or said is not None:
        return trial.status == "ok" and bool(said)
    classes, size = trial.sizes.get("classes", 0), trial.answers("test")
    if accuracy is None or not classes or not size:
        return False
    chance = 1 / classes
    return accuracy <= chance + CHANCE_ERRORS * math.sqrt(chance * (1 - chance) / size)


_known: deque[tuple[tuple[TrialRecord, ...], list[Cell]]] = deque(maxlen=2)  # a report asks a dozen times


def cells_of(trials: Iterable[TrialRecord]) -> list[Cell]:
    """Trials as cells, in the order in which they first ran; for the same tuple, the same cells."""
    if not isinstance(trials, tuple):
        return _grouped(trials)
    cells = next((cells for held, cells in _known if held is trials), None)
    if cells is None:
        cells = _grouped(trials)
        _known.append((trials, cells))
    return list(cells)


def _grouped(trials: Iterable[TrialRecord]) -> list[Cell]:
    found: dict[Key, list[TrialRecord]] = defaultdict(list)
    for trial in trials:
        found[trial.spec.cell].append(trial)
    return [
        Cell(dataset, backbone, head, loss, tuple(members), setting)
        for (dataset, backbone, head, loss, setting), members in found.items()
    ]


def sources_of(trials: Iterable[TrialRecord]) -> dict[Component, EnergyOrigin]:
    """Where joules come from, by component; where cells differ, as the last of them says."""
    return {component: origin for cell in cells_of(trials) for component, origin in cell.sources.items()}


def charged_components(trials: Sequence[TrialRecord]) -> list[Component]:
    """Processor and accelerator, as far as there is a source of their joules; memory's are a guess."""
    sources = {c for t in trials for c, origin in t.energy_origins.items() if origin.method != "missing"}
    return [component for component in COMPONENTS if component in sources and component != "ram"]


def is_time(name: str) -> bool:
    """Whether a measure is a time that some trials never reach: where it is missing, it is later than was watched."""
    return name.endswith("_to_target") or name.startswith("steps_to_lasting_") or name == "grokking_gap"


# --- what heads are ranked by ---------------------------------------------------------------------------------


class PrimaryMetric(NamedTuple):
    """The measure by which the heads of a place are ranked and compared with the baseline.

    Attributes:
        measure: its name.
        label, unit: for people; `step` is the unit of a difference.
        factor: from the measure to the unit.
        sign: 1 where more is better, -1 where less is.
        worth: a difference that matters, in the measure.
    """

    measure: str
    label: str
    unit: str
    step: str
    factor: float
    sign: Literal[1, -1]
    worth: float


ACCURACY = PrimaryMetric("test_accuracy", "test accuracy", "%", "points", 100, 1, 0.01)
LOSS = PrimaryMetric("test_nll", "test loss", "nat", "nat", 1, -1, 0.01)  # a hundredth of a nat is 1 % of a perplexity


def primary_metric(cells: Iterable[Cell]) -> PrimaryMetric:
    """Of text the loss, of which perplexity and bits per byte are other forms; of all else the accuracy."""
    return LOSS if any(cell.is_of_text for cell in cells) else ACCURACY


# --- measures --------------------------------------------------------------------------------------------------


class Measure(NamedTuple):
    """What the trials say of a measure: its name, unit and better direction."""

    name: str
    unit: str
    better: Literal["higher", "lower", "neither"]

    @property
    def scale(self) -> Scale:
        """How two values of it are compared; a gap may be 0 or less and has no ratios."""
        return "difference" if self.unit == "1" or self.name.endswith("_gap") else "ratio"

    def changed(self, change: float, sign: str = "+") -> str:
        """A change of it as text: points of an accuracy or another share, a plain number of other plain numbers, and
        per cent of the rest.

        >>> Measure("test_accuracy", "1", "higher").changed(0.01), Measure("throughput", "1/s", "higher").changed(0.01)
        ('+1 points', '+1 %')
        """
        if self.scale == "ratio":
            return f"{100 * change:{sign}.3g} %"
        if self.unit != "1":
            return f"{change:{sign}.4g} {self.unit}s"
        return f"{100 * change:{sign}.3g} points" if _SHARE.search(self.name) else f"{change:{sign}.3g}"

    def interval(self, change: float, low: float | None, high: float | None) -> str:
        """A change with its interval."""
        number, _, unit = self.changed(change).partition(" ")
        if low is None or high is None:
            return f"{number} {unit}".strip()
        bounds = (self.changed(bound).partition(" ")[0] for bound in (low, high))
        return f"{number} [{', '.join(bounds)}] {unit}".strip()


def find_measure(trials: Sequence[TrialRecord], name: str) -> Measure | None:
    """A measure that the trials have; `joules`, and names that begin so, are processor and accelerator together."""
    name = MEASURES.get(name, name)
    summed = parts(trials, name)
    found = (Measure(name, m.unit, m.better) for t in trials for m in t.measurements if m.name in summed)
    return next(found, None)


def measure_names(trials: Sequence[TrialRecord]) -> list[str]:
    """Every name that `find_measure` knows, sorted."""
    names = {m.name for t in trials for m in t.measurements}
    return sorted(names | {name.partition("_")[2] for name in names if name.startswith("cpu_joules")})


def parts(trials: Sequence[TrialRecord], name: str) -> list[str]:
    """The measurements whose sum a measure is: itself, unless it is the joules of all that counts."""
    return [f"{component}_{name}" for component in charged_components(trials)] if name.startswith("joules") else [name]


def _value(trial: TrialRecord, name: str) -> float | None:
    """Of a measure; None where a part of it is missing, since a part is no sum."""
    values = [trial.value(part) for part in parts([trial], name)]
    known = [value for value in values if value is not None]
    return sum(known) if values and len(known) == len(values) else None


def missing_measure(trials: Sequence[TrialRecord], name: str) -> str:
    """What to say of a measure that no trial has."""
    near = next(iter(difflib.get_close_matches(name, measure_names(trials), n=1, cutoff=0.5)), "")
    return f"the run has no measure {name}" + (f"; the nearest is {near}" if near else "")
