"""What a trial takes from the plug."""

from __future__ import annotations

from typing import ClassVar

from harmbench.meters._base import Meter, Outcome, Watcher
from harmbench.meters._energy import UNREAD, joules_of_window
from harmbench.results.records import COMPONENTS, Component, EnergyOrigin, Measurement, PhaseTotal


class Energy(Meter):
    """Joules of the training window by component, for each sample and, of text, each token, with their origin.

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
        shares = {"sample": outcome.steps * outcome.batch_size}
        if outcome.batch_tokens is not None:
            shares["token"] = outcome.steps * outcome.batch_tokens
        found: list[Measurement] = []
        for component in COMPONENTS:
            origin = outcome.energy_origins[component]
            total = joules_of_window(
                f"{component}_joules",
                component,
                train.joules[component],
                train.seconds,
                origin,
                windows=train.windows,
                coverage=train.coverage.get(component),
                reason=train.reasons.get(component, UNREAD),
                group_size=outcome.group_size,
            )
            found.append(total)
            found += [_each(total, what, count) for what, count in shares.items()]
            found += _direct(component, train, origin, outcome.group_size)
        return found


def _each(total: Measurement, what: str, count: int) -> Measurement:
    """Joules for each of so many samples or tokens."""
    value = None if total.value is None else total.value / count
    name, more = f"{total.name}_per_{what}", {"origin": total.origin, "energy": total.energy}
    return Measurement.of(name, value, f"J/{what}", "lower", total.reason, **more)


def _direct(component: Component, train: PhaseTotal, origin: EnergyOrigin, group_size: int) -> list[Measurement]:
    """The same joules by the counter that harmbench reads itself, where there is one."""
    if component not in train.direct:
        return []
    counter = EnergyOrigin(method="counter", scope=origin.scope, detail="read directly")
    name, joules = f"{component}_joules_direct", train.direct[component]
    reason = train.direct_reasons.get(component, UNREAD)
    found = joules_of_window(
        name, component, joules, train.seconds, counter, windows=train.windows, reason=reason, group_size=group_size
    )
    return [found]
