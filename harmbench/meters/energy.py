"""What a trial takes from the plug."""

from __future__ import annotations

from typing import ClassVar

from harmbench.meters._base import Meter, Outcome, Watcher
from harmbench.meters._energy import joules_of_window
from harmbench.records import COMPONENTS, Measurement


class Energy(Meter):
    """Joules of the training window by component, and for each sample, with their origin.

    Through CodeCarbon. A modelled figure is marked as such: it follows time and the whole machine's load. A counter
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
            origin = outcome.energy_origins[component]
            total = joules_of_window(f"{component}_joules", train.joules[component], train.seconds, origin)
            found.append(total)
            per_sample = None if total.value is None else total.value / samples
            more = {} if total.value is None else {"origin": total.origin}
            name = f"{component}_joules_per_sample"
            found.append(Measurement.of(name, per_sample, "J/sample", "lower", total.reason, **more))
        return found
