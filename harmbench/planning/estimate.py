"""What a run will take, from probes: short trials of the same cells. Pure; `harmbench.runner.probe` makes the probes.

Heads of a kind are taken to cost alike on one data set with one backbone; together they are a group. A group's probes
are trials of its members with few steps, all else as in the run. Of a group's trials each takes

    fixed            process, loading, warm-up, test, examination: what a probe took beside steps and validations
  + steps x step     a step in `train`, with its share of meters: between two validations, first ones left out
  + validations      by the time of a probe's evaluation, in proportion to the samples

and the run what comes before the first trial, the trials of each device one after the other, and idle windows. The
range goes from the lower quartiles of all these to their upper ones, added up as if they went together: a machine
that is slow is slow for all. What the machine does after the probes is not in it.

Energy is power times time: of training and of the rest apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import median, quantiles
from typing import NamedTuple

from harmbench.nn.distances import DISTANCES
from harmbench.planning import head_cost
from harmbench.planning.plan import rows_of_step
from harmbench.results.records import Component, EnergyOrigin, Record, TrialRecord, TrialSpec

STEADY_STEPS = 32  # of a probe that says how long a step takes, where there is one
LIGHT = 2e7  # units of harmbench.planning.head_cost beyond a linear head's: 1 ms a step on two cores
_WIDEST, _MOST_CLASSES = 4096, 1000  # where they are not known


class Group(NamedTuple):
    """Trials that are taken to cost alike."""

    dataset: str
    backbone: str
    kind: str

    def __str__(self) -> str:
        return f"{self.kind}, {self.backbone} on {self.dataset}"


class Range(Record):
    """A prediction with its range.

    Attributes:
        low, high: by the quartiles of what was seen.
        middle: by the medians.
    """

    low: float
    middle: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Range:
        """Quartiles and median of what was seen; the least and the most where that is little.

        >>> Range.of([3.0, 1.0, 2.0])
        Range(low=1.0, middle=2.0, high=3.0)
        """
        if len(values) < 4:
            return cls(low=min(values), middle=median(values), high=max(values))
        low, middle, high = quantiles(values, n=4, method="inclusive")
        return cls(low=low, middle=middle, high=high)

    def __add__(self, other: Range) -> Range:
        return Range(low=self.low + other.low, middle=self.middle + other.middle, high=self.high + other.high)

    def __mul__(self, factor: float) -> Range:
        return Range(low=self.low * factor, middle=self.middle * factor, high=self.high * factor)

    def times(self, other: Range) -> Range:
        """Product of two that go together."""
        return Range(low=self.low * other.low, middle=self.middle * other.middle, high=self.high * other.high)


NOTHING = Range(low=0.0, middle=0.0, high=0.0)


class Probe(NamedTuple):
    """A short trial.

    Attributes:
        group: that it stands for.
        record: of the trial, with its own, shorter protocol.
        seconds: from the end of what ran before to its end: its process included.
    """

    group: Group
    record: TrialRecord
    seconds: float


class Surroundings(NamedTuple):
    """What a run takes beside its trials.

    Attributes:
        start: seconds before the first trial: loading, starting the instruments.
        idle_seconds: of one idle window; there is one at each end.
        idle_watts: of the charged components; None where not known.
        devices: that work side by side.
    """

    start: float
    idle_seconds: float = 0.0
    idle_watts: float | None = None
    devices: int = 1


class Part(Record):
    """A group of the estimate.

    Attributes:
        group: in words.
        trials: of the run.
        step: seconds of a step.
        fixed: seconds of a trial beside steps and validations.
        trial: seconds of a trial.
    """

    group: str
    trials: int
    step: Range
    fixed: Range
    trial: Range


class Estimate(Record):
    """What a run will take.

    Attributes:
        trials: that it will run.
        seconds: of wall time.
        joules: of the charged components; None where `no_joules` says why.
        origins: how those joules are come by, by component.
        parts: by group.
    """

    trials: int
    seconds: Range
    joules: Range | None
    no_joules: str
    origins: dict[Component, EnergyOrigin]
    parts: tuple[Part, ...]


def group_of(spec: TrialSpec, features: int | None, classes: int | None, has_kernels: bool = True) -> Group:
    """The group of a trial: heads of a kind differ in cost by less than a factor of two, as far as `cost` knows.

    Args:
        spec: of the trial.
        features, classes: of its place; None where they are not known before it is loaded.
        has_kernels: whether compiled kernels are to be had.
    """
    if spec.distance is None:
        return Group(spec.dataset, spec.backbone, "linear head")
    rows = rows_of_step(spec.dataset, spec.backbone, spec.protocol.batch_size)
    distance = DISTANCES.parse(spec.distance)
    found = head_cost.of_head(
        distance, rows, features or _WIDEST, classes or _MOST_CLASSES, spec.device_kind, has_kernels
    )
    if found is None:
        return Group(spec.dataset, spec.backbone, f"{distance.name} head")
    if found.extra < LIGHT:
        return Group(spec.dataset, spec.backbone, "distance head")
    return Group(spec.dataset, spec.backbone, f"dear distance head, class {1 + int(math.log2(found.extra / LIGHT))}")


def estimate(
    trials: Sequence[tuple[TrialSpec, Group]], probes: Sequence[Probe], around: Surroundings, parts: Iterable[Component]
) -> Estimate:
    """What some trials will take.

    Args:
        trials: that are to be run, with their groups.
        probes: at least one of each group.
        around: what the run takes beside its trials.
        parts: components that are charged.
    """
    of_group = {group: [probe for probe in probes if probe.group == group] for _, group in trials}
    found, seconds, joules, missing = [], NOTHING, NOTHING, ""
    charged = tuple(parts)
    for group, its in of_group.items():
        spec = next(spec for spec, its_group in trials if its_group == group)
        count = sum(its_group == group for _, its_group in trials)
        step, validation, fixed = _costs(its)
        steps, validations = _work(spec, its[0].record)
        training, rest = step * steps, fixed + validation * validations
        found.append(Part(group=str(group), trials=count, step=step, fixed=fixed, trial=training + rest))
        seconds += (training + rest) * count
        energy = _energy(its, training, rest, charged)
        if isinstance(energy, Range):
            joules += energy * count
        else:
            missing = missing or energy
    beside = around.start + 2 * around.idle_seconds
    if around.idle_watts is None:
        missing = missing or "idle power is not known"
    at_idle = around.idle_watts or 0.0
    whole = seconds * (1 / around.devices) + Range(low=beside, middle=beside, high=beside)
    return Estimate(
        trials=len(trials),
        seconds=whole,
        joules=None if missing else joules + Range(low=1.0, middle=1.0, high=1.0) * (at_idle * beside),
        no_joules=missing,
        origins=next(iter(probes)).record.energy_origins,
        parts=tuple(found),
    )


def _work(spec: TrialSpec, probe: TrialRecord) -> tuple[int, int]:
    """Steps and validations of a trial, once the size of its training part is known."""
    steps = spec.protocol.budget(probe.sizes["train"])
    return steps, min(spec.protocol.evaluations, steps)


def _costs(probes: Sequence[Probe]) -> tuple[Range, Range, Range]:
    """Seconds of a step, of a validation, and of what a trial takes besides."""
    step = Range.of([second for probe in _steady(probes) for second in _step_seconds(probe.record)])
    validations, fixed = [], []
    for probe in probes:
        record, steps = probe.record, probe.record.curve[-1].step
        samples = record.sizes["validation"] * len(record.curve) + record.sizes["test"]
        validations.append(_seconds(record, "evaluate") * record.sizes["validation"] / samples)
        repeated = steps * median(_step_seconds(record)) + len(record.curve) * validations[-1]
        fixed.append(max(0.0, probe.seconds - repeated))
    return step, Range.of(validations), Range.of(fixed)


def _steady(probes: Sequence[Probe]) -> Sequence[Probe]:
    """The longer ones, where there are any."""
    return [probe for probe in probes if probe.record.curve[-1].step >= STEADY_STEPS] or probes


def _step_seconds(record: TrialRecord) -> list[float]:
    """Mean seconds of a step between validations; without the first stretch, which holds the first step, if it can."""
    points = [(0, 0.0), *((point.step, point.train_seconds) for point in record.curve)]
    stretches = [(seconds - before) / (step - start) for (start, before), (step, seconds) in pairwise(points)]
    return stretches[1:] or stretches


def _seconds(record: TrialRecord, name: str) -> float:
    return sum(phase.seconds for phase in record.phases if phase.phase == name)


def _energy(probes: Sequence[Probe], training: Range, rest: Range, parts: Sequence[Component]) -> Range | str:
    """Joules of a trial from its seconds of training and of the rest; or why they are not known.

    A source that lags, or looks back, takes a while to see that training has begun: its power is that of the second
    half of a probe's training, and what the first half fell short of it is taken off once.
    """
    known = [probe for probe in _steady(probes) if _knows_training(probe.record, parts)]
    besides = [power for probe in probes if (power := _power_besides(probe.record, parts)) is not None]
    if not known or not besides:
        phases = [phase for probe in probes for phase in probe.record.phases]
        return next((phase.reasons[c] for phase in phases for c in parts if c in phase.reasons), "not read")
    watts, short = zip(*(_training_power(probe.record, parts) for probe in known), strict=True)
    lag = sum(short) / len(short)
    return training.times(Range.of(watts)) + rest.times(Range.of(besides)) + Range(low=lag, middle=lag, high=lag)


def _knows_training(record: TrialRecord, parts: Sequence[Component]) -> bool:
    return all(point.train_joules.get(c) is not None for point in record.curve for c in parts)


def _training_power(record: TrialRecord, parts: Sequence[Component]) -> tuple[float, float]:
    """Watts in the second half of training, and the joules of all of it less these watts times its seconds."""
    points = [(0.0, 0.0)]
    for point in record.curve:
        points.append((point.train_seconds, sum(point.train_joules.get(c) or 0.0 for c in parts)))
    (middle, half), (end, whole) = points[len(points) // 2], points[-1]
    watts = (whole - half) / (end - middle)
    return watts, whole - watts * end


def _power_besides(record: TrialRecord, parts: Sequence[Component]) -> float | None:
    """Watts of all but training, as far as they are known."""
    joules = [
        (phase.seconds, sum(phase.joules[c] or 0.0 for c in parts))
        for phase in record.phases
        if phase.phase != "train" and all(phase.joules.get(c) is not None for c in parts)
    ]
    return sum(each for _, each in joules) / sum(seconds for seconds, _ in joules) if joules else None
