"""Predicts what a run will take from probes. Pure. `harmbench.runner.probe` runs the probes.

A probe is a trial with few steps and otherwise the same protocol. Heads of one kind on one data set and backbone are
assumed to cost the same and form a group, and the probes of a group are trials of its members. Each trial of a group
takes

    fixed            process, loading, warm-up, test and analysis: the time of a probe outside steps and validations
  + steps x step     a step of training with its share of meters, measured between two validations after the first
  + validations      the time that a probe spends on evaluation, in proportion to the number of samples

The run takes the time before the first trial, the trials of each device one after the other, and the idle windows. The
range adds up the lower quartiles of all these terms and their upper quartiles, because a slow machine is slow for all
of them. Changes of the machine after the probes are not covered.

Energy is power times time, with one power for training and another for the rest.
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

STEADY_STEPS = 32  # probes with fewer steps do not count for the time of a step, if there is a longer one
LIGHT = 2e7  # extra cost over a linear head, in units of harmbench.planning.head_cost: 1 ms a step on two cores
_WIDEST, _MOST_CLASSES = 4096, 1000  # assumed if features or classes are unknown


class Group(NamedTuple):
    """Trials that are assumed to cost the same."""

    dataset: str
    backbone: str
    kind: str

    def __str__(self) -> str:
        return f"{self.kind}, {self.backbone} on {self.dataset}"


class Range(Record):
    """A prediction with its range.

    Attributes:
        low, high: from the quartiles of the observed values.
        middle: from the medians.
    """

    low: float
    middle: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Range:
        """Quartiles and median of observed values. With fewer than four values, low and high are the extremes.

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
        """Product of two ranges whose values rise and fall at the same time."""
        return Range(low=self.low * other.low, middle=self.middle * other.middle, high=self.high * other.high)


NOTHING = Range(low=0.0, middle=0.0, high=0.0)


class Probe(NamedTuple):
    """A short trial.

    Attributes:
        group: that it represents.
        record: of the trial, with the shorter protocol.
        seconds: from the end of the probe before to the end of this one, with the start of its process.
    """

    group: Group
    record: TrialRecord
    seconds: float


class Surroundings(NamedTuple):
    """The time and power of a run outside its trials.

    Attributes:
        start: seconds before the first trial, for loading and for starting the instruments.
        idle_seconds: length of one idle window. There is one at each end.
        idle_watts: of the charged components, or None if unknown.
        devices: number of devices that work at the same time.
    """

    start: float
    idle_seconds: float = 0.0
    idle_watts: float | None = None
    devices: int = 1


class GroupEstimate(Record):
    """The share of one group in the estimate.

    Attributes:
        group: in words.
        trials: number of trials of this group.
        step: seconds of a step.
        fixed: seconds of a trial outside steps and validations.
        trial: seconds of a trial.
    """

    group: str
    trials: int
    step: Range
    fixed: Range
    trial: Range


class Estimate(Record):
    """The predicted time and energy of a run.

    Attributes:
        trials: number of trials.
        seconds: of wall time.
        joules: of the charged components, or None with the reason in `no_joules`.
        origins: source of the joules of each component.
        parts: one for each group.
    """

    trials: int
    seconds: Range
    joules: Range | None
    no_joules: str
    origins: dict[Component, EnergyOrigin]
    parts: tuple[GroupEstimate, ...]


def group_of(spec: TrialSpec, features: int | None, classes: int | None, has_kernels: bool = True) -> Group:
    """The group of a trial. By `head_cost`, heads of one kind differ in cost by less than a factor of two.

    Args:
        spec: of the trial.
        features, classes: of its backbone and data set, or None if they are unknown before loading.
        has_kernels: whether this machine can compile kernels.
    """
    if spec.distance is None:
        return Group(spec.dataset, spec.backbone, "linear head")
    rows = rows_of_step(spec.dataset, spec.backbone, spec.protocol.batch_size)
    distance = DISTANCES.parse(spec.distance)
    cost = head_cost.of_head(
        distance, rows, features or _WIDEST, classes or _MOST_CLASSES, spec.device_kind, has_kernels
    )
    if cost is None:
        return Group(spec.dataset, spec.backbone, f"{distance.name} head")
    if cost.extra < LIGHT:
        return Group(spec.dataset, spec.backbone, "distance head")
    level = 1 + int(math.log2(cost.extra / LIGHT))
    return Group(spec.dataset, spec.backbone, f"expensive distance head, class {level}")


def estimate(
    trials: Sequence[tuple[TrialSpec, Group]],
    probes: Sequence[Probe],
    surroundings: Surroundings,
    components: Iterable[Component],
) -> Estimate:
    """Predict the time and energy of trials.

    Args:
        trials: to predict, with their groups.
        probes: at least one of each group.
        surroundings: what the run takes outside its trials.
        components: whose joules are charged.
    """
    charged = tuple(components)
    probes_of = {group: [probe for probe in probes if probe.group == group] for _, group in trials}
    parts = []
    seconds = NOTHING
    joules = NOTHING
    missing = ""
    for group, members in probes_of.items():
        specs = [spec for spec, its_group in trials if its_group == group]
        step, validation, fixed = _costs(members)
        steps, validations = _work(specs[0], members[0].record)
        training = step * steps
        rest = fixed + validation * validations
        parts.append(GroupEstimate(group=str(group), trials=len(specs), step=step, fixed=fixed, trial=training + rest))
        seconds += (training + rest) * len(specs)
        energy = _energy(members, training, rest, charged)
        if isinstance(energy, Range):
            joules += energy * len(specs)
        else:
            missing = missing or energy
    outside = surroundings.start + 2 * surroundings.idle_seconds
    if surroundings.idle_watts is None:
        missing = missing or "idle power is unknown"
    joules += Range(low=1.0, middle=1.0, high=1.0) * ((surroundings.idle_watts or 0.0) * outside)
    return Estimate(
        trials=len(trials),
        seconds=seconds * (1 / surroundings.devices) + Range(low=outside, middle=outside, high=outside),
        joules=None if missing else joules,
        no_joules=missing,
        origins=next(iter(probes)).record.energy_origins,
        parts=tuple(parts),
    )


def _work(spec: TrialSpec, probe: TrialRecord) -> tuple[int, int]:
    """Steps and validations of a trial. The probe knows the size of its training part."""
    steps = spec.protocol.budget(probe.sizes["train"])
    return steps, min(spec.protocol.evaluations, steps)


def _costs(probes: Sequence[Probe]) -> tuple[Range, Range, Range]:
    """Seconds of a step, of a validation, and of everything else in a trial."""
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
    """The probes that are long enough for steady steps, or all probes if none is."""
    return [probe for probe in probes if probe.record.curve[-1].step >= STEADY_STEPS] or probes


def _step_seconds(record: TrialRecord) -> list[float]:
    """Mean seconds of a step between validations. The first stretch, with a slow first step, is skipped if possible."""
    points = [(0, 0.0), *((point.step, point.train_seconds) for point in record.curve)]
    stretches = [(seconds - before) / (step - start) for (start, before), (step, seconds) in pairwise(points)]
    return stretches[1:] or stretches


def _seconds(record: TrialRecord, name: str) -> float:
    """Seconds of all phases of a name."""
    return sum(phase.seconds for phase in record.phases if phase.phase == name)


def _energy(probes: Sequence[Probe], training: Range, rest: Range, parts: Sequence[Component]) -> Range | str:
    """Joules of a trial from its seconds of training and of the rest, or the reason why they are unknown.

    A source that lags needs a while to see that training has begun. The power of training is therefore measured in the
    second half of a probe's training. The joules that the first half is short of this power are subtracted once.
    """
    measured = [probe for probe in _steady(probes) if _knows_training(probe.record, parts)]
    other_watts = [power for probe in probes if (power := _power_outside_training(probe.record, parts)) is not None]
    if not measured or not other_watts:
        phases = [phase for probe in probes for phase in probe.record.phases]
        return next((phase.reasons[c] for phase in phases for c in parts if c in phase.reasons), "no readings")
    watts, lags = zip(*(_training_power(probe.record, parts) for probe in measured), strict=True)
    lag = sum(lags) / len(lags)
    return training.times(Range.of(watts)) + rest.times(Range.of(other_watts)) + Range(low=lag, middle=lag, high=lag)


def _knows_training(record: TrialRecord, parts: Sequence[Component]) -> bool:
    """Whether all joules of training are known."""
    return all(point.train_joules.get(c) is not None for point in record.curve for c in parts)


def _training_power(record: TrialRecord, parts: Sequence[Component]) -> tuple[float, float]:
    """Watts in the second half of training, and the joules of training minus these watts times its seconds."""
    points = [(0.0, 0.0)]
    for point in record.curve:
        points.append((point.train_seconds, sum(point.train_joules.get(c) or 0.0 for c in parts)))
    (middle, half), (end, whole) = points[len(points) // 2], points[-1]
    watts = (whole - half) / (end - middle)
    return watts, whole - watts * end


def _power_outside_training(record: TrialRecord, parts: Sequence[Component]) -> float | None:
    """Watts of the phases other than training whose joules are known, or None if there are none."""
    seconds: list[float] = []
    joules: list[float] = []
    for phase in record.phases:
        is_complete = all(phase.joules.get(component) is not None for component in parts)
        if is_complete and phase.phase != "train":
            seconds.append(phase.seconds)
            joules.append(sum(phase.joules[component] or 0.0 for component in parts))
    if not seconds:
        return None
    return sum(joules) / sum(seconds)
