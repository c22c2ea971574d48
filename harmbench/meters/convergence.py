"""How soon a trial gets there."""

from __future__ import annotations

from typing import ClassVar

from harmbench.meters._base import Meter, Outcome, Watcher
from harmbench.meters._energy import joules_of_window
from harmbench.records import COMPONENTS, Component, CurvePoint, Measurement


class Convergence(Meter):
    """Steps, training seconds and training joules to the protocol's target validation accuracy.

    Read off the recorded curve, so the resolution is the distance between validations. A trial that never gets
    there is censored: no value, and the reason says how far it went.
    """

    name: ClassVar[str] = "convergence"

    def watcher(self) -> Watcher:
        return _ConvergenceWatcher()


class _ConvergenceWatcher(Watcher):
    def measurements(self, outcome: Outcome) -> list[Measurement]:
        target = outcome.protocol.target
        hit = next((point for point in outcome.curve if point.validation_accuracy >= target), None)
        best = max(point.validation_accuracy for point in outcome.curve)
        reason = "" if hit else f"not reached in {outcome.steps} steps: best {best:.3f}, target {target:g}"
        return [
            Measurement.of("steps_to_target", hit.step if hit else None, "step", "lower", reason),
            Measurement.of("seconds_to_target", hit.train_seconds if hit else None, "s", "lower", reason),
            *(_joules(outcome, hit, component, reason) for component in COMPONENTS),
        ]


def _joules(outcome: Outcome, hit: CurvePoint | None, component: Component, reason: str) -> Measurement:
    name, origin = f"{component}_joules_to_target", outcome.energy_origins[component]
    if hit is None and origin.method != "missing":
        return Measurement.of(name, None, "J", "lower", reason)
    joules, seconds = (hit.train_joules[component], hit.train_seconds) if hit else (None, 0.0)
    windows = 1 + outcome.curve.index(hit) if hit else 1
    return joules_of_window(name, component, joules, seconds, origin, windows=windows)
