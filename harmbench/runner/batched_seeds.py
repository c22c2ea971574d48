"""Seeds in lockstep: the trials of one cell whose seeds the protocol trains together, as one stack, in one process.

A stack is that of seeds kN .. kN + N - 1, N being the protocol's `batched_seeds`; each seed has its place in it. All N
are always built and trained, and those that were asked for are recorded. So every operation has the same shape, with
the same seed at the same place, and a seed comes out bit for bit the same whatever others are recorded with it. Models
never mix (see `stack`): one that diverges is dropped from what follows, and the rest take no notice.

Initialization, order of the data and the drawn share of it are those of each seed alone. Dropout and noisy distances
draw from one generator for all places, that of the stack's first seed. Validation, choice of the best state, test and
examination are each seed's own, the last two with the code of a trial alone.

Seconds and joules belong to all together: each record has an equal share of them in its phases and in its curve, and
says so; a measure of what a trial took is missing.
"""

from __future__ import annotations

import copy
import functools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import torch
from torch import Tensor

from harmbench.backbones import BACKBONES
from harmbench.datasets import DATASETS, Splits
from harmbench.energy.caveats import caveats
from harmbench.meters import METERS, Step, Validation, WarmUp, Watcher
from harmbench.results.records import CurvePoint, PhaseTotal, Protocol, TrialRecord, TrialSpec
from harmbench.runner.batches import batch_indices
from harmbench.runner.machine import MachineWatch
from harmbench.runner.model import build, derived_seed, free_of_decay, optimizer_of, set_learning_rate
from harmbench.runner.phase_timer import PhaseTimer
from harmbench.runner.stack import Stack
from harmbench.runner.targets import as_they_are, posed
from harmbench.runner.timing import StepTimer, is_settled, synchronize
from harmbench.runner.train import (
    EVALUATION_BATCH,
    LOSS_CHECK_STEPS,
    DivergedError,
    Trained,
    evaluation_steps,
    next_due,
    precision,
    predict,
    show,
)
from harmbench.runner.trial import (
    Link,
    TrialJob,
    curves,
    keep_artifacts,
    kernels_used,
    load,
    outcome_of,
    rows_of,
    settle,
    sizes,
)

AHEAD = 64  # steps whose batches are drawn at a time


def stack_of(spec: TrialSpec) -> tuple[TrialSpec, ...]:
    """The trials of a stack, by their places."""
    count = spec.protocol.batched_seeds
    first = spec.seed - spec.seed % count
    return tuple(spec.but(seed=first + place) for place in range(count))


def run_together(
    order: TrialJob, link: Link, clock: Callable[[], float] = time.perf_counter
) -> tuple[TrialRecord, ...]:
    """Run a stack in this process and say what became of the trials that were asked for.

    Args:
        order: the first of them, with the others beside it.
        link: for joules and progress.
        clock: monotonic, in seconds, for the phases.

    Raises:
        whatever a component raises; a loss that is not finite is no error but the status `diverged`.
    """
    begun = clock()
    specs, device = stack_of(order.spec), torch.device(order.device)
    orders = {specs.index(own.spec): own for own in order.each()}
    protocol, group_size = order.spec.protocol, len(orders)
    started = datetime.now(UTC).isoformat(timespec="milliseconds")
    ledger = PhaseTimer(clock, link.read_energy, lambda: synchronize(device))
    ledger.enter("load")
    machine = MachineWatch(device)
    settle(order.spec, device)
    watchers = {place: [METERS.parse(meter).watcher() for meter in order.spec.meters] for place in orders}
    splits = [part.to(device) for part in load_all(order, specs)]
    models = [build(spec, splits[0].input_shape, splits[0].num_classes).to(device) for spec in specs]
    stack = Stack(models)
    data = Data(splits)
    ledger.enter("warm-up")
    machine.before()
    warmed = warm_up(stack, data, protocol)
    known: dict[str, Any] = {
        "started": started,
        "environment": order.environment,
        "device": order.device,
        "energy_origins": order.energy_origins,
        "invocation": order.invocation,
        "kernels": kernels_used(models[0], rows_of(as_they_are, splits[0], protocol)) | {"stack": stack.how()},
        "group_size": group_size,
    }
    training = BatchedTraining(specs, stack, data, watchers, ledger, link.progress)
    trained = training.run()
    predicted = {}
    for place in orders.keys() - training.diverged.keys():
        models[place].load_state_dict(trained[place].best_state)
        predicted[place] = predict(models[place], splits[place].test_inputs, splits[place].test_targets, protocol)
    ledger.enter("analyze")
    found: list[dict[str, Any]] = []
    for place, own in orders.items():
        one = {"id": own.spec.id, "spec": own.spec, "order": own.order, "sizes": sizes(splits[place], models[place])}
        if (end := training.diverged.get(place)) is not None:
            values = [value for watcher in watchers[place] for value in watcher.partial()]
            one |= {"status": "diverged", "reason": str(end)}
        else:
            outcome = outcome_of(
                own,
                splits[place],
                models[place],
                warmed,
                trained[place],
                ledger,
                predicted[place],
                as_they_are,
                group_size,
            )
            values = [value for watcher in watchers[place] for value in watcher.measurements(outcome)]
            keep_artifacts(own, models[place], outcome)
            one |= {"status": "ok"}
        curve = tuple(trained[place].curve)
        found.append(one | {"measurements": tuple(values), "curve": curve, "curves": curves(watchers[place])})
    known["machine"] = machine.after()
    ledger.close()
    phases, telemetry = ledger.totals(), ledger.telemetry()
    known |= {
        "phases": tuple(share(phase, group_size) for phase in phases),
        "telemetry": telemetry,
        "caveats": (
            *caveats(phases, order.energy_origins, telemetry),
            *said_of_shares(group_size, protocol.batched_seeds),
        ),
        "wall_seconds": (clock() - begun) / group_size,
    }
    return tuple(TrialRecord(**known, **one).checked() for one in found)


def said_of_shares(group_size: int, count: int) -> Iterator[str]:
    """What to know about seconds and joules of a record."""
    of = "" if group_size == count else f", of {count} that were trained"
    yield f"seconds and joules are an equal share of those of {group_size} trial(s) recorded of one stack{of}"


def share(phase: PhaseTotal, group_size: int) -> PhaseTotal:
    """An equal part of a phase that trials spent together."""
    return phase.but(
        seconds=phase.seconds / group_size,
        joules=_shared(phase.joules, group_size),
        direct=_shared(phase.direct, group_size),
    )


def _shared(joules: Mapping[Any, float | None], group_size: int) -> dict[Any, float | None]:
    return {component: None if j is None else j / group_size for component, j in joules.items()}


def load_all(order: TrialJob, specs: Sequence[TrialSpec]) -> list[Splits]:
    """The data of each place; loaded once where no share of the training part is drawn."""
    objective = BACKBONES.parse(order.spec.backbone).objective
    if DATASETS.parse(order.spec.dataset).train_fraction == 1:
        return [posed(load(order), objective)] * len(specs)
    return [posed(load(order.model_copy(update={"spec": spec})), objective) for spec in specs]


class Data:
    """Training parts of all places, which are one and the same where no share is drawn, and the validation part.

    Args:
        splits: of each place, on the device.
    """

    def __init__(self, splits: Sequence[Splits]) -> None:
        first = splits[0]
        self.size, self.places = len(first.train_targets), len(splits)
        self.is_one = all(part.train_inputs is first.train_inputs for part in splits)
        parts = splits[:1] if self.is_one else splits
        self._inputs = torch.cat([part.train_inputs for part in parts])
        self._targets = torch.cat([part.train_targets for part in parts])
        self.offsets = torch.arange(self.places)[:, None] * (0 if self.is_one else self.size)
        self.validation = first.validation_inputs, first.validation_targets
        self.device = first.train_inputs.device

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs (S, B, ...) and targets (S, B) of rows (S, B), counted over all training parts."""
        rows = rows.to(self.device)
        return self._inputs[rows], self._targets[rows]

    def training_part(self) -> tuple[Tensor, Tensor]:
        """The training parts (S, M, ...) and (S, M)."""
        return self.batch(torch.arange(self.size) + self.offsets)


def rows_of_steps(data: Data, protocol: Protocol, steps: int, seeds: Sequence[int]) -> Iterator[Tensor]:
    """Rows (S, B) of each step's batches: to each place those that `batch_indices` gives it."""
    streams = [batch_indices(data.size, protocol.batch_size, steps, seed) for seed in seeds]
    for start in range(0, steps, AHEAD):
        count = min(AHEAD, steps - start)
        drawn = [torch.stack([next(stream) for _ in range(count)]) for stream in streams]
        yield from torch.stack(drawn, 1) + data.offsets


def stacked_step(
    stack: Stack, optimizer: torch.optim.Optimizer, inputs: Tensor, targets: Tensor, protocol: Protocol
) -> tuple[Tensor, Tensor | None]:
    """One optimizer step of all; their losses (S,), and the gradient norms (S,) before clipping, if it clips."""
    optimizer.zero_grad(set_to_none=True)
    with precision(inputs, protocol):
        losses = stack.losses(inputs, targets)
    losses.sum().backward()  # type: ignore[no-untyped-call]
    norms = None if protocol.grad_clip is None else clip(stack, protocol.grad_clip)
    optimizer.step()
    return losses.detach(), norms


def clip(stack: Stack, most: float) -> Tensor:
    """Scale each model's gradients to a norm of at most `most`, as `clip_grad_norm_` does; the norms before, (S,)."""
    gradients = [p.grad for p in stack.parameters.values() if p.grad is not None]
    each = [torch.linalg.vector_norm(gradient.reshape(len(gradient), -1), dim=1) for gradient in gradients]
    norms: Tensor = torch.linalg.vector_norm(torch.stack(each, 1), dim=1)
    scale = (most / (norms + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(scale.view(-1, *[1] * (gradient.ndim - 1)))
    return norms


def warm_up(stack: Stack, data: Data, protocol: Protocol) -> WarmUp:
    """Steps and one validation block on a copy that is thrown away, as for a trial alone."""
    throwaway = Stack([copy.deepcopy(model) for model in stack.models])
    optimizer = optimizer_of(throwaway.parameters, free_of_decay(throwaway.models[0], protocol), protocol)
    most = max(protocol.warmup_steps, protocol.warmup_max_steps) if protocol.warmup_steps else 0
    seconds: list[float] = []
    inputs, targets = data.batch(torch.arange(min(protocol.batch_size, data.size)) + data.offsets)
    while len(seconds) < most and not (len(seconds) >= protocol.warmup_steps and is_settled(seconds)):
        start = time.perf_counter()
        stacked_step(throwaway, optimizer, inputs, targets, protocol)
        synchronize(data.device)
        seconds.append(time.perf_counter() - start)
    if most:
        inputs, targets = data.validation
        marks(throwaway, inputs[:EVALUATION_BATCH], targets[:EVALUATION_BATCH], protocol)
    return WarmUp(len(seconds), is_settled(seconds))


def marks(stack: Stack, inputs: Tensor, targets: Tensor, protocol: Protocol) -> tuple[list[float], list[float]]:
    """Accuracy and mean NLL of each model, in evaluation mode and in blocks; the mode is put back.

    Args:
        stack: of the models.
        inputs, targets: (S, M, ...) and (S, M), or those of all, (M, ...) and (M,).
        protocol: says the precision.
    """
    was_training, places = stack.models[0].training, len(stack.models)
    if targets.ndim == 1:
        inputs, targets = inputs.expand(places, *inputs.shape), targets.expand(places, -1)
    stack.train(False)
    hits, nll = [], []
    with torch.no_grad(), precision(inputs, protocol):
        blocks = (torch.split(part, EVALUATION_BATCH, 1) for part in (inputs, targets))
        for block, wanted in zip(*blocks, strict=True):
            logits = stack.logits(block)
            flat = torch.nn.functional.cross_entropy(logits.double().flatten(0, 1), wanted.flatten(), reduction="none")
            nll.append(flat.view(wanted.shape))
            hits.append(logits.argmax(-1) == wanted)
    stack.train(was_training)
    return torch.cat(hits, 1).double().mean(1).tolist(), torch.cat(nll, 1).mean(1).tolist()


class BatchedTraining:
    """Trains a stack in place, in the phases `train` and `evaluate` by turns.

    Args:
        specs: of all places.
        stack: of their models.
        data: of all places.
        watchers: of the places that are recorded; each sees the steps of its own.
        ledger: books the phases; the last one, `evaluate`, is left open.
        on_progress: told (step, steps) after each validation.

    Attributes:
        diverged: the places that did, of those that are recorded.
    """

    def __init__(
        self,
        specs: Sequence[TrialSpec],
        stack: Stack,
        data: Data,
        watchers: Mapping[int, Sequence[Watcher]],
        ledger: PhaseTimer,
        on_progress: Callable[[int, int], None],
    ) -> None:
        self._specs, self._stack, self._data, self._watchers = specs, stack, data, watchers
        self._protocol = specs[0].protocol
        self._ledger, self._on_progress = ledger, on_progress
        self._steps = self._protocol.budget(data.size)
        free = free_of_decay(stack.models[0], self._protocol)
        self._optimizer = optimizer_of(stack.parameters, free, self._protocol)
        self._timer = StepTimer(data.device, borders=3)
        self._step_watchers = {
            place: [each for each in its if type(each).on_step is not Watcher.on_step]
            for place, its in watchers.items()
        }
        self._due = math.inf  # until the watchers have started
        self._learned = [list(model.parameters()) for model in stack.models]
        self._of_heads = [[*model.head.parameters(), *model.objective.parameters()] for model in stack.models]
        self._embedding = BACKBONES.parse(specs[0].backbone).embedding
        self._losses: list[Tensor] = []  # since the last validation, (S,) each
        self._checked = 0
        self._trained = {place: Trained() for place in watchers}
        self.diverged: dict[int, DivergedError] = {}

    @property
    def _active(self) -> list[int]:
        """The places that are recorded and still trained."""
        return [place for place in self._watchers if place not in self.diverged]

    def run(self) -> dict[int, Trained]:
        """Take all steps, or as many as it takes until the last of those that are recorded has diverged."""
        for _ in self.windows():
            pass
        steps, batches = self._timer.seconds(0, 2), self._timer.seconds(0, 1)
        for trained in self._trained.values():
            trained.step_seconds, trained.batch_seconds = steps, batches
        return self._trained

    def windows(self) -> Iterator[int]:
        """Train up to each validation in turn, and validate; in between, others may have the machine."""
        protocol, stops = self._protocol, evaluation_steps(self._steps, self._protocol.evaluations)
        torch.manual_seed(derived_seed(self._specs[0], "train"))
        orders = [derived_seed(spec, "order") for spec in self._specs]
        self._stack.train(True)
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.on_start(self._data.device)
        self._due = self._next_due()
        for step, rows in enumerate(rows_of_steps(self._data, protocol, self._steps, orders), start=1):
            if step == 1 or step - 1 in stops:
                self._ledger.enter("train")
            self._take(step, rows)
            if step in stops or len(self._losses) - self._checked == LOSS_CHECK_STEPS:
                self._check_losses(step)
            if not self._active:
                self._ledger.enter("evaluate")
                return
            if step in stops:
                self._ledger.enter("evaluate")
                self._validate(step, step * rows.shape[1] / self._data.size)
                yield step

    def _take(self, step: int, rows: Tensor) -> None:
        set_learning_rate(self._optimizer, self._protocol, step, self._steps)
        self._timer.mark()
        inputs, targets = self._data.batch(rows)
        self._timer.mark()
        losses, norms = stacked_step(self._stack, self._optimizer, inputs, targets, self._protocol)
        self._timer.mark()
        self._losses.append(losses)
        if step >= self._due:
            self._stack.show_gradients()
            for place in self._active:
                norm = None if norms is None else norms[place]
                seen = Step(step, losses[place], self._learned[place], norm, self._of_heads[place])
                show(seen, self._step_watchers[place])
            self._due = self._next_due()

    def _next_due(self) -> float:
        return min((next_due(watchers) for watchers in self._step_watchers.values()), default=math.inf)

    def _check_losses(self, step: int) -> None:
        fresh = torch.stack(self._losses[self._checked :]).tolist()
        first = step - len(fresh) + 1
        for place in self._active:
            own = [losses[place] for losses in fresh]
            for watcher in self._watchers[place]:
                watcher.on_losses(first, own)
        for taken, losses in enumerate(fresh, start=first):
            for place in self._active:
                if not math.isfinite(losses[place]):
                    self.diverged[place] = DivergedError(taken, losses[place])
        self._checked = len(self._losses)

    def _validate(self, step: int, epoch: float) -> None:
        """Add a point to each curve, as `Training` does, and keep the best states."""
        accuracies, nlls = marks(self._stack, *self._data.validation, self._protocol)
        losses = torch.stack(self._losses).double().mean(0).tolist()
        spent = share(self._ledger.total("train"), len(self._watchers))
        train_accuracies = functools.cache(self._train_accuracies)
        for place in self._active:
            point = CurvePoint(
                step=step,
                epoch=epoch,
                train_seconds=spent.seconds,
                train_joules=spent.joules,
                train_loss=losses[place],
                validation_accuracy=accuracies[place],
                validation_nll=nlls[place] if math.isfinite(nlls[place]) else None,
            )
            self._trained[place].curve.append(point)
            model = self._stack.models[place]
            self._trained[place].keep(point, model, self._protocol)
            seen = Validation(
                point,
                self._learned[place],
                self._embedding(model.backbone),
                lambda place=place: train_accuracies()[place],  # type: ignore[misc]
            )
            for watcher in self._watchers[place]:
                watcher.on_validation(seen)
        self._losses, self._checked = [], 0
        self._on_progress(step, self._steps)

    def _train_accuracies(self) -> list[float]:
        return marks(self._stack, *self._data.training_part(), self._protocol)[0]
