"""Energy above idle: joules of the training window less what the machine draws anyway. Made when reporting."""

from __future__ import annotations

from collections.abc import Sequence

from harmbench.records import COMPONENTS, BlockRecord, Component, Measurement, TrialRecord

DRIFT = 0.1  # between the idle power before and after


def net_of_idle(trial: TrialRecord, blocks: Sequence[BlockRecord]) -> tuple[Measurement, ...]:
    """`cpu_joules_net` and so on, where idle power was measured around the trial's block.

    The idle power is the mean of both ends. Each keeps the origin of the joules it was made from; where these are
    missing, so is it.

    Args:
        trial: with its measurements.
        blocks: of the run.
    """
    train = next((phase for phase in trial.phases if phase.phase == "train"), None)
    place = trial.block, trial.device
    around: dict[str, BlockRecord] = {b.moment: b for b in blocks if (b.block, b.device) == place and b.idle}
    if train is None or not around:
        return ()
    gross = {m.name: m for m in trial.measurements}
    found = []
    for component in COMPONENTS:
        total = gross.get(f"{component}_joules")
        if total is not None:
            found.append(_net(component, total, train.seconds, around))
    return tuple(found)


def _net(component: Component, gross: Measurement, seconds: float, around: dict[str, BlockRecord]) -> Measurement:
    name = f"{component}_joules_net"
    if gross.value is None:
        return Measurement.of(name, None, "J", "lower", gross.reason, energy=gross.energy)
    watts = {
        moment: watts
        for moment, block in around.items()
        if block.idle is not None and (watts := block.idle.watts(component)) is not None
    }
    if not watts:
        reasons = [block.idle.reasons.get(component, "") for block in around.values() if block.idle]
        why = next(filter(None, reasons), "not measured")
        return Measurement.of(name, None, "J", "lower", f"idle power: {why}", energy=gross.energy)
    idle = sum(watts.values()) / len(watts)
    ends = ", ".join(f"{watts[moment]:.4g} W at the {moment}" for moment in ("start", "end") if moment in watts)
    note = f"gross less idle: {ends}{_drift(list(watts.values()))}; {gross.reason}"
    return Measurement.of(
        name, gross.value - idle * seconds, "J", "lower", note, origin=gross.origin, energy=gross.energy
    )


def _drift(watts: list[float]) -> str:
    apart = max(watts) - min(watts)
    return f"; unsteady, {apart:.3g} W apart" if apart > DRIFT * max(abs(w) for w in watts) else ""
