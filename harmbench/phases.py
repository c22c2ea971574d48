"""Where a run's seconds and joules went: its phases by component, and their sums."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from harmbench.formats import Column, Section, Table
from harmbench.records import COMPONENTS, PHASES, Component, PhaseTotal, TrialRecord
from harmbench.store import RunData

MISSING = "n/a"


def section(run: RunData) -> tuple[Section, ...]:
    """The table of a run, with all its trials; none where no trial kept its phases."""
    timed = [trial for trial in run.trials if trial.phases]
    return (Section(title="Where time and energy went", tables=(table(timed, run),)),) if timed else ()


def table(trials: Sequence[TrialRecord], run: RunData) -> Table:
    """Phases by components: seconds and joules of all trials, what they add up to, and the idle windows beside.

    A sum over trials of which some have no value says over how many it is.
    """
    methods = {c: origin.method for trial in trials for c, origin in trial.energy_origins.items()}
    shown = [component for component in COMPONENTS if methods.get(component, "missing") != "missing"]
    rows = [*_phase_rows(trials, shown), _sum_row(trials, shown), _whole_row(trials, shown), *_idle_row(run, shown)]
    return Table(
        title="Phases and components",
        caption="All trials together. Joules lie between two readings at the borders of a phase. The phases' seconds "
        "are to add up to the trials' own clock. RAM joules are a guess, and in no sum of components.",
        columns=(
            Column(label="phase", numeric=False),
            Column(label="time", unit="s"),
            Column(label="share", unit="%"),
            *(Column(label=f"{c.upper()} energy", unit=f"J, {methods[c]}") for c in shown),
        ),
        rows=tuple(rows),
    )


def _phase_rows(trials: Sequence[TrialRecord], shown: Sequence[Component]) -> Iterator[tuple[str, ...]]:
    by_name: dict[str, list[PhaseTotal]] = defaultdict(list)
    for trial in trials:
        for phase in trial.phases:
            by_name[phase.phase].append(phase)
    whole = sum(phase.seconds for trial in trials for phase in trial.phases)
    for name in PHASES:
        if found := by_name[name]:
            seconds = sum(phase.seconds for phase in found)
            joules = (_summed([phase.joules.get(c) for phase in found]) for c in shown)
            yield name, _amount(seconds), f"{100 * seconds / whole:.1f}", *joules


def _sum_row(trials: Sequence[TrialRecord], shown: Sequence[Component]) -> tuple[str, ...]:
    seconds = sum(phase.seconds for trial in trials for phase in trial.phases)
    joules = (_summed([_trial_joules(trial, c) for trial in trials]) for c in shown)
    return "sum of the phases", _amount(seconds), "100", *joules


def _whole_row(trials: Sequence[TrialRecord], shown: Sequence[Component]) -> tuple[str, ...]:
    """By the clock around each trial, of those that have one, and the phases' share of it."""
    clocked = [trial for trial in trials if trial.wall_seconds]
    blanks = [""] * len(shown)
    if not clocked:
        return "trials' own clock", MISSING, "", *blanks
    wall = sum(trial.wall_seconds or 0.0 for trial in clocked)
    booked = sum(phase.seconds for trial in clocked for phase in trial.phases)
    return "trials' own clock", _amount(wall), f"{100 * wall / booked:.1f}", *blanks


def _idle_row(run: RunData, shown: Sequence[Component]) -> Iterator[tuple[str, ...]]:
    idle = [block.idle for block in run.blocks if block.idle is not None]
    if idle:
        seconds = sum(window.seconds for window in idle)
        joules = (_summed([window.joules.get(c) for window in idle]) for c in shown)
        yield "idle, outside the trials", _amount(seconds), "", *joules


def _trial_joules(trial: TrialRecord, component: Component) -> float | None:
    """Of all phases; None where one is missing, since a part is no sum."""
    values = [phase.joules.get(component) for phase in trial.phases]
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _summed(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return MISSING
    return _amount(sum(known)) + (f" ({len(known)}/{len(values)})" if len(known) < len(values) else "")


def _amount(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
