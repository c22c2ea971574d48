"""Warnings about a trial's joules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from harmbench.results.records import Component, EnergyOrigin, PhaseTotal, Telemetry

DISAGREEMENT = 0.10
COMPARABLE_S = 1.0  # shorter windows differ by the counters' steps alone


def caveats(
    phases: Sequence[PhaseTotal], origins: Mapping[Component, EnergyOrigin], telemetry: Telemetry | None
) -> tuple[str, ...]:
    """Return one sentence for each problem with a trial's joules.

    Args:
        phases: phases of the trial.
        origins: sources of its joules.
        telemetry: telemetry of its GPU, if it has one.
    """
    return (*_disagreements(phases, origins), *_oddities(telemetry))


def _disagreements(phases: Sequence[PhaseTotal], origins: Mapping[Component, EnergyOrigin]) -> Iterator[str]:
    """Yield a sentence for each phase where CodeCarbon and the direct counter differ by more than DISAGREEMENT."""
    for phase in phases:
        for component, direct in phase.direct.items():
            ours = phase.joules.get(component)
            if ours is None or direct is None or phase.seconds < COMPARABLE_S:
                continue
            if abs(ours - direct) > DISAGREEMENT * max(abs(direct), abs(ours)):
                method = origins[component].method if component in origins else "missing"
                yield (
                    f"{component} in {phase.phase}: CodeCarbon ({method}) says {ours:.4g} J, the counter itself "
                    f"{direct:.4g} J"
                )


def _oddities(telemetry: Telemetry | None) -> Iterator[str]:
    if telemetry is None:
        return
    if telemetry.throttling:
        yield f"the GPU's clocks were held back: {', '.join(telemetry.throttling)}"
    if telemetry.other_processes:
        yield f"{telemetry.other_processes} other process(es) were at work on the GPU, and are billed to the trial"
