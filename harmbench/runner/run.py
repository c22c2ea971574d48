"""The way from a plan to a full store."""

from __future__ import annotations

import functools
import os
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from harmbench.backbones import BACKBONES
from harmbench.datasets import DATASETS
from harmbench.energy.codecarbon import settings_from_outside
from harmbench.energy.doctor import charged, diagnose, instruments_for
from harmbench.energy.idle import measure_idle
from harmbench.energy.instruments import Instruments
from harmbench.energy.source import EnergySource
from harmbench.errors import DatasetUnavailableError
from harmbench.executors import Finished, LocalExecutor, Progress, Started
from harmbench.planning import budget as budgets
from harmbench.planning import environment
from harmbench.planning.budget import Budget
from harmbench.planning.plan import Plan
from harmbench.results.records import (
    Artifact,
    BudgetRecord,
    Component,
    EnergyOrigin,
    IdleWindow,
    InvocationRecord,
    Method,
    TrialRecord,
    TrialSpec,
)
from harmbench.results.store import RunStore, read
from harmbench.runner import checkpoints


@dataclass(frozen=True)
class RunOptions:
    """Where a plan runs; none of it changes an outcome.

    Attributes:
        idle_seconds: for how long idle power is measured before the first trial on each device, and after the last.
        budget: what this call may spend; without one, it runs all there is.
        checkpoint_seconds: between two checkpoints of a trial; 0 for none.
    """

    folder: Path
    devices: tuple[str, ...]
    data_dir: Path
    download: bool = False
    idle_seconds: float = 0.0
    budget: Budget | None = None
    checkpoint_seconds: float = 0.0


@dataclass
class Summary:
    """What a run did.

    Attributes:
        budget: what became of it, once the run has ended.
        to_go: what the trials that are left would take, in the budget's unit.
    """

    planned: int
    reused: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    budget: BudgetRecord | None = None
    to_go: float = 0.0

    @property
    def finished(self) -> int:
        """Trials of this plan that have a record now."""
        return self.reused + sum(self.statuses.values())


def prepare(plan: Plan, options: RunOptions) -> None:
    """Refuse at once what could only fail later, and fetch what may be fetched, once for all trials.

    Raises:
        DatasetUnavailableError: for data that are not there and may not, or cannot, be fetched.
    """
    for address in plan.suite.datasets:
        dataset = DATASETS.parse(address)
        reason = dataset.available(options.data_dir)
        if reason and not options.download:
            raise DatasetUnavailableError(reason)
        if reason:
            dataset.splits(options.data_dir, download=True)


def preload(plan: Plan) -> tuple[str, ...]:
    """Modules that the fork server loads once, so that a trial starts in milliseconds."""
    backbones = [BACKBONES.parse(backbone) for backbone in plan.suite.backbones]
    needs_timm = any(backbone.name == "timm" for backbone in backbones)
    needs_transformers = any(backbone.takes == "text" for backbone in backbones) and find_spec("transformers")
    # The console script imports harmbench.cli in every child; the fork server does it for all of them.
    return (
        "harmbench.runner.preload",
        "harmbench.cli",
        *(["harmbench.runner.preload_timm"] if needs_timm else []),
        *(["harmbench.runner.preload_transformers"] if needs_transformers else []),
    )


def header(plan: Plan) -> dict[str, Any]:
    """What run.json says of a plan."""
    return {
        "suite": plan.suite.model_dump(mode="json"),
        "planned": len(plan.trials),
        "excluded": [entry.model_dump() for entry in plan.excluded],
    }


def run(
    plan: Plan, options: RunOptions, source: Callable[[str], AbstractContextManager[EnergySource]] | None = None
) -> Generator[Started[Any] | Progress[Any] | TrialRecord | Summary]:
    """Run what is missing; yields starts, progress and records, and a `Summary` first and last.

    A record is in the store before it is yielded. Closing the iterator ends the trials in flight; the same call
    again goes on from there.

    Args:
        plan: what to run.
        options: where.
        source: opens the energy source of a device; CodeCarbon and the direct counters unless given.

    Raises:
        RunFolderError: where the folder cannot be used.
        DatasetUnavailableError: where data are missing.
    """
    began = time.perf_counter()
    prepare(plan, options)
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # cuda:0 is then the board that NVML calls 0
    with RunStore.open(options.folder, plan.key, header(plan)) as store:
        here = environment.capture(codecarbon_settings_from_outside=settings_from_outside())
        todo = [(order, spec) for order, spec in enumerate(plan.trials) if spec.id not in store.done]
        summary = Summary(planned=len(plan.trials), reused=len(plan.trials) - len(todo))
        yield summary
        if todo:
            store.append_environment(here)
            block = _Invocation(here["id"], options.idle_seconds, store, source or _instruments)
            spending = _Spending(plan, options, [spec for _, spec in todo], began) if options.budget else None
            block.spending = spending
            jobs = [
                functools.partial(_order, trials, plan.suite.artifacts, block, options) for trials in in_stacks(todo)
            ]
            executor: LocalExecutor[Any, tuple[TrialRecord, ...]] = LocalExecutor(
                task, options.devices, block.opened, preload(plan)
            )
            block.executor = executor
            ended: set[str] = set()
            try:
                with closing(executor.run(jobs)) as events:
                    for event in events:
                        if isinstance(event, Finished):
                            for record in event.result or _failed(event):
                                store.append(record)
                                if record.status != "failed":
                                    checkpoints.discard(options.folder, record.id)
                                ended.add(record.id)
                                summary.statuses[record.status] += 1
                                yield record
                        else:
                            yield event
            finally:
                if spending:
                    summary.budget = spending.record(block.id, ended)
                    summary.to_go = spending.to_go(ended)
                    store.append_budget(summary.budget)
        yield summary


@contextmanager
def _instruments(device: str) -> Iterator[EnergySource]:
    """CodeCarbon and the direct counters, for the machine and one device."""
    with instruments_for([device]) as source:
        yield source


class _Invocation:
    """The trials of one call: opens the source of each device, and keeps what it says at both ends.

    Args:
        environment: its id.
        idle_seconds: for how long idle power is measured at either end; 0 for not at all.
        store: takes the records.
        source: opens the energy source of a device.
    """

    def __init__(
        self,
        environment: str,
        idle_seconds: float,
        store: RunStore,
        source: Callable[[str], AbstractContextManager[EnergySource]],
    ) -> None:
        self.id = uuid.uuid4().hex[:12]
        self.executor: LocalExecutor[Any, tuple[TrialRecord, ...]] | None = (
            None  # it opens the sources, so it comes later
        )
        self.spending: _Spending | None = None
        self.environment = environment
        self._idle_seconds, self._store, self._source = idle_seconds, store, source

    @contextmanager
    def opened(self, device: str) -> Iterator[EnergySource]:
        """The source of a device; what it says goes into the store before it is handed out and after it is back."""
        with self._source(device) as source:
            self._note("start", device, source)
            yield source
            self._note("end", device, source)
            if self.spending:
                self.spending.read(device, source)

    def _note(self, moment: Literal["start", "end"], device: str, source: EnergySource) -> None:
        assert self.executor is not None
        if self.executor.stopping.is_set():
            return
        idle = None
        if self._idle_seconds or self.spending:
            self.executor.wait_until_loaded()  # loading torch is not idling, and no trial's cost
        if self._idle_seconds:
            idle = measure_idle(source, self._idle_seconds, wait=self.executor.stopping.wait)
        if idle and self.spending and moment == "start":
            self.spending.keep(idle)
        record = InvocationRecord(
            invocation=self.id,
            device=device,
            environment=self.environment,
            moment=moment,
            started=datetime.now(UTC).isoformat(timespec="milliseconds"),
            instruments=say_source(source, device) if moment == "start" else {},
            idle=idle,
        )
        self._store.append_invocation(record)


class _Spending:
    """What a call with a budget has spent, and whether the next trial may start.

    Args:
        plan: that is run.
        options: with a budget.
        todo: the trials without a record, in their order.
        began: when the call did.
    """

    def __init__(self, plan: Plan, options: RunOptions, todo: Sequence[TrialSpec], began: float) -> None:
        assert options.budget
        self.budget, self._plan, self._todo = options.budget, plan, todo
        self._began, self._started = began, datetime.now(UTC).isoformat(timespec="milliseconds")
        self._parts = charged(options.devices)
        self._joules: dict[str, dict[Component, float | None]] = {}  # by device
        self._methods: dict[Component, Method] = {}
        left = {spec.id for spec in todo}
        self._watch = budgets.Watch(
            self.budget,
            todo,
            begun={spec.seed for spec in plan.trials if spec.id not in left},
            known=budgets.taken(read(options.folder).trials, self.budget.unit),
            devices=len(options.devices),
        )

    def read(self, device: str, source: EnergySource) -> float | None:
        """What has been spent so far; None where that is not known."""
        if self.budget.unit == "s":
            return time.perf_counter() - self._began
        reading, origins = source.read(), source.origins()
        self._methods |= {c: origins[c].method for c in self._parts if c in origins and origins[c].method != "missing"}
        self._joules[device] = {c: reading.joules.get(c) for c in self._parts}
        return self._spent()

    def _spent(self) -> float | None:
        """Joules of all devices; the processor's are in every device's source, and counted once."""
        known = list(self._joules.values())
        if not known:
            return None
        processor = [joules["cpu"] for joules in known]
        boards = [joules["gpu"] for joules in known if "gpu" in joules]
        if None in processor or None in boards:
            return None
        return max((j for j in processor if j is not None), default=0.0) + sum(j for j in boards if j is not None)

    def keep(self, idle: IdleWindow) -> None:
        """Keep for the end what the idle window at the start took: another one comes there."""
        joules = sum(idle.joules.get(component) or 0.0 for component in self._parts)
        self._watch.reserve = max(self._watch.reserve, idle.seconds if self.budget.unit == "s" else joules)

    def allows(self, specs: Sequence[TrialSpec], device: str, source: EnergySource) -> bool:
        """Whether the trials of a process may start on a device now."""
        return self._watch.may_start(specs, device, self.read(device, source))

    def record(self, invocation: str, ended: Collection[str]) -> BudgetRecord:
        """What became of the budget, at the end of the call.

        Args:
            block: of the call.
            ended: ids of the trials that ended in it.
        """
        left = [spec for spec in self._todo if spec.id not in ended]
        spent = time.perf_counter() - self._began if self.budget.unit == "s" else self._spent()
        return BudgetRecord(
            invocation=invocation,
            asked=self.budget.text,
            unit=self.budget.unit,
            limit=self.budget.limit,
            spent=spent,
            methods=self._methods,
            started=self._started,
            trials=len(ended),
            left=len(left),
            stopped=(self._watch.stopped or "interrupted") if left else "",
            incomplete={seed: count for seed, (count, _) in budgets.incomplete(self._plan.trials, left).items()},
        )

    def to_go(self, ended: Collection[str]) -> float:
        """What the trials that are left are likely to take, in the budget's unit."""
        return self._watch.takes_all(spec for spec in self._todo if spec.id not in ended)


def say_source(source: EnergySource, device: str) -> dict[str, Any]:
    """The source's settings, origins and traps, and a short self-test."""
    if isinstance(source, Instruments):
        return diagnose([device], source).model_dump(mode="json")
    return source.describe()


Planned = tuple[int, TrialSpec]  # a trial, and its place in the plan


def in_stacks(trials: Sequence[Planned]) -> list[tuple[Planned, ...]]:
    """Trials by the process they run in: each its own, but for seeds of a cell that the protocol trains together.

    In the order of the first of each.
    """
    found: dict[tuple[str, int], list[Planned]] = {}
    for order, spec in trials:
        stack = spec.seed // spec.protocol.batched_seeds
        found.setdefault((spec.but(seed=0).id, stack), []).append((order, spec))
    return [tuple(stack) for stack in found.values()]


def _order(
    trials: tuple[Planned, ...],
    artifacts: tuple[Artifact, ...],
    block: _Invocation,
    options: RunOptions,
    device: str,
    source: EnergySource,
) -> dict[str, Any] | None:
    """A trial order as plain data: this process never imports torch. None where the budget does not allow it."""
    (order, spec), *beside = trials
    if block.spending and not block.spending.allows([spec for _, spec in trials], device, source):
        return None
    origins = source.origins()
    if len(options.devices) > 1:
        shared = EnergyOrigin(method="missing", detail="trials on several devices share it")
        origins = {**origins, "cpu": shared, "ram": shared}
    return {
        "spec": spec.to_plain(),
        "order": order,
        "siblings": [{"spec": other.to_plain(), "order": place} for place, other in beside],
        "device": device,
        "environment": block.environment,
        "invocation": block.id,
        "artifacts": artifacts,
        "folder": str(options.folder),
        "checkpoint_seconds": options.checkpoint_seconds,
        "data_dir": str(options.data_dir),
        "download": options.download,
        "energy_origins": {component: origin.to_plain() for component, origin in origins.items()},
    }


def task(job: dict[str, Any], link: Any) -> tuple[TrialRecord, ...]:
    """In the trials' process."""
    from harmbench.runner.trial import TrialJob, run_trial

    return run_trial(TrialJob.model_validate(job), link)


def _failed(event: Finished[dict[str, Any], tuple[TrialRecord, ...]]) -> tuple[TrialRecord, ...]:
    """What is recorded of the trials of a process that died."""
    asked = [event.job, *event.job["siblings"]]
    specs = [TrialSpec.from_plain(one["spec"]) for one in asked]
    return tuple(
        TrialRecord(
            id=spec.id,
            spec=spec,
            status="failed",
            reason=event.failure,
            traceback=event.traceback,
            order=one["order"],
            started=datetime.now(UTC).isoformat(timespec="milliseconds"),
            environment=event.job["environment"],
            invocation=event.job["invocation"],
            device=event.device,
        )
        for one, spec in zip(asked, specs, strict=True)
    )
