"""Runs probes for an estimate. A probe is a real trial with few steps, with the executor and the instruments of a run.

Probes come in rounds over all groups. Those of the first round take few steps. They show what a trial costs outside its
steps, and roughly what a step costs. Later rounds take other members of the group if there are any. They run as many
steps as a steady figure needs, or as the remaining time allows.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

from harmbench.energy.doctor import charged, instruments_for
from harmbench.energy.idle import measure_idle
from harmbench.energy.source import EnergySource
from harmbench.errors import MeasurementError
from harmbench.executors import EXECUTORS, Finished, Session, Started
from harmbench.planning.estimate import Group, Probe, Surroundings
from harmbench.planning.plan import Plan
from harmbench.results.records import IdleWindow, TrialRecord, TrialSpec
from harmbench.runner.invocation import describe_source
from harmbench.runner.jobs import group_seeds, plain_job, preload, task, trials_of
from harmbench.runner.options import RunOptions
from harmbench.runner.run import prepare

FIRST_STEPS, FIRST_STRETCHES = 8, 2
ROUNDS = 3
STRETCH = 16  # steps between two validations, because some meters look at one step in 16
LEAST_STRETCHES, MOST_STRETCHES = 4, 10
STEADY_SECONDS, STEADY_PERIODS = 1.0, 4  # minimum length of training: seconds, and periods of the energy source
IDLE_SECONDS = 0.5  # length of the idle window before the probes

ProbeMaker = Callable[[str, EnergySource], dict[str, Any] | None]


def run_probes(
    plan: Plan,
    options: RunOptions,
    members: Mapping[Group, Sequence[TrialSpec]],
    limit: float,
    progress: Callable[[int, int, str], object],
) -> tuple[list[Probe], Surroundings]:
    """Run the probes on the first device.

    Args:
        plan: of the run.
        options: of the run. Nothing is written to the folder.
        members: one trial of each cell of each group.
        limit: seconds after which the probes end.
        progress: called with (number of probes done, number planned, current trial).

    Raises:
        DatasetUnavailableError: if data are missing.
        MeasurementError: if a probe fails, or a group has none within the limit.
    """
    prepare(plan, options)
    probing = _Probing(plan, options, members, limit)
    makers = probing.makers()
    session: Session[dict[str, Any], tuple[TrialRecord, ...]]
    executor = EXECUTORS.parse(options.executor)
    session = executor.session(task, options.devices[:1], probing.opened, preload(plan))
    stop = threading.Timer(limit, session.stop)
    stop.daemon = True
    stop.start()
    try:
        with closing(session.run(makers)) as events:
            for event in events:
                if isinstance(event, Started):
                    probing.started()
                    _, spec = trials_of(event.job)[0]
                    progress(len(probing.probes), len(makers), str(spec))
                elif isinstance(event, Finished):
                    probing.finished(event)
    finally:
        stop.cancel()
    missing = members.keys() - {probe.group for probe in probing.probes}
    if missing:
        raise MeasurementError(
            f"{len(missing)} of {len(members)} groups have no probe within {limit:.0f} s; give the probes more time, "
            f"such as --probe {max(2, math.ceil(limit / 30))}m, or plan fewer cells"
        )
    return probing.probes, probing.surroundings()


def _rounds(members: Sequence[TrialSpec]) -> int:
    """The number of probes of a group: one for each member, but at least two."""
    return min(ROUNDS, max(2, len(members)))


class _Probing:
    """The state of the rounds.

    Args:
        plan: of the run.
        options: of the run.
        members: one trial of each cell of each group.
        limit: seconds for all probes.
    """

    def __init__(
        self, plan: Plan, options: RunOptions, members: Mapping[Group, Sequence[TrialSpec]], limit: float
    ) -> None:
        self.probes: list[Probe] = []
        self._plan = plan
        self._options = options
        self._members = members
        self._limit = limit
        self._began = self._previous_end = time.perf_counter()
        self._start: float | None = None
        self._idle: IdleWindow | None = None
        self._stopping = threading.Event()
        self._groups: list[Group] = []  # of the probes that started, in order
        self._first_done = {group: threading.Event() for group in members}

    @contextmanager
    def opened(self, device: str, session: Session[Any, Any]) -> Iterator[EnergySource]:
        """The energy source of the device, as in a run, after an idle window."""
        self._stopping = session.stopping
        with instruments_for([device]) as source:
            describe_source(source, device)
            session.wait_until_loaded()
            self._idle = measure_idle(source, IDLE_SECONDS, wait=session.stopping.wait)
            yield source

    def makers(self) -> list[ProbeMaker]:
        """The makers of all probes, round by round."""
        makers = []
        for turn in range(ROUNDS):
            for group, members in self._members.items():
                if turn < _rounds(members):
                    makers.append(self._maker(group, turn))
        return makers

    def _maker(self, group: Group, turn: int) -> ProbeMaker:
        def make(device: str, source: EnergySource) -> dict[str, Any] | None:
            steps, stretches = FIRST_STEPS, FIRST_STRETCHES
            if turn > 0:
                steps, stretches = self._length(group, source)
            if not steps:
                return None
            members = self._members[group]
            spec = members[turn * len(members) // _rounds(members)]
            protocol = spec.protocol.model_copy(update={"steps": steps, "epochs": None, "evaluations": stretches})
            probes = [(0, trial.but(protocol=protocol)) for trial in self._same_process(spec)]
            self._groups.append(group)
            data_dir = str(self._options.data_dir)
            return plain_job(probes, device, source.origins(), environment="", data_dir=data_dir, download=False)

        return make

    def _same_process(self, spec: TrialSpec) -> list[TrialSpec]:
        """The planned trials that share a process with a trial, including itself."""
        cell = [(0, trial) for trial in self._plan.trials if trial.cell == spec.cell]
        group = next(group for group in group_seeds(cell) if (0, spec) in group)
        return [trial for _, trial in group]

    def _length(self, group: Group, source: EnergySource) -> tuple[int, int]:
        """Steps and validations of a later probe of a group. Both are 0 if no time is left."""
        while not self._first_done[group].wait(0.05):
            if self._stopping.is_set():
                return 0, 0
        first = next(probe for probe in self.probes if probe.group == group)
        last = first.record.curve[-1]
        step_seconds = first.record.group_size * last.train_seconds / last.step
        remaining = len(self.makers()) - len(self.probes)
        share = (self._limit - (time.perf_counter() - self._began)) / remaining
        affordable = (share - first.record.group_size * first.seconds) / step_seconds
        total = self._members[group][0].protocol.budget(first.record.sizes["train"])
        steady = max(STEADY_SECONDS, STEADY_PERIODS * self._longest_period(source))
        steps = min(max(LEAST_STRETCHES * STRETCH, steady / step_seconds), total, affordable)
        if steps < FIRST_STEPS and share <= 0:
            return 0, 0
        if steps < FIRST_STEPS:
            return FIRST_STEPS, FIRST_STRETCHES
        stretches = min(max(FIRST_STRETCHES, int(steps / STRETCH)), MOST_STRETCHES)
        return int(steps), stretches

    def _longest_period(self, source: EnergySource) -> float:
        """Seconds of the longest period of a charged component's counter, or 0 if no period is known."""
        origins = source.origins()
        components = [component for component in charged(self._options.devices) if component in origins]
        return max((origins[component].period_s or 0.0 for component in components), default=0.0)

    def started(self) -> None:
        """Note that a process has started. The time before the first one is the start of a run."""
        if self._start is None:
            self._previous_end = time.perf_counter()
            self._start = self._previous_end - self._began - IDLE_SECONDS

    def finished(self, event: Finished[Any, tuple[TrialRecord, ...]]) -> None:
        """Store a probe. The first of several trials in a process stands for all, and each takes an equal share.

        Raises:
            MeasurementError: if the probe failed.
        """
        now = time.perf_counter()
        group = self._groups[len(self.probes)]
        records = event.result or ()
        if not records or not records[0].curve:
            reason = event.failure or "".join(record.reason for record in records[:1])
            raise MeasurementError(f"the probe of {group} failed: {reason}; the run would fail there too")
        seconds = (now - self._previous_end) / len(records)
        self.probes.append(Probe(group, records[0], seconds))
        self._previous_end = now
        self._first_done[group].set()

    def surroundings(self) -> Surroundings:
        """The time and power of the run outside its trials."""
        return Surroundings(
            start=self._start or 0.0,
            idle_seconds=self._options.idle_seconds,
            idle_watts=self._idle_watts(),
            devices=len(self._options.devices),
        )

    def _idle_watts(self) -> float | None:
        """Idle power of all charged components, or None if that of one is unknown."""
        if self._idle is None:
            return None
        known_watts: list[float] = []
        for component in charged(self._options.devices):
            watts = self._idle.watts(component)
            if watts is None:
                return None
            known_watts.append(watts)
        return sum(known_watts)
