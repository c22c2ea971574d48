"""How soon a trial gets there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from harmbench.meters._base import Meter, Outcome, Watcher, shared
from harmbench.meters._energy import joules_of_window
from harmbench.records import COMPONENTS, Component, CurvePoint, EnergyOrigin, Measurement

LATER = "the target is the baseline's accuracy, which is known when reporting"


class Convergence(Meter):
    """Steps, training seconds and training joules to a target validation accuracy.

    The target is the protocol's, or else the median of what the baseline's seeds end with, which is known only when
    reporting: then the values are made there, from the recorded curve. Read off that curve, so the resolution is the
    distance between validations. A trial that never gets there is censored: no value, and the reason says how far it
    went.
    """

    name: ClassVar[str] = "convergence"

    def watcher(self) -> Watcher:
        return _ConvergenceWatcher()


class _ConvergenceWatcher(Watcher):
    def measurements(self, outcome: Outcome) -> list[Measurement]:
        target = outcome.protocol.target
        return to_target(outcome.curve, outcome.energy_origins, target, LATER, outcome.together)


def to_target(
    curve: Sequence[CurvePoint],
    origins: Mapping[Component, EnergyOrigin],
    target: float | None,
    unknown: str,
    together: int = 1,
) -> list[Measurement]:
    """Steps, seconds and joules of training up to the first validation at the target.

    Args:
        curve: all validations of a trial, at least one.
        origins: of its joules.
        target: validation accuracy; None where it is not known.
        unknown: why.
        together: trials that shared the time and energy of the curve: then those to the target are nobody's.
    """
    hit = next((point for point in curve if target is not None and point.validation_accuracy >= target), None)
    best = max(point.validation_accuracy for point in curve)
    missed = unknown if target is None else f"not reached in {curve[-1].step} steps: best {best:.3f}, target {target:g}"
    reason = "" if hit else missed
    seconds, why = hit.train_seconds if hit else None, reason
    if hit and together > 1:
        seconds, why = None, shared(together)
    return [
        Measurement.of("steps_to_target", hit.step if hit else None, "step", "lower", reason),
        Measurement.of("seconds_to_target", seconds, "s", "lower", why),
        *(_joules(curve, hit, component, origins[component], reason, together) for component in COMPONENTS),
    ]


def _joules(
    curve: Sequence[CurvePoint],
    hit: CurvePoint | None,
    component: Component,
    origin: EnergyOrigin,
    reason: str,
    together: int,
) -> Measurement:
    name = f"{component}_joules_to_target"
    if hit is None and origin.method != "missing":
        return Measurement.of(name, None, "J", "lower", reason)
    joules, seconds = (hit.train_joules[component], hit.train_seconds) if hit else (None, 0.0)
    windows = 1 + curve.index(hit) if hit else 1
    return joules_of_window(name, component, joules, seconds, origin, windows=windows, together=together)
