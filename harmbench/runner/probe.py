"""Probes for an estimate: real trials with few steps, each in a fresh process, with the instruments of a run.

Rounds over all groups. The first takes few steps: what a trial costs beside its steps, and roughly a step. The others
take other members of the group, where there are any, and as many steps as give a steady figure, or as the time that is
left allows.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

from harmbench.energy.doctor import charged, instruments_for
from harmbench.energy.idle import measure_idle
from harmbench.energy.source import EnergySource
from harmbench.errors import MeasurementError
from harmbench.executors import Finished, LocalExecutor, Started
from harmbench.planning.estimate import Group, Probe, Surroundings
from harmbench.planning.plan import Plan
from harmbench.results.records import IdleWindow, TrialRecord, TrialSpec
from harmbench.runner.run import RunOptions, in_stacks, preload, prepare, say_source, task

FIRST_STEPS, FIRST_STRETCHES = 8, 2
ROUNDS = 3
STRETCH = 16  # steps: meters that look at some of them do so once in so many
LEAST_STRETCHES, MOST_STRETCHES = 4, 10
STEADY_SECONDS, STEADY_PERIODS = 1.0, 4  # of steps; and periods of the source of joules, if that is longer
IDLE_SECONDS = 0.5  # one look at the idle machine


def run_probes(
    plan: Plan,
    options: RunOptions,
    members: Mapping[Group, Sequence[TrialSpec]],
    limit: float,
    progress: Callable[[int, int, str], object],
) -> tuple[list[Probe], Surroundings]:
    """Run the probes on the first device.

    Args:
        plan: of which they are.
        options: where; `idle_seconds` as in the run. Nothing is written to the folder.
        members: one trial of each cell of each group.
        limit: seconds after which the probes are ended.
        progress: told (probes done, planned, what runs).

    Raises:
        DatasetUnavailableError: where data are missing.
        MeasurementError: where a probe fails, or a group has none within the limit.
    """
    prepare(plan, options)
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    probing = _Probing(plan, options, members, limit)
    executor: LocalExecutor[Any, tuple[TrialRecord, ...]] = LocalExecutor(
        task, options.devices[:1], probing.opened, preload(plan)
    )
    probing.executor = executor
    planned = len(probing.jobs())
    stop = threading.Timer(limit, executor.stop)
    stop.daemon = True
    stop.start()
    try:
        with closing(executor.run(probing.jobs())) as events:
            for event in events:
                if isinstance(event, Started):
                    probing.started()
                    progress(len(probing.found), planned, str(TrialSpec.from_plain(event.job["spec"])))
                elif isinstance(event, Finished):
                    probing.take(event)
    finally:
        stop.cancel()
    if unseen := len(members) - len({probe.group for probe in probing.found}):
        raise MeasurementError(
            f"{unseen} of {len(members)} groups have no probe within {limit:.0f} s; give them more with --probe, such "
            f"as --probe {max(2, math.ceil(limit / 30))}m, or plan fewer cells"
        )
    return probing.found, probing.surroundings()


def _rounds(members: Sequence[TrialSpec]) -> int:
    """How many probes a group gets: one for each member, two at least."""
    return min(ROUNDS, max(2, len(members)))


class _Probing:
    """The state of the rounds.

    Args:
        plan: of the run.
        options: of the run.
        members: one trial of each cell of each group.
        limit: seconds for all.
    """

    def __init__(
        self, plan: Plan, options: RunOptions, members: Mapping[Group, Sequence[TrialSpec]], limit: float
    ) -> None:
        self.executor: LocalExecutor[Any, tuple[TrialRecord, ...]] | None = None
        self.found: list[Probe] = []
        self._plan, self._options, self._members, self._limit = plan, options, members, limit
        self._began = self._before = time.perf_counter()
        self._start: float | None = None
        self._idle: IdleWindow | None = None
        self._order: list[Group] = []  # of what was started
        self._first = {group: threading.Event() for group in members}

    @contextmanager
    def opened(self, device: str) -> Iterator[EnergySource]:
        """As a run opens its source, with a look at the idle machine."""
        assert self.executor
        with instruments_for([device]) as source:
            say_source(source, device)
            self.executor.wait_until_loaded()
            self._idle = measure_idle(source, IDLE_SECONDS, wait=self.executor.stopping.wait)
            yield source

    def jobs(self) -> list[Callable[[str, EnergySource], dict[str, Any] | None]]:
        """All rounds; a third one for groups of so many members."""
        return [
            self._job(group, turn)
            for turn in range(ROUNDS)
            for group, its in self._members.items()
            if turn < _rounds(its)
        ]

    def _job(self, group: Group, turn: int) -> Callable[[str, EnergySource], dict[str, Any] | None]:
        def make(device: str, source: EnergySource) -> dict[str, Any] | None:
            steps, stretches = (FIRST_STEPS, FIRST_STRETCHES) if turn == 0 else self._more(group, source)
            if not steps:
                return None
            its = self._members[group]
            spec = its[turn * len(its) // _rounds(its)]
            protocol = spec.protocol.model_copy(update={"steps": steps, "epochs": None, "evaluations": stretches})
            short = [own.but(protocol=protocol) for own in self._stack(spec)]
            self._order.append(group)
            return {
                "spec": short[0].to_plain(),
                "order": 0,
                "siblings": [{"spec": own.to_plain(), "order": 0} for own in short[1:]],
                "device": device,
                "environment": "",
                "data_dir": str(self._options.data_dir),
                "download": False,
                "energy_origins": {c: origin.to_plain() for c, origin in source.origins().items()},
            }

        return make

    def _stack(self, spec: TrialSpec) -> list[TrialSpec]:
        """The planned trials that share a process with one, itself among them."""
        stacks = in_stacks([(0, own) for own in self._plan.trials if own.cell == spec.cell])
        return next([own for _, own in stack] for stack in stacks if (0, spec) in stack)

    def _more(self, group: Group, source: EnergySource) -> tuple[int, int]:
        """Steps and validations of a group's second probe; 0 where the time is up."""
        assert self.executor
        while not self._first[group].wait(0.05):
            if self.executor.stopping.is_set():
                return 0, 0
        first = next(probe for probe in self.found if probe.group == group)
        last = first.record.curve[-1]
        step = first.record.group_size * last.train_seconds / last.step
        to_come = len(self.jobs()) - len(self.found)
        share = (self._limit - (time.perf_counter() - self._began)) / to_come
        affordable = (share - first.record.group_size * first.seconds) / step
        total = self._members[group][0].protocol.budget(first.record.sizes["train"])
        origins = source.origins()
        periods = [origins[c].period_s or 0.0 for c in charged(self._options.devices) if c in origins]
        steady = max(STEADY_SECONDS, STEADY_PERIODS * max(periods, default=0.0))
        wanted = min(max(LEAST_STRETCHES * STRETCH, steady / step), total, affordable)
        if wanted < FIRST_STEPS:
            return (0, 0) if share <= 0 else (FIRST_STEPS, FIRST_STRETCHES)
        stretches = min(max(FIRST_STRETCHES, int(wanted / STRETCH)), MOST_STRETCHES)
        return int(wanted), stretches

    def started(self) -> None:
        """A process has started; before the first, the run's own start ends."""
        if self._start is None:
            self._before = time.perf_counter()
            self._start = self._before - self._began - IDLE_SECONDS

    def take(self, event: Finished[Any, tuple[TrialRecord, ...]]) -> None:
        """Keep what a probe found; of trials that ran together the first stands for all, each with an equal share."""
        group, records, now = self._order[len(self.found)], event.result or (), time.perf_counter()
        record = next(iter(records), None)
        if record is None or not record.curve:
            said = event.failure or (record.reason if record else "")
            raise MeasurementError(f"the probe of {group} failed: {said}; the run would fail there too")
        self.found.append(Probe(group, record, (now - self._before) / len(records)))
        self._before = now
        self._first[group].set()

    def surroundings(self) -> Surroundings:
        """What a run takes beside its trials."""
        parts = charged(self._options.devices)
        watts = [self._idle.watts(component) if self._idle else None for component in parts]
        known = [each for each in watts if each is not None]
        return Surroundings(
            start=self._start or 0.0,
            idle_seconds=self._options.idle_seconds,
            idle_watts=sum(known) if len(known) == len(watts) else None,
            devices=len(self._options.devices),
        )
