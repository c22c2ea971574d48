"""Seconds and joules of a run by phase and component, and their sums."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from harmbench.analysis.cells import sources_of
from harmbench.report.formats import Column, Section, Table
from harmbench.results.records import TrialRecord
from harmbench.results.store import RunData
from harmbench.results.vocabulary import COMPONENTS, PHASES, Component

MISSING = "n/a"


def section(run: RunData) -> tuple[Section, ...]:
    """Return the section of a run, or nothing if no trial recorded its phases."""
    timed = [trial for trial in run.trials if trial.phases]
    return (Section(title="Time and energy by phase", tables=(table(timed, run),)),) if timed else ()


def table(trials: Sequence[TrialRecord], run: RunData) -> Table:
    """Return seconds and joules of all trials by phase and component, with sums and idle windows.

    A sum over fewer trials than there are shows their number.
    """
    methods = {component: origin.method for component, origin in sources_of(run.trials).items()}
    shown = [component for component in COMPONENTS if methods.get(component, "missing") != "missing"]
    rows = [*_phase_rows(trials, shown), _whole_row(trials, shown), *_idle_row(run, shown)]
    return Table(
        title="Phases and components",
        caption="Sums over all trials. Joules are differences of readings at the boundaries of a phase. The seconds of "
        "all phases should equal the trials' own clock. RAM joules are a guess and in no sum of components.",
        columns=(
            Column(label="phase", numeric=False),
            Column(label="time", unit="s"),
            Column(label="share", unit="%"),
            *(Column(label=f"{c.upper()} energy", unit=f"J, {methods[c]}") for c in shown),
        ),
        rows=tuple(rows),
    )


def _phase_rows(trials: Sequence[TrialRecord], shown: Sequence[Component]) -> Iterator[tuple[str, ...]]:
    """Yield a row for each phase and one of their sums, in a single pass over the trials."""
    seconds: dict[str, float] = defaultdict(float)
    joules: dict[str, dict[Component, list[float | None]]] = defaultdict(lambda: {c: [] for c in shown})
    of_trials: dict[Component, list[float | None]] = {c: [] for c in shown}
    for trial in trials:
        sums: dict[Component, float | None] = dict.fromkeys(shown, 0.0)
        for phase in trial.phases:
            seconds[phase.phase] += phase.seconds
            for component, values in joules[phase.phase].items():
                values.append(value := phase.joules.get(component))
                known = sums[component]
                sums[component] = None if known is None or value is None else known + value  # a partial sum is no sum
        for component, values in of_trials.items():
            values.append(sums[component])
    whole = sum(seconds.values())
    for name in (name for name in PHASES if name in seconds):
        share = f"{100 * seconds[name] / whole:.1f}"
        yield name, _amount(seconds[name]), share, *map(_summed, joules[name].values())
    yield "sum of the phases", _amount(whole), "100", *map(_summed, of_trials.values())


def _whole_row(trials: Sequence[TrialRecord], shown: Sequence[Component]) -> tuple[str, ...]:
    """Return the row of the trials' own clock and its share of the phases' sum."""
    clocked = [trial for trial in trials if trial.wall_seconds]
    blanks = [""] * len(shown)
    if not clocked:
        return "trials' own clock", MISSING, "", *blanks
    wall = sum(trial.wall_seconds or 0.0 for trial in clocked)
    booked = sum(phase.seconds for trial in clocked for phase in trial.phases)
    return "trials' own clock", _amount(wall), f"{100 * wall / booked:.1f}", *blanks


def _idle_row(run: RunData, shown: Sequence[Component]) -> Iterator[tuple[str, ...]]:
    idle = [end.idle for end in run.invocations if end.idle is not None]
    if idle:
        seconds = sum(window.seconds for window in idle)
        joules = (_summed([window.joules.get(c) for window in idle]) for c in shown)
        yield "idle, outside the trials", _amount(seconds), "", *joules


def _summed(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return MISSING
    return _amount(sum(known)) + (f" ({len(known)}/{len(values)})" if len(known) < len(values) else "")


def _amount(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
