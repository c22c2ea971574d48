"""Steps, seconds and joules until a trial reaches a target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, NamedTuple

from harmbench.meters._base import Meter, Outcome, Watcher, shared
from harmbench.meters._energy import EnergyWindow, joules_of_window
from harmbench.results.records import COMPONENTS, Component, CurvePoint, EnergyOrigin, Measurement, Protocol

LATER = "the target is what the baseline ends with, which is known when reporting"


class Target(NamedTuple):
    """Definition of convergence: a validation accuracy, or a validation loss.

    Attributes:
        measure: accuracy, at least `value`, or mean NLL in nat, at most `value`.
        value: to be reached.

    >>> str(Target("accuracy", 0.9)), str(Target("nll", 4.25))
    ('90 % accuracy', 'a loss of 4.25 nat')
    """

    measure: Literal["accuracy", "nll"]
    value: float

    @classmethod
    def of(cls, protocol: Protocol) -> Target | None:
        """The protocol's target, or None if it is taken from the baseline."""
        if protocol.target_nll is not None:
            return cls("nll", protocol.target_nll)
        if protocol.target is not None:
            return cls("accuracy", protocol.target)
        return None

    def is_met(self, point: CurvePoint) -> bool:
        """Whether a validation reaches the target."""
        value = self.at(point)
        if value is None:
            return False
        if self.measure == "accuracy":
            return value >= self.value
        return value <= self.value

    def at(self, point: CurvePoint) -> float | None:
        """Value of the measure at one validation."""
        if self.measure == "accuracy":
            return point.validation_accuracy
        return point.validation_nll

    def best(self, curve: Sequence[CurvePoint]) -> float | None:
        """Best value over all validations, or None if no validation has a finite value."""
        values = [self.at(point) for point in curve]
        finite = [value for value in values if value is not None]
        if self.measure == "accuracy":
            return max(finite, default=None)
        return min(finite, default=None)

    def __str__(self) -> str:
        if self.measure == "accuracy":
            return f"{100 * self.value:.4g} % accuracy"
        return f"a loss of {self.value:.4g} nat"


class Convergence(Meter):
    """Steps, training seconds and training joules to a target validation accuracy, or, of text, validation loss.

    The target is the protocol's (`target`, an accuracy, or `target_nll`, a loss), or else the median of what the
    baseline's seeds end with, which is known only when reporting: then the values are made there, from the recorded
    curve. Read off that curve, so the resolution is the distance between validations. A trial that never reaches it is
    censored: no value, and the reason says how far it went.
    """

    name: ClassVar[str] = "convergence"

    def watcher(self) -> Watcher:
        return _ConvergenceWatcher()


class _ConvergenceWatcher(Watcher):
    def measurements(self, outcome: Outcome) -> list[Measurement]:
        target = Target.of(outcome.protocol)
        return to_target(outcome.curve, outcome.energy_origins, target, LATER, outcome.group_size)


def to_target(
    curve: Sequence[CurvePoint],
    origins: Mapping[Component, EnergyOrigin],
    target: Target | None,
    unknown: str,
    group_size: int = 1,
) -> list[Measurement]:
    """Steps, seconds and joules of training up to the first validation at the target.

    Args:
        curve: all validations of a trial, at least one.
        origins: of its joules.
        target: accuracy or loss to reach; None where it is not known.
        unknown: why.
        group_size: trials that shared the time and energy of the curve: then those to the target are nobody's.
    """
    hit = _first_hit(curve, target)
    step = seconds = None
    reason = seconds_reason = ""
    if hit is not None:
        step, seconds = hit.step, hit.train_seconds
        if group_size > 1:
            seconds, seconds_reason = None, shared(group_size)
    else:
        reason = seconds_reason = unknown if target is None else _missed(curve, target)
    return [
        Measurement.of("steps_to_target", step, "step", "lower", reason),
        Measurement.of("seconds_to_target", seconds, "s", "lower", seconds_reason),
        *(_joules(curve, hit, component, origins[component], reason, group_size) for component in COMPONENTS),
    ]


def _first_hit(curve: Sequence[CurvePoint], target: Target | None) -> CurvePoint | None:
    """First validation that reaches the target, or None."""
    if target is None:
        return None
    return next((point for point in curve if target.is_met(point)), None)


def _missed(curve: Sequence[CurvePoint], target: Target) -> str:
    best = target.best(curve)
    shown = "not finite" if best is None else f"{best:.3f}"
    return f"not reached in {curve[-1].step} steps: best {shown}, target {target.value:g}"


def _joules(
    curve: Sequence[CurvePoint],
    hit: CurvePoint | None,
    component: Component,
    origin: EnergyOrigin,
    reason: str,
    group_size: int,
) -> Measurement:
    name = f"{component}_joules_to_target"
    if hit is None and origin.method != "missing":
        return Measurement.of(name, None, "J", "lower", reason)
    if hit is None:
        window = EnergyWindow(None, 0.0, windows=1)
    else:
        windows = 1 + curve.index(hit)
        window = EnergyWindow(hit.train_joules[component], hit.train_seconds, windows=windows)
    return joules_of_window(name, component, window, origin, group_size)
