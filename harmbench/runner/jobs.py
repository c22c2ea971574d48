"""Jobs: plain data made from planned trials, the task that runs a job, and the records of jobs that died.

A job is plain data because the process of `run` never imports torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from harmbench.backbones import BACKBONES
from harmbench.energy.source import EnergySource
from harmbench.executors import Finished
from harmbench.planning.plan import Plan
from harmbench.results.records import Artifact, Component, EnergyOrigin, TrialRecord, TrialSpec
from harmbench.runner.options import RunOptions

if TYPE_CHECKING:
    from harmbench.runner.invocation import Invocation

Planned = tuple[int, TrialSpec]  # the index of a trial in the plan, and the trial


def group_seeds(trials: Sequence[Planned]) -> list[tuple[Planned, ...]]:
    """Trials grouped by the process that runs them, in the order of the first trial of each group.

    A trial is alone in its group unless the protocol trains several seeds of a cell in one batch.
    """
    groups: dict[tuple[str, int], list[Planned]] = {}
    for index, spec in trials:
        cell = spec.but(seed=0).id
        batch = spec.seed // spec.protocol.batched_seeds
        groups.setdefault((cell, batch), []).append((index, spec))
    return [tuple(group) for group in groups.values()]


def plain_job(
    group: Sequence[Planned], device: str, origins: dict[Component, EnergyOrigin], **more: Any
) -> dict[str, Any]:
    """A job as `harmbench.runner.trial.TrialJob` reads it.

    Args:
        group: trials that share a process.
        device: that runs them.
        origins: of the joules that they read.
        more: the other fields of a job.
    """
    (index, spec), *siblings = group
    return {
        "spec": spec.to_plain(),
        "order": index,
        "siblings": [{"spec": sibling.to_plain(), "order": place} for place, sibling in siblings],
        "device": device,
        "energy_origins": {component: origin.to_plain() for component, origin in origins.items()},
        **more,
    }


def trials_of(job: dict[str, Any]) -> tuple[Planned, ...]:
    """The planned trials of a job."""
    entries = [job, *job["siblings"]]
    return tuple((entry["order"], TrialSpec.from_plain(entry["spec"])) for entry in entries)


def make_job(
    group: tuple[Planned, ...],
    artifacts: tuple[Artifact, ...],
    invocation: Invocation,
    options: RunOptions,
    device: str,
    source: EnergySource,
) -> dict[str, Any] | None:
    """The job of a group of trials, or None if the budget does not allow it."""
    specs = [spec for _, spec in group]
    if invocation.spending and not invocation.spending.allows(specs, device, source):
        return None
    origins = source.origins()
    if len(options.devices) > 1:  # as `Session.reading` leaves these joules out
        shared = EnergyOrigin(method="missing", detail="trials on several devices share it")
        origins = {**origins, "cpu": shared, "ram": shared}
    return plain_job(
        group,
        device,
        origins,
        environment=invocation.environment,
        invocation=invocation.id,
        artifacts=artifacts,
        folder=str(options.folder),
        checkpoint_seconds=options.checkpoint_seconds,
        data_dir=str(options.data_dir),
        download=options.download,
    )


def task(job: dict[str, Any], link: Any) -> tuple[TrialRecord, ...]:
    """Run the trials of a job, in their own process."""
    from harmbench.runner.trial import TrialJob, run_trial

    return run_trial(TrialJob.model_validate(job), link)


def failed_records(event: Finished[dict[str, Any], tuple[TrialRecord, ...]]) -> tuple[TrialRecord, ...]:
    """The records of trials whose process died."""
    return tuple(
        TrialRecord(
            id=spec.id,
            spec=spec,
            status="failed",
            reason=event.failure,
            traceback=event.traceback,
            order=index,
            started=datetime.now(UTC).isoformat(timespec="milliseconds"),
            environment=event.job["environment"],
            invocation=event.job["invocation"],
            device=event.device,
        )
        for index, spec in trials_of(event.job)
    )


def preload(plan: Plan) -> tuple[str, ...]:
    """Modules that an executor loads once, so that a trial starts in milliseconds."""
    backbones = [BACKBONES.parse(backbone) for backbone in plan.suite.backbones]
    # The console script imports harmbench.cli in every child; the fork server does it for all of them.
    modules = ["harmbench.runner.preload", "harmbench.cli"]
    if any(backbone.name == "timm" for backbone in backbones):
        modules.append("harmbench.runner.preload_timm")
    if any(backbone.takes == "text" for backbone in backbones) and find_spec("transformers"):
        modules.append("harmbench.runner.preload_transformers")
    return tuple(modules)
