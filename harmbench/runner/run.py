"""The way from a plan to a full store."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harmbench import environment
from harmbench.datasets import DATASETS
from harmbench.devices import nvml_index
from harmbench.energy import CodeCarbonSource, EnergySource, settings_from_outside
from harmbench.errors import DatasetUnavailableError
from harmbench.executors import Finished, LocalExecutor, Progress, Started
from harmbench.plan import Plan
from harmbench.records import EnergyOrigin, TrialRecord, TrialSpec
from harmbench.store import RunStore


@dataclass(frozen=True)
class RunOptions:
    """Where a plan runs; none of it changes an outcome."""

    folder: Path
    devices: tuple[str, ...]
    data_dir: Path
    download: bool = False


@dataclass
class Summary:
    """What a run did."""

    planned: int
    reused: int = 0
    statuses: Counter[str] = field(default_factory=Counter)

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
    needs_timm = any(backbone.startswith("timm:") for backbone in plan.suite.backbones)
    return ("harmbench.runner.preload", *(["harmbench.runner.preload_timm"] if needs_timm else []))


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
        source: opens the energy source of a device; CodeCarbon unless given.

    Raises:
        RunFolderError: where the folder cannot be used.
        DatasetUnavailableError: where data are missing.
    """
    prepare(plan, options)
    with RunStore.open(options.folder, plan.key, header(plan)) as store:
        here = environment.capture(codecarbon_settings_from_outside=settings_from_outside())
        todo = [(order, spec) for order, spec in enumerate(plan.trials) if spec.id not in store.done]
        summary = Summary(planned=len(plan.trials), reused=len(plan.trials) - len(todo))
        yield summary
        if todo:
            store.append_environment(here)
            jobs = [functools.partial(_order, order, spec, here["id"], options) for order, spec in todo]
            executor: LocalExecutor[Any, TrialRecord] = LocalExecutor(
                _task, options.devices, source or codecarbon_for, preload(plan)
            )
            with closing(executor.run(jobs)) as events:
                for event in events:
                    if isinstance(event, Finished):
                        record = event.result or _failed(event)
                        store.append(record)
                        summary.statuses[record.status] += 1
                        yield record
                    else:
                        yield event
        yield summary


@contextmanager
def codecarbon_for(device: str) -> Iterator[EnergySource]:
    """CodeCarbon for the machine and one device."""
    index = nvml_index(device)
    with CodeCarbonSource(() if index is None else (index,)) as source:
        yield source


def _order(
    order: int, spec: TrialSpec, environment_id: str, options: RunOptions, device: str, source: EnergySource
) -> dict[str, Any]:
    """A trial order as plain data, so that this process never imports torch."""
    origins = source.origins()
    if len(options.devices) > 1:
        shared = EnergyOrigin(method="missing", detail="trials on several devices share it")
        origins = {**origins, "cpu": shared, "ram": shared}
    return {
        "spec": spec.model_dump(),
        "order": order,
        "device": device,
        "environment": environment_id,
        "data_dir": str(options.data_dir),
        "download": options.download,
        "energy_origins": {component: origin.model_dump() for component, origin in origins.items()},
    }


def _task(job: dict[str, Any], link: Any) -> TrialRecord:
    """In the trial's process."""
    from harmbench.runner.trial import TrialOrder, run_trial

    return run_trial(TrialOrder.model_validate(job), link)


def _failed(event: Finished[dict[str, Any], TrialRecord]) -> TrialRecord:
    spec = TrialSpec.model_validate(event.job["spec"])
    return TrialRecord(
        id=spec.id,
        spec=spec,
        status="failed",
        reason=event.failure,
        traceback=event.traceback,
        order=event.job["order"],
        started=datetime.now(UTC).isoformat(timespec="milliseconds"),
        environment=event.job["environment"],
        device=event.device,
    )
