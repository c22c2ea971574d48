"""Energy above idle: joules of the training window minus idle power. Computed for reports."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from harmbench.results.records import COMPONENTS, Component, IdleWindow, InvocationRecord, Measurement, TrialRecord

DRIFT = 0.1  # between the idle power before and after


class Idle(NamedTuple):
    """Idle power of a component.

    Attributes:
        watts: mean of the start and the end of an invocation, or None if neither was measured.
        note: the values behind the mean, or why there is none.
    """

    watts: float | None
    note: str


IdlePower = Mapping[tuple[str, str], Mapping[Component, Idle]]


def idle_power(invocations: Sequence[InvocationRecord]) -> IdlePower:
    """Return the idle power by invocation and device, for invocations with an idle window.

    Args:
        invocations: invocations of the run.
    """
    windows: dict[tuple[str, str], dict[str, IdleWindow]] = defaultdict(dict)
    for end in invocations:
        if end.idle is not None:
            windows[end.invocation, end.device][end.moment] = end.idle
    return {place: {c: _idle(c, ends) for c in COMPONENTS} for place, ends in windows.items()}


def _idle(component: Component, ends: Mapping[str, IdleWindow]) -> Idle:
    watts = {moment: w for moment, window in ends.items() if (w := window.watts(component)) is not None}
    if not watts:
        reasons = (window.reasons.get(component, "") for window in ends.values())
        return Idle(None, f"idle power: {next(filter(None, reasons), 'not measured')}")
    values = ", ".join(f"{watts[moment]:.4g} W at the {moment}" for moment in ("start", "end") if moment in watts)
    unsteady = "; unsteady" if _drifted(list(watts.values())) else ""
    return Idle(sum(watts.values()) / len(watts), f"gross less idle: {values}{unsteady}")


def net_of_idle(trial: TrialRecord, idle: IdlePower) -> tuple[Measurement, ...]:
    """Return `cpu_joules_net` and so on, if idle power was measured in the trial's invocation.

    Each measurement has the origin of its gross joules, and is missing if these are.

    Args:
        trial: the trial with its measurements.
        idle: idle power of its run.
    """
    around = idle.get((trial.invocation, trial.device))
    train = next((phase for phase in trial.phases if phase.phase == "train"), None)
    if train is None or around is None:
        return ()
    measurements = []
    for component in COMPONENTS:
        gross = trial.measurement(f"{component}_joules")
        if gross is not None and not (component == "ram" and gross.origin == "modelled"):  # a constant has no idle
            measurements.append(_net(component, gross, train.seconds, around[component]))
    return tuple(measurements)


def _net(component: Component, gross: Measurement, seconds: float, idle: Idle) -> Measurement:
    name = f"{component}_joules_net"
    if gross.value is None:
        return Measurement.of(name, None, "J", "lower", gross.reason, energy=gross.energy)
    if idle.watts is None:
        return Measurement.of(name, None, "J", "lower", idle.note, energy=gross.energy)
    value, note = gross.value - idle.watts * seconds, f"{idle.note}; {gross.reason}"
    return Measurement.of(name, value, "J", "lower", note, origin=gross.origin, energy=gross.energy)


def unsteady_idle(invocations: Sequence[InvocationRecord]) -> Iterator[str]:
    """One sentence for each device and component whose idle power changed by more than DRIFT within an invocation."""
    for end in invocations:
        starts = [b for b in invocations if (b.invocation, b.device, b.moment) == (end.invocation, end.device, "start")]
        if end.moment != "end" or end.idle is None or not starts or starts[0].idle is None:
            continue
        for component in COMPONENTS:
            before, after = starts[0].idle.watts(component), end.idle.watts(component)
            if before is not None and after is not None and _drifted([before, after]):
                yield (
                    f"idle power of {component} on {end.device} went from {before:.3g} W at the start to {after:.3g} W "
                    "at the end, so energy above idle is unsure"
                )


def _drifted(watts: Sequence[float]) -> bool:
    return max(watts) - min(watts) > DRIFT * max(abs(w) for w in watts)
