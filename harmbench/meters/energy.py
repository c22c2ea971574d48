"""Energy of a trial's training."""

from __future__ import annotations

from typing import ClassVar

from harmbench.meters._base import Meter, Outcome, Watcher
from harmbench.meters._energy import UNREAD, EnergyWindow, joules_of_window
from harmbench.results.records import COMPONENTS, Component, EnergyOrigin, Measurement, PhaseTotal


class Energy(Meter):
    """Joules of the training window by component, per sample and, for text, per token, with their origin.

    Through CodeCarbon. A modelled figure is marked as such: it follows time and the whole machine's load. A counter
    steps about ten times a second: a window below 1 s has no value, and one below 5 s is marked as unreliable. CO2 is
    derived when reporting, from these joules.
    """

    name: ClassVar[str] = "energy"

    def watcher(self) -> Watcher:
        return _EnergyWatcher()


class _EnergyWatcher(Watcher):
    def measurements(self, outcome: Outcome) -> list[Measurement]:
        train = next(phase for phase in outcome.phases if phase.phase == "train")
        shares = {"sample": outcome.steps * outcome.batch_size}
        if outcome.batch_tokens is not None:
            shares["token"] = outcome.steps * outcome.batch_tokens
        measurements: list[Measurement] = []
        for component in COMPONENTS:
            origin = outcome.energy_origins[component]
            window = EnergyWindow(
                train.joules[component],
                train.seconds,
                windows=train.windows,
                coverage=train.coverage.get(component),
                reason=train.reasons.get(component, UNREAD),
            )
            total = joules_of_window(f"{component}_joules", component, window, origin, outcome.group_size)
            measurements.append(total)
            measurements += [_per_unit(total, unit, count) for unit, count in shares.items()]
            measurements += _direct(component, train, origin, outcome.group_size)
        return measurements


def _per_unit(total: Measurement, unit: str, count: int) -> Measurement:
    """Joules per sample or per token."""
    value = None if total.value is None else total.value / count
    name, more = f"{total.name}_per_{unit}", {"origin": total.origin, "energy": total.energy}
    return Measurement.of(name, value, f"J/{unit}", "lower", total.reason, **more)


def _direct(component: Component, train: PhaseTotal, origin: EnergyOrigin, group_size: int) -> list[Measurement]:
    """The same joules from the counter that harmbench reads itself, if there is one."""
    if component not in train.direct:
        return []
    counter = EnergyOrigin(method="counter", scope=origin.scope, detail="read directly")
    reason = train.direct_reasons.get(component, UNREAD)
    window = EnergyWindow(train.direct[component], train.seconds, windows=train.windows, reason=reason)
    return [joules_of_window(f"{component}_joules_direct", component, window, counter, group_size)]
