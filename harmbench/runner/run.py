"""The way from a plan to a full store.

run          this file: missing trials -> executor -> store
options      folder, devices and limits
jobs         planned trials -> jobs, and the records of trials whose process died
invocation   energy sources, idle windows, and their records
spending     the amount that an invocation with a budget has spent
"""

from __future__ import annotations

import functools
import os
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field
from typing import Any

from harmbench.datasets import DATASETS
from harmbench.energy.codecarbon import settings_from_outside
from harmbench.energy.source import EnergySource
from harmbench.errors import DatasetUnavailableError
from harmbench.executors import EXECUTORS, Finished, Progress, Session, Started
from harmbench.planning import environment
from harmbench.planning.budget import costs_by_cell
from harmbench.planning.plan import Plan
from harmbench.results.records import BudgetRecord, TrialRecord
from harmbench.results.store import RunStore, read
from harmbench.runner import checkpoints
from harmbench.runner.invocation import Invocation, instruments
from harmbench.runner.jobs import Planned, failed_records, group_seeds, make_job, preload, task
from harmbench.runner.options import RunOptions
from harmbench.runner.spending import Spending


@dataclass
class Summary:
    """What a run did.

    Attributes:
        planned: number of trials in the plan.
        reused: trials that had a record before.
        statuses: number of trials that ended in this invocation, by status.
        budget: what was spent, once the run has ended, if it had a budget.
        predicted: what the trials that are left would take, in the unit of the budget.
    """

    planned: int
    reused: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    budget: BudgetRecord | None = None
    predicted: float = 0.0

    @property
    def finished(self) -> int:
        """Trials of this plan that have a record now."""
        return self.reused + sum(self.statuses.values())


def prepare(plan: Plan, options: RunOptions) -> None:
    """Refuse what could only fail later, and download what may be downloaded, once for all trials.

    Raises:
        DatasetUnavailableError: if data are missing and may not, or cannot, be downloaded.
    """
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # cuda:0 is then the board that NVML calls 0
    for address in plan.suite.datasets:
        dataset = DATASETS.parse(address)
        reason = dataset.available(options.data_dir)
        if reason and not options.download:
            raise DatasetUnavailableError(reason)
        if reason:
            dataset.splits(options.data_dir, download=True)


def header(plan: Plan) -> dict[str, Any]:
    """The content of a run's header, run.json."""
    return {
        "suite": plan.suite.model_dump(mode="json"),
        "planned": len(plan.trials),
        "excluded": [entry.model_dump() for entry in plan.excluded],
    }


def run(
    plan: Plan,
    options: RunOptions,
    source: Callable[[str], AbstractContextManager[EnergySource]] = instruments,
) -> Generator[Started[Any] | Progress[Any] | TrialRecord | Summary]:
    """Run the trials that the store does not hold. Yields starts, progress and records, and a `Summary` first and last.

    A record is in the store before it is yielded. Closing the generator ends the trials in flight. Running again
    resumes.

    Args:
        plan: what to run.
        options: where and how.
        source: opens the energy source of a device.

    Raises:
        UnknownNameError: if there is no such executor.
        RunFolderError: if the folder cannot be used.
        DatasetUnavailableError: if data are missing.
    """
    began = time.perf_counter()
    executor = EXECUTORS.parse(options.executor)
    prepare(plan, options)
    with RunStore.open(options.folder, plan.key, header(plan)) as store:
        todo = [(index, spec) for index, spec in enumerate(plan.trials) if spec.id not in store.done]
        planned = len(plan.trials)
        summary = Summary(planned=planned, reused=planned - len(todo))
        here = environment.capture(codecarbon_settings_from_outside=settings_from_outside())
        yield summary
        if todo:
            store.append_environment(here)
            spending = _spending(plan, options, todo, began)
            invocation = Invocation(here["id"], options.idle_seconds, store, source, spending)
            session = executor.session(task, options.devices, invocation.opened, preload(plan))
            yield from _run_session(session, plan, options, invocation, store, todo, summary)
        yield summary


def _spending(plan: Plan, options: RunOptions, todo: Sequence[Planned], began: float) -> Spending | None:
    """The spending of an invocation, with the costs of stored trials. None without a budget."""
    if options.budget is None:
        return None
    costs = costs_by_cell(read(options.folder).trials, options.budget.unit)
    specs = [spec for _, spec in todo]
    return Spending(options.budget, plan.trials, specs, costs, options.devices, began)


def _run_session(
    session: Session[dict[str, Any], tuple[TrialRecord, ...]],
    plan: Plan,
    options: RunOptions,
    invocation: Invocation,
    store: RunStore,
    todo: Sequence[Planned],
    summary: Summary,
) -> Generator[Started[Any] | Progress[Any] | TrialRecord]:
    """Run the trials, and store each record at once."""
    makers = [
        functools.partial(make_job, group, plan.suite.artifacts, invocation, options) for group in group_seeds(todo)
    ]
    ended: set[str] = set()
    try:
        with closing(session.run(makers)) as events:
            for event in events:
                if not isinstance(event, Finished):
                    yield event
                    continue
                for record in event.result or failed_records(event):
                    store.append(record)
                    if record.status != "failed":
                        checkpoints.discard(options.folder, record.id)
                    ended.add(record.id)
                    summary.statuses[record.status] += 1
                    yield record
    finally:
        if invocation.spending:
            summary.budget = invocation.spending.record(invocation.id, ended)
            summary.predicted = invocation.spending.predicted(ended)
            store.append_budget(summary.budget)
