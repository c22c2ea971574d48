"""One trial, or one group of sibling trials, from a job to records.

    job -> data -> models -> warm-up -> train -> test once -> analyze -> records

A group is the seeds of one cell that the protocol trains as one. Each sibling has its own validation, best state, test
and analysis. Seconds and joules belong to the whole group: each record has an equal share and a caveat that says so.

Everything is seeded inside, so a trial gives bit for bit the same result whatever else runs.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harmbench.backbones import BACKBONES
from harmbench.datasets import DATASETS, Splits
from harmbench.energy.caveats import caveats
from harmbench.errors import UsageError
from harmbench.executors import Link
from harmbench.meters import METERS, Outcome
from harmbench.nn import kernels
from harmbench.planning.environment import cpu_name
from harmbench.results import artifacts
from harmbench.results.records import (
    Artifact,
    Component,
    EnergyOrigin,
    EnergyReading,
    Protocol,
    Record,
    TrialRecord,
    TrialSpec,
)
from harmbench.runner.batched_learner import BatchedLearner, group_of
from harmbench.runner.checkpoint_manager import CheckpointManager, without_saved_state
from harmbench.runner.collect import collect
from harmbench.runner.held_out import analyze, count_flops
from harmbench.runner.learner import Learner
from harmbench.runner.machine import MachineWatch
from harmbench.runner.model import Classifier, build, derived_seed
from harmbench.runner.phase_timer import PhaseTimer, share
from harmbench.runner.prediction import Predicted, predict
from harmbench.runner.single_learner import SingleLearner, batch_parts
from harmbench.runner.targets import IGNORED, make_targets
from harmbench.runner.timing import synchronize
from harmbench.runner.training import Training
from harmbench.runner.warm_up import warm_up


class Sibling(Record):
    """Another trial of the same group, and its place in the plan."""

    spec: TrialSpec
    order: int


class TrialJob(Record):
    """A trial, and circumstances that cannot change its outcome.

    Attributes:
        order: place in the plan.
        siblings: other trials of the same group that are recorded with it.
        folder: the run's folder.
        checkpoint_seconds: between two checkpoints in that folder; 0 for no checkpoints.
    """

    spec: TrialSpec
    order: int
    siblings: tuple[Sibling, ...] = ()
    device: str
    environment: str
    data_dir: str
    download: bool
    energy_origins: dict[Component, EnergyOrigin]
    invocation: str = ""
    artifacts: tuple[Artifact, ...] = ()
    folder: str = ""
    checkpoint_seconds: float = 0.0

    def split(self) -> tuple[TrialJob, ...]:
        """Return one job for each trial."""
        job = self.model_copy(update={"siblings": ()})
        jobs = [job]
        for sibling in self.siblings:
            jobs.append(job.model_copy(update={"spec": sibling.spec, "order": sibling.order}))
        return tuple(jobs)


class SilentLink:
    """A link to no session: a trial that runs by itself reads no joules and reports to nobody."""

    def read_energy(self) -> EnergyReading:
        """No joules of any component."""
        return EnergyReading(joules={})

    def progress(self, step: int, steps: int) -> None:
        """Ignore the progress."""


def run_trial(job: TrialJob, link: Link, clock: Callable[[], float] = time.perf_counter) -> tuple[TrialRecord, ...]:
    """Run a trial and its siblings in this process.

    Args:
        job: the trials, and the device they run on.
        link: for joules and progress.
        clock: monotonic, in seconds, for the phases.

    Returns:
        One record for each trial, in the order of the job. A loss that is not finite gives the status `diverged`.

    Raises:
        Exception: any error of a component.
    """
    start = clock()
    started = datetime.now(UTC).isoformat(timespec="milliseconds")
    device = torch.device(job.device)
    protocol = job.spec.protocol
    phases = PhaseTimer(clock, link.read_energy, lambda: synchronize(device))
    phases.enter("load")
    machine = MachineWatch(device)
    configure_process(protocol, device)
    group = _Group(job, make_learner(job), phases)
    phases.enter("warm-up")
    machine.before()
    group.warm_up()
    checkpoints = checkpoint_manager(job)
    group.train(link.progress, checkpoints)
    phases.enter("analyze")
    results = group.results()
    machine_state = machine.after()
    phases.close()
    totals = phases.totals()
    telemetry = phases.telemetry()
    size = len(results)
    notes = list(caveats(totals, job.energy_origins, telemetry))
    notes += group_caveats(size, protocol.batched_seeds)
    if checkpoints:
        notes += checkpoints.caveats(without_saved_state(group.watchers[0], job.spec.meters))
    shared: dict[str, Any] = {
        "started": started,
        "environment": job.environment,
        "device": job.device,
        "energy_origins": job.energy_origins,
        "invocation": job.invocation,
        "kernels": group.kernels,
        "group_size": size,
        "machine": machine_state,
        "phases": tuple(share(phase, size) for phase in totals),
        "telemetry": telemetry,
        "caveats": tuple(notes),
        "wall_seconds": (phases.carried_seconds + clock() - start) / size,
    }
    return tuple(TrialRecord(**shared, **fields).checked() for fields in results)


class _Group:
    """The trials of a job from warm-up to results, each by its position in the learner.

    Args:
        job: of the trials.
        learner: their models. It may hold siblings that are not recorded.
        phases: books the phases of all trials together.
    """

    def __init__(self, job: TrialJob, learner: Learner, phases: PhaseTimer) -> None:
        self._job = job
        self._learner = learner
        self._phases = phases
        self._jobs = {learner.specs.index(trial.spec): trial for trial in job.split()}
        self.watchers = {
            position: [METERS.parse(meter).watcher() for meter in job.spec.meters] for position in self._jobs
        }
        self._predicted: dict[int, Predicted] = {}

    def warm_up(self) -> None:
        """Warm up, then note the kernels in use and compile what is to be compiled."""
        self._warmed = warm_up(self._learner)
        self.kernels = kernels_used(self._learner)
        if self._learner.protocol.compile:
            self._learner.compile()

    def train(self, on_progress: Callable[[int, int], None], checkpoints: CheckpointManager | None) -> None:
        """Train all models, then test the selected state of each one that has not diverged."""
        training = Training(self._learner, self.watchers, self._phases, on_progress, checkpoints)
        if checkpoints:
            resume(training, checkpoints)
        self._trained = training.run()
        for position, trained in self._trained.items():
            if trained.divergence is None:
                model = self._learner.models[position]
                splits = self._learner.splits[position]
                model.load_state_dict(trained.best_state)
                predicted = predict(model, splits.test_inputs, splits.test_targets, self._learner.protocol)
                self._predicted[position] = predicted

    def results(self) -> list[dict[str, Any]]:
        """Fields of each trial's record that belong to it alone, in the order of the job."""
        return [self._results_of(position, job) for position, job in self._jobs.items()]

    def _results_of(self, position: int, job: TrialJob) -> dict[str, Any]:
        model = self._learner.models[position]
        trained = self._trained[position]
        watchers = self.watchers[position]
        status = "diverged"
        if trained.divergence is None:
            status = "ok"
            outcome = self._outcome(position, job)
            measurements = [value for watcher in watchers for value in watcher.measurements(outcome)]
            keep_artifacts(job, model, outcome)
        else:
            measurements = [value for watcher in watchers for value in watcher.partial()]
        return {
            "id": job.spec.id,
            "spec": job.spec,
            "order": job.order,
            "status": status,
            "reason": str(trained.divergence or ""),
            "sizes": sizes(self._learner.splits[position], model),
            "measurements": tuple(measurements),
            "curve": tuple(trained.curve),
            "curves": tuple(curve for watcher in watchers for curve in watcher.curves()),
        }

    def _outcome(self, position: int, job: TrialJob) -> Outcome:
        """Return what the meters read. The model is in its selected state, and is analyzed only if a meter asks."""
        learner = self._learner
        trained = self._trained[position]
        predicted = self._predicted[position]
        model = learner.models[position]
        splits = learner.splits[position]
        protocol = learner.protocol
        dataset = DATASETS.parse(job.spec.dataset)
        embedding = BACKBONES.parse(job.spec.backbone).embedding(model.backbone)
        inputs, targets = learner.first_batch(position)
        batch_tokens = None
        if splits.token_bytes is not None:
            batch_tokens = splits.train_inputs[: learner.batch_size].numel()
        assert trained.best is not None
        return Outcome(
            protocol=protocol,
            batch_size=learner.batch_size,
            steps=len(trained.step_seconds),
            step_seconds=trained.step_seconds,
            batch_seconds=trained.batch_seconds,
            warm_up=self._warmed,
            curve=trained.curve,
            phases=self._phases.totals(),
            energy_origins=job.energy_origins,
            best=trained.best,
            test_logits=_on_cpu(predicted.logits),
            test_targets=predicted.targets.cpu(),
            test_nll=predicted.nll.cpu(),
            test_hits=predicted.hits.cpu(),
            token_bytes=_on_cpu(splits.token_bytes),
            batch_tokens=batch_tokens,
            device_name=_device_name(learner.device),
            held_out=functools.cache(functools.partial(analyze, model, splits, protocol)),
            count_flops=functools.cache(functools.partial(count_flops, model, inputs, targets, protocol)),
            embedding=None if embedding is None else embedding.detach(),
            structure=dataset.structure(),
            encoder=functools.cache(functools.partial(dataset.encoder, Path(job.data_dir))),
            group_size=len(self._jobs),
        )


def _on_cpu(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.cpu()


def _device_name(device: torch.device) -> str:
    """Name of the processor or GPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return cpu_name()


def make_learner(job: TrialJob) -> Learner:
    """Load the data and build the models of a job, on its device.

    Data are loaded once for all seeds, unless each seed draws a share of the training part.
    """
    device = torch.device(job.device)
    is_batched = job.spec.protocol.batched_seeds > 1
    specs: Sequence[TrialSpec] = (job.spec,)
    if is_batched:
        specs = group_of(job.spec)
    draws_share = DATASETS.parse(job.spec.dataset).train_fraction < 1
    loaded_specs = specs if draws_share else specs[:1]
    objective = BACKBONES.parse(job.spec.backbone).objective
    splits = []
    for spec in loaded_specs:
        data = load(job.model_copy(update={"spec": spec}))
        splits.append(make_targets(data, objective).to(device))
    splits *= len(specs) // len(splits)
    models = [build(spec, splits[0].input_shape, splits[0].num_classes).to(device) for spec in specs]
    if is_batched:
        return BatchedLearner(specs, models, splits)
    return SingleLearner(specs, models, splits)


def load(job: TrialJob) -> Splits:
    """Load the trial's data. The drawn share of the training part depends on (seed, dataset, backbone)."""
    dataset = DATASETS.parse(job.spec.dataset)
    return dataset.load(Path(job.data_dir), job.download, derived_seed(job.spec, "share"))


def checkpoint_manager(job: TrialJob) -> CheckpointManager | None:
    """Return the checkpoint manager of a single trial, or None where no checkpoints are written."""
    if not job.checkpoint_seconds or job.spec.protocol.batched_seeds > 1:
        return None
    return CheckpointManager(Path(job.folder), job.spec.id, job.checkpoint_seconds, job.environment)


def resume(training: Training, checkpoints: CheckpointManager) -> None:
    """Resume from the trial's checkpoint, if there is one.

    Raises:
        UsageError: for a checkpoint that does not fit the trial, which is then set aside.
    """
    state = checkpoints.read()
    if state is None:
        return
    try:
        training.resume_from(state)
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        checkpoints.set_aside("it does not fit the trial")
        raise UsageError(
            "its checkpoint did not fit and is set aside; run the same command to start the trial from the beginning"
        ) from error


def keep_artifacts(job: TrialJob, model: Classifier, outcome: Outcome) -> None:
    """Write the arrays that the suite keeps for plots into the run's folder."""
    if job.artifacts:
        arrays = collect(job.artifacts, DATASETS.parse(job.spec.dataset), model, outcome)
        artifacts.save(Path(job.folder), job.spec.id, arrays)


def group_caveats(group_size: int, batched_seeds: int) -> Iterator[str]:
    """Caveat on the seconds and joules of batched seeds."""
    if batched_seeds <= 1:
        return
    caveat = f"seconds and joules are an equal share of those of {group_size} trial(s) of one group"
    if group_size != batched_seeds:
        caveat += f", of {batched_seeds} that were trained"
    yield caveat


def kernels_used(learner: Learner) -> dict[str, str]:
    """Status of the kernels on this machine, and what computes head and loss of a batch.

    Drops file paths from the status, and keeps the message when no library was built.
    """
    status = {name: message for name, message in kernels.status().items() if not Path(message).is_file()}
    inputs, targets = learner.first_batch(0)
    _, targets, _ = next(batch_parts(inputs, targets, learner.protocol))
    rows = int((targets != IGNORED).sum())  # rows of features that the head sees at a time
    return {**status, "head and loss": learner.models[0].how(rows), **learner.kernels()}


def sizes(splits: Splits, model: Classifier) -> dict[str, int]:
    """Numbers of samples, classes and parameters, and of a text's selected tokens."""
    parts = {"train": splits.train_targets, "validation": splits.validation_targets, "test": splits.test_targets}
    numbers: dict[str, int] = {}
    for part, targets in parts.items():
        if targets.ndim == 2:
            numbers[f"{part}_tokens"] = int((targets != IGNORED).sum())
    for part, targets in parts.items():
        numbers[part] = len(targets)
    return numbers | {
        "classes": splits.num_classes,
        "parameters": sum(p.numel() for p in model.parameters()),
        "head_parameters": sum(p.numel() for p in model.head.parameters()),
    }


def configure_process(protocol: Protocol, device: torch.device) -> None:
    """Set threads, determinism and the device of this process."""
    torch.set_num_threads(protocol.threads)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it, cuBLAS has no deterministic algorithms
    torch.use_deterministic_algorithms(protocol.deterministic)
    # Filling takes a tenth of a step, and no result reads uninitialized memory.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    if device.type == "cuda":
        torch.cuda.set_device(device)
