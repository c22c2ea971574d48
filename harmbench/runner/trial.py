"""One trial: seed -> data -> backbone + head -> loss -> meters -> train -> select -> test once -> analyze.

Everything is seeded inside, so a trial alone gives bit for bit what it gives in company.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from harmbench.backbones import BACKBONES
from harmbench.datasets import DATASETS, Splits
from harmbench.energy.caveats import caveats
from harmbench.errors import UsageError
from harmbench.meters import METERS, Outcome, WarmUp, Watcher
from harmbench.nn import kernels
from harmbench.planning.environment import cpu_name
from harmbench.results import artifacts
from harmbench.results.records import (
    Artifact,
    Component,
    Curve,
    EnergyOrigin,
    EnergyReading,
    Protocol,
    Record,
    TrialRecord,
    TrialSpec,
)
from harmbench.runner.checkpoint_manager import CheckpointManager, blind
from harmbench.runner.collect import collect
from harmbench.runner.held_out import analyze, count_flops
from harmbench.runner.machine import MachineWatch
from harmbench.runner.model import Classifier, build, derived_seed
from harmbench.runner.phase_timer import PhaseTimer
from harmbench.runner.targets import IGNORED, Asking, asking, posed
from harmbench.runner.timing import synchronize
from harmbench.runner.train import (
    DivergedError,
    Predicted,
    Trained,
    Training,
    compile_backbone,
    parts,
    predict,
    warm_up,
)


class Beside(Record):
    """A further trial of the same stack, and its place in the plan."""

    spec: TrialSpec
    order: int


class TrialJob(Record):
    """A trial and the circumstances that cannot change its outcome.

    Attributes:
        beside: the other trials to be recorded of its stack, where the protocol trains seeds together.
        folder: of the run.
        checkpoint_seconds: between two checkpoints in that folder; 0 for none.
    """

    spec: TrialSpec
    order: int
    beside: tuple[Beside, ...] = ()
    device: str
    environment: str
    data_dir: str
    download: bool
    energy_origins: dict[Component, EnergyOrigin]
    invocation: str = ""
    artifacts: tuple[Artifact, ...] = ()
    folder: str = ""
    checkpoint_seconds: float = 0.0

    def each(self) -> tuple[TrialJob, ...]:
        """An order for each of the trials alone."""
        own = self.model_copy(update={"beside": ()})
        others = (own.model_copy(update={"spec": other.spec, "order": other.order}) for other in self.beside)
        return (own, *others)


class Link:
    """What a trial may ask of whoever runs it."""

    def read_energy(self) -> EnergyReading:
        """Joules since some start."""
        return EnergyReading(joules={})

    def progress(self, step: int, steps: int) -> None:
        """Told after each validation."""


def run_trial(order: TrialJob, link: Link, clock: Callable[[], float] = time.perf_counter) -> TrialRecord:
    """Run one trial in this process and say what became of it.

    Args:
        order: the trial, and where it runs.
        link: for joules and progress.
        clock: monotonic, in seconds, for the phases.

    Raises:
        whatever a component raises; a loss that is not finite is no error but the status `diverged`.
    """
    begun = clock()
    spec, device = order.spec, torch.device(order.device)
    started = datetime.now(UTC).isoformat(timespec="milliseconds")
    ledger = PhaseTimer(clock, link.read_energy, lambda: synchronize(device))
    ledger.enter("load")
    machine = MachineWatch(device)
    settle(spec, device)
    watchers = [METERS.parse(meter).watcher() for meter in spec.meters]
    kind = BACKBONES.parse(spec.backbone)
    splits = posed(load(order), kind.objective).to(device)
    ask = asking(kind.objective, splits, derived_seed(spec, "questions"))
    model = build(spec, splits.input_shape, splits.num_classes).to(device)
    ledger.enter("warm-up")
    machine.before()
    warmed = warm_up(model, splits, spec.protocol, ask)
    known: dict[str, Any] = {
        "id": spec.id,
        "spec": spec,
        "order": order.order,
        "started": started,
        "environment": order.environment,
        "device": order.device,
        "energy_origins": order.energy_origins,
        "invocation": order.invocation,
        "kernels": kernels_used(model, rows_of(ask, splits, spec.protocol)),
        "sizes": sizes(splits, model),
    }
    if spec.protocol.compile:
        compile_backbone(model)
    checkpoints = keeper_of(order)
    training = Training(spec, model, splits, watchers, ledger, link.progress, checkpoints)
    if checkpoints:
        go_on(training, checkpoints)
    try:
        trained = training.run()
    except DivergedError as end:
        ledger.enter("analyze")
        values = [value for watcher in watchers for value in watcher.partial()]
        known |= {"status": "diverged", "reason": str(end), "curve": training.curve}
    else:
        model.load_state_dict(trained.best_state)
        predicted = predict(model, splits.test_inputs, splits.test_targets, spec.protocol)
        ledger.enter("analyze")
        outcome = outcome_of(order, splits, model, warmed, trained, ledger, predicted, ask)
        values = [value for watcher in watchers for value in watcher.measurements(outcome)]
        keep_artifacts(order, model, outcome)
        known |= {"status": "ok", "curve": tuple(trained.curve)}
    known |= {"measurements": tuple(values), "curves": curves(watchers), "machine": machine.after()}
    ledger.close()
    known |= spent(ledger, order)
    if checkpoints:
        known["caveats"] += tuple(checkpoints.caveats(blind(watchers, spec.meters)))
    return TrialRecord(**known, wall_seconds=ledger.carried_seconds + clock() - begun).checked()


def keeper_of(order: TrialJob) -> CheckpointManager | None:
    """Of the trial's checkpoints; None where none are asked for."""
    if not order.checkpoint_seconds:
        return None
    return CheckpointManager(Path(order.folder), order.spec.id, order.checkpoint_seconds, order.environment)


def go_on(training: Training, checkpoints: CheckpointManager) -> None:
    """Go on from the trial's checkpoint, where there is one.

    Raises:
        UsageError: where it does not fit the trial; it is set aside by then.
    """
    state = checkpoints.read()
    if state is None:
        return
    try:
        training.resume_from(state)
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        checkpoints.set_aside("it does not fit the trial")
        raise UsageError(
            "its checkpoint did not fit and is set aside; the same command starts the trial anew"
        ) from error


def outcome_of(
    order: TrialJob,
    splits: Splits,
    model: Classifier,
    warmed: WarmUp,
    trained: Trained,
    ledger: PhaseTimer,
    predicted: Predicted,
    ask: Asking,
    group_size: int = 1,
) -> Outcome:
    """What the meters read; the model is in its selected state, and is looked at only where a meter asks."""
    protocol = order.spec.protocol
    size = min(protocol.batch_size, len(splits.train_targets))
    on_cuda = splits.train_inputs.device.type == "cuda"
    batch = ask(splits.train_inputs[:size], splits.train_targets[:size], 0)
    assert trained.best is not None
    embedding = BACKBONES.parse(order.spec.backbone).embedding(model.backbone)
    dataset = DATASETS.parse(order.spec.dataset)
    return Outcome(
        protocol=protocol,
        batch_size=size,
        steps=len(trained.step_seconds),
        step_seconds=trained.step_seconds,
        batch_seconds=trained.batch_seconds,
        warm_up=warmed,
        curve=trained.curve,
        phases=ledger.totals(),
        energy_origins=order.energy_origins,
        best=trained.best,
        test_logits=None if predicted.logits is None else predicted.logits.cpu(),
        test_targets=predicted.targets.cpu(),
        test_nll=predicted.nll.cpu(),
        test_hits=predicted.hits.cpu(),
        token_bytes=None if splits.token_bytes is None else splits.token_bytes.cpu(),
        batch_tokens=splits.train_inputs[:size].numel() if splits.token_bytes is not None else None,
        device_name=torch.cuda.get_device_name(order.device) if on_cuda else cpu_name(),
        held_out=functools.cache(functools.partial(analyze, model, splits, protocol)),
        count_flops=functools.cache(functools.partial(count_flops, model, *batch, protocol)),
        embedding=None if embedding is None else embedding.detach(),
        structure=dataset.structure(),
        encoder=functools.cache(functools.partial(dataset.encoder, Path(order.data_dir))),
        group_size=group_size,
    )


def keep_artifacts(order: TrialJob, model: Classifier, outcome: Outcome) -> None:
    """Write what the suite wants kept for plots into the run's folder."""
    if order.artifacts:
        found = collect(order.artifacts, DATASETS.parse(order.spec.dataset), model, outcome)
        artifacts.save(Path(order.folder), order.spec.id, found)


def curves(watchers: Sequence[Watcher]) -> tuple[Curve, ...]:
    """What the watchers followed over the steps."""
    return tuple(curve for watcher in watchers for curve in watcher.curves())


def spent(ledger: PhaseTimer, order: TrialJob) -> dict[str, Any]:
    """What the trial took, what the GPU said meanwhile, and what to know about both."""
    phases, telemetry = ledger.totals(), ledger.telemetry()
    return {"phases": phases, "telemetry": telemetry, "caveats": caveats(phases, order.energy_origins, telemetry)}


def load(order: TrialJob) -> Splits:
    """The trial's data; which share of the training part is drawn depends on (seed, dataset, backbone)."""
    dataset = DATASETS.parse(order.spec.dataset)
    return dataset.load(Path(order.data_dir), order.download, derived_seed(order.spec, "share"))


def kernels_used(model: Classifier, rows: int) -> dict[str, str]:
    """What there is here, and what computes head and loss of a batch.

    Where the library lies is nobody's business, that there is none is.
    """
    there = {what: said for what, said in kernels.status().items() if not Path(said).is_file()}
    return {**there, "head and loss": model.how(rows)}


def rows_of(ask: Asking, splits: Splits, protocol: Protocol) -> int:
    """How many rows of features the head sees at a time."""
    size = min(protocol.batch_size, len(splits.train_targets))
    batch = ask(splits.train_inputs[:size], splits.train_targets[:size], 0)
    _, targets, _ = next(parts(*batch, protocol))
    return int((targets != IGNORED).sum())


def sizes(splits: Splits, model: Classifier) -> dict[str, int]:
    """Numbers of samples, classes and parameters; of text, of the tokens that are asked for too."""
    parts = {"train": splits.train_targets, "validation": splits.validation_targets, "test": splits.test_targets}
    asked = {f"{part}_tokens": int((targets != IGNORED).sum()) for part, targets in parts.items() if targets.ndim == 2}
    return asked | {
        "train": len(splits.train_targets),
        "validation": len(splits.validation_targets),
        "test": len(splits.test_targets),
        "classes": splits.num_classes,
        "parameters": sum(p.numel() for p in model.parameters()),
        "head_parameters": sum(p.numel() for p in model.head.parameters()),
    }


def settle(spec: TrialSpec, device: torch.device) -> None:
    """Threads and determinism of this process."""
    torch.set_num_threads(spec.protocol.threads)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it, cuBLAS has no deterministic algorithms
    torch.use_deterministic_algorithms(spec.protocol.deterministic)
    # It costs a tenth of a step, and no result reads uninitialized memory.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    if device.type == "cuda":
        torch.cuda.set_device(device)
