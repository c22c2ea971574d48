"""How soon a trial gets there."""

from __future__ import annotations

from typing import ClassVar

from harmbench.meters._base import Meter, Outcome, Watcher
from harmbench.records import COMPONENTS, CurvePoint, Measurement


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


def _joules(outcome: Outcome, hit: CurvePoint | None, component: str, reason: str) -> Measurement:
    name = f"{component}_joules_to_target"
    origin = outcome.energy_origins[component]  # type: ignore[index]
    if origin.method == "missing":
        return Measurement.of(name, None, "J", "lower", origin.detail)
    if hit is None:
        return Measurement.of(name, None, "J", "lower", reason)
    kind = "modelled" if origin.method == "model" else "measured"
    return Measurement.of(name, hit.train_joules[component], "J", "lower", origin=kind)  # type: ignore[index]
