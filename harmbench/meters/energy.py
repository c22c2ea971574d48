"""What a trial takes from the plug."""

from __future__ import annotations

from typing import ClassVar

from harmbench.meters._base import Meter, Outcome, Watcher
from harmbench.records import COMPONENTS, Component, Measurement, PhaseTotal

MIN_COUNTER_SECONDS = 1.0
SHORT_COUNTER_SECONDS = 5.0
UNREAD = "not read at every border of the window"


class Energy(Meter):
    """Joules of the training window by component, and for each sample, with their origin.

    Through CodeCarbon. A modelled figure is marked as such and is proportional to time by construction. A counter
    steps about ten times a second: below 1 s of window it says nothing, below 5 s it says so. CO2 is derived when
    reporting, from these joules.
    """

    name: ClassVar[str] = "energy"

    def watcher(self) -> Watcher:
        return _EnergyWatcher()


class _EnergyWatcher(Watcher):
    def measurements(self, outcome: Outcome) -> list[Measurement]:
        train = next(phase for phase in outcome.phases if phase.phase == "train")
        samples = outcome.steps * outcome.batch_size
        found: list[Measurement] = []
        for component in COMPONENTS:
            total = self._train_joules(outcome, train, component)
            found.append(total)
            per_sample = None if total.value is None else total.value / samples
            more = {} if total.value is None else {"origin": total.origin}
            name = f"{component}_joules_per_sample"
            found.append(Measurement.of(name, per_sample, "J/sample", "lower", total.reason, **more))
        return found

    def _train_joules(self, outcome: Outcome, train: PhaseTotal, component: Component) -> Measurement:
        name, origin = f"{component}_joules", outcome.energy_origins[component]
        joules = train.joules[component]
        if origin.method == "missing":
            return Measurement.of(name, None, "J", "lower", origin.detail)
        if joules is None:
            return Measurement.of(name, None, "J", "lower", UNREAD)
        if origin.method == "model":
            return Measurement.of(name, joules, "J", "lower", f"model: {origin.detail}", origin="modelled")
        if train.seconds < MIN_COUNTER_SECONDS:
            return Measurement.of(name, None, "J", "lower", f"window of {train.seconds:.2f} s is under 1 s")
        short = train.seconds < SHORT_COUNTER_SECONDS
        note = f"window of {train.seconds:.1f} s is under 5 s: unreliable" if short else origin.detail
        return Measurement.of(name, joules, "J", "lower", note, origin="measured")
