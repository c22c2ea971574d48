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
        return None if protocol.target is None else cls("accuracy", protocol.target)

    def is_met(self, point: CurvePoint) -> bool:
        """Whether a validation reaches the target."""
        value = self.at(point)
        if value is None:
            return False
        return value >= self.value if self.measure == "accuracy" else value <= self.value

    def at(self, point: CurvePoint) -> float | None:
        """Value of the measure at one validation."""
        return point.validation_accuracy if self.measure == "accuracy" else point.validation_nll

    def best(self, curve: Sequence[CurvePoint]) -> float | None:
        """Best value over all validations, or None if no validation has a finite value."""
        values = [value for point in curve if (value := self.at(point)) is not None]
        return max(values, default=None) if self.measure == "accuracy" else min(values, default=None)

    def __str__(self) -> str:
        return f"{100 * self.value:.4g} % accuracy" if self.measure == "accuracy" else f"a loss of {self.value:.4g} nat"


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
        together: trials that shared the time and energy of the curve: then those to the target are nobody's.
    """
    hit = next((point for point in curve if target is not None and target.is_met(point)), None)
    reason = "" if hit else unknown if target is None else _missed(curve, target)
    seconds, why = hit.train_seconds if hit else None, reason
    if hit and group_size > 1:
        seconds, why = None, shared(group_size)
    return [
        Measurement.of("steps_to_target", hit.step if hit else None, "step", "lower", reason),
        Measurement.of("seconds_to_target", seconds, "s", "lower", why),
        *(_joules(curve, hit, component, origins[component], reason, group_size) for component in COMPONENTS),
    ]


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
    joules, seconds = (hit.train_joules[component], hit.train_seconds) if hit else (None, 0.0)
    windows = 1 + curve.index(hit) if hit else 1
    window = EnergyWindow(joules, seconds, windows=windows)
    return joules_of_window(name, component, window, origin, group_size)
