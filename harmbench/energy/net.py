"""Energy above idle: joules of the training window less what the machine draws anyway. Made when reporting."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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
        if total is not None and not (component == "ram" and total.origin == "modelled"):  # a constant has no idle
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
    unsteady = "; unsteady" if _drifted(list(watts.values())) else ""
    note = f"gross less idle: {ends}{unsteady}; {gross.reason}"
    return Measurement.of(
        name, gross.value - idle * seconds, "J", "lower", note, origin=gross.origin, energy=gross.energy
    )


def unsteady_idle(blocks: Sequence[BlockRecord]) -> Iterator[str]:
    """One sentence for each device and component whose idle power changed by more than DRIFT within a block."""
    for end in blocks:
        starts = [b for b in blocks if (b.block, b.device, b.moment) == (end.block, end.device, "start")]
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
