"""Training: a fixed number of steps, validated at even distances, the best state kept as a copy."""

from __future__ import annotations

import copy
import functools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from harmbench.backbones import BACKBONES
from harmbench.datasets import Splits
from harmbench.meters import Step, Validation, WarmUp, Watcher
from harmbench.results.records import CurvePoint, Protocol, TrialSpec
from harmbench.runner.batches import batch_indices
from harmbench.runner.checkpoint_manager import CheckpointManager, generators, restore_generators
from harmbench.runner.model import Classifier, asked_for, derived_seed, optimizer_for, set_learning_rate
from harmbench.runner.phase_timer import PhaseTimer
from harmbench.runner.targets import IGNORED, Asking, as_they_are, asking
from harmbench.runner.timing import StepTimer, is_settled, synchronize

EVALUATION_BATCH = 1024
COMPILER = "inductor"
LOSS_CHECK_STEPS = 16  # steps between looks at the losses: a look at each would stall a GPU


class DivergedError(Exception):
    """A loss that is not finite; says at which step."""

    def __init__(self, step: int, loss: float) -> None:
        super().__init__(f"loss {loss} at step {step}")
        self.step = step


@dataclass
class Trained:
    """What training leaves behind."""

    curve: list[CurvePoint] = field(default_factory=list)
    step_seconds: list[float] = field(default_factory=list)
    batch_seconds: list[float] = field(default_factory=list)
    best: CurvePoint | None = None
    best_state: dict[str, Tensor] = field(default_factory=dict)

    def keep(self, point: CurvePoint, model: nn.Module, protocol: Protocol, by_loss: bool = False) -> None:
        """Copy the state if its validation accuracy is the highest so far; ties go to the lower loss.

        With `by_loss`, of text, the loss comes first: the most probable token is right too seldom to choose by.
        """
        if self.best is None or protocol.select == "last" or _merit(point, by_loss) > _merit(self.best, by_loss):
            self.best = point
            self.best_state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def _merit(point: CurvePoint, by_loss: bool) -> tuple[float, float]:
    nll = math.inf if point.validation_nll is None else point.validation_nll
    return (-nll, point.validation_accuracy) if by_loss else (point.validation_accuracy, -nll)


def precision(inputs: Tensor, protocol: Protocol) -> AbstractContextManager[object]:
    """The protocol's arithmetic. Not even entered for float32: beside a small step an autocast that is off is dear."""
    if protocol.precision == "float32":
        return nullcontext()
    return torch.autocast(inputs.device.type, torch.bfloat16)


def training_step(
    model: Classifier, optimizer: torch.optim.Optimizer, inputs: Tensor, targets: Tensor, protocol: Protocol
) -> tuple[Tensor, Tensor | None]:
    """One optimizer step; the batch's loss, detached, and the gradient norm before clipping, if it clips.

    A batch that is taken in parts gives the loss and the gradient that it gives in one, but for rounding, and where a
    layer looks at the whole batch (batch norm).
    """
    for group in optimizer.param_groups:  # `zero_grad`, without what it tells the profiler: beside a small step, dear
        for parameter in group["params"]:
            parameter.grad = None
    losses = []
    for part_inputs, part_targets, share in parts(inputs, targets, protocol):
        with precision(inputs, protocol):
            loss = model.loss(part_inputs, part_targets)
        if share is not None:
            loss = loss * share
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(loss.detach())
    norm = None
    if protocol.grad_clip is not None:
        norm = nn.utils.clip_grad_norm_(model.parameters(), protocol.grad_clip)
    optimizer.step()
    return losses[0] if len(losses) == 1 else torch.stack(losses).sum(), norm


def parts(inputs: Tensor, targets: Tensor, protocol: Protocol) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    """The parts that the protocol takes a batch in: inputs, targets, and the share of the batch's questions that they
    ask, a scalar; None where there is one part."""
    if (count := min(protocol.accumulate, len(targets))) == 1:
        yield inputs, targets, None
        return
    asked = (targets != IGNORED).sum()
    for some, wanted in zip(inputs.tensor_split(count), targets.tensor_split(count), strict=True):
        yield some, wanted, (wanted != IGNORED).sum() / asked


def compile_backbone(model: Classifier) -> None:
    """Have torch compile the backbone at its first call. Parameters keep their names; copies are plain again."""
    model.backbone.compile(backend=COMPILER)


def warm_up(model: Classifier, splits: Splits, protocol: Protocol, ask: Asking = as_they_are) -> WarmUp:
    """Steps and one validation batch on a copy that is thrown away: kernels, caches and threads get ready.

    At least `warmup_steps`, and on until the step time settles or `warmup_max_steps` are taken; none if the first is 0.
    """
    trial_model = copy.deepcopy(model)
    optimizer = optimizer_for(trial_model, protocol)
    size = min(protocol.batch_size, len(splits.train_targets))
    most = max(protocol.warmup_steps, protocol.warmup_max_steps) if protocol.warmup_steps else 0
    seconds: list[float] = []
    if protocol.compile:
        compile_backbone(trial_model)  # what is compiled here serves the model itself too
    inputs, targets = ask(splits.train_inputs[:size], splits.train_targets[:size], 0)
    while len(seconds) < most and not (len(seconds) >= protocol.warmup_steps and is_settled(seconds)):
        start = time.perf_counter()
        training_step(trial_model, optimizer, inputs, targets, protocol)
        synchronize(splits.train_inputs.device)
        seconds.append(time.perf_counter() - start)
    if most:
        part = slice(EVALUATION_BATCH)
        predict(trial_model, splits.validation_inputs[part], splits.validation_targets[part], protocol)
    return WarmUp(len(seconds), is_settled(seconds))


class Training:
    """Trains a model in place, in the phases `train` and `evaluate` by turns.

    Args:
        spec: of the trial.
        model: on the device of the splits.
        splits: the data.
        watchers: see each step.
        ledger: books the phases; the last one, `evaluate`, is left open.
        on_progress: told (step, steps) after each validation.
        checkpoints: of checkpoints; without one, none are written.
    """

    def __init__(
        self,
        spec: TrialSpec,
        model: Classifier,
        splits: Splits,
        watchers: Sequence[Watcher],
        ledger: PhaseTimer,
        on_progress: Callable[[int, int], None],
        checkpoints: CheckpointManager | None = None,
    ) -> None:
        self._keeper = checkpoints
        self._carried: dict[str, Any] | None = None  # a state to go on from
        self._spec, self._model, self._splits, self._watchers = spec, model, splits, watchers
        self._step_watchers = [each for each in watchers if type(each).on_step is not Watcher.on_step]
        self._due = math.inf  # until the watchers have started
        self._validation_watchers = [each for each in watchers if type(each).on_validation is not Watcher.on_validation]
        self._ledger, self._on_progress = ledger, on_progress
        self._train_size = len(splits.train_targets)
        self._steps = spec.protocol.budget(self._train_size)
        self._batch_size = min(spec.protocol.batch_size, self._train_size)
        self._parameters = list(model.parameters())
        self._head = [*model.head.parameters(), *model.objective.parameters()]
        self._optimizer = optimizer_for(model, spec.protocol)
        self._timer = StepTimer(splits.train_inputs.device, borders=3)  # batch asked for, batch there, step taken
        self._ask = asking(BACKBONES.parse(spec.backbone).objective, splits, derived_seed(spec, "questions"))
        self._losses: list[Tensor] = []  # since the last validation
        self._checked = 0  # how many of them were looked at
        self._trained = Trained()

    @property
    def curve(self) -> tuple[CurvePoint, ...]:
        """The validations so far."""
        return tuple(self._trained.curve)

    def run(self) -> Trained:
        """Take all steps.

        Raises:
            DivergedError: for the first step whose loss is not finite.
        """
        for _ in self.windows():
            pass
        self._trained.step_seconds, self._trained.batch_seconds = self._seconds()
        return self._trained

    def _seconds(self) -> tuple[list[float], list[float]]:
        """Of each step, and of its wait for the batch; call it with the device synchronized."""
        earlier = self._carried or {"step_seconds": [], "batch_seconds": []}
        steps, batches = self._timer.seconds(0, 2), self._timer.seconds(0, 1)
        return [*earlier["step_seconds"], *steps], [*earlier["batch_seconds"], *batches]

    def state(self, step: int) -> dict[str, Any]:
        """All that the rest of the training depends on after a step, and all that it has found; plain values."""
        seconds, waits = self._seconds()
        best, device = self._trained.best, self._splits.train_inputs.device
        is_kept = self._spec.protocol.select == "best"  # the last state, if that is asked for, is still to come
        return {
            "step": step,
            "model": self._model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "generators": generators(device),
            "losses": torch.stack(self._losses).tolist() if self._losses else [],
            "curve": [point.to_plain() for point in self._trained.curve],
            "best": best and best.to_plain(),
            "best_state": self._trained.best_state if is_kept else {},
            "step_seconds": seconds,
            "batch_seconds": waits,
            "ledger": self._ledger.state(),
            "watchers": [watcher.state() for watcher in self._watchers],
        }

    def resume_from(self, state: dict[str, Any]) -> None:
        """Put model, optimizer and ledger where they were; the rest follows when the training starts.

        Raises:
            KeyError, RuntimeError, TypeError, ValueError: for a state of something else.
        """
        self._model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        device = self._splits.train_inputs.device
        self._losses = list(torch.tensor(state["losses"], dtype=torch.float32, device=device))
        self._checked = len(self._losses)
        self._trained.curve = [CurvePoint.from_plain(point) for point in state["curve"]]
        self._trained.best = CurvePoint.from_plain(state["best"]) if state["best"] else None
        self._trained.best_state = {name: tensor.to(device) for name, tensor in state["best_state"].items()}
        self._ledger.merge(state["ledger"])
        self._carried = state

    def windows(self) -> Iterator[CurvePoint]:
        """Train up to each validation in turn, and validate; in between, others may have the machine.

        Raises:
            DivergedError: for the first step whose loss is not finite.
        """
        protocol = self._spec.protocol
        stops = evaluation_steps(self._steps, protocol.evaluations)
        order = derived_seed(self._spec, "order")
        torch.manual_seed(derived_seed(self._spec, "train"))
        batches = batch_indices(self._train_size, protocol.batch_size, self._steps, order)
        self._model.train()
        for watcher in self._watchers:
            watcher.on_start(self._splits.train_inputs.device)
        done = self._settle_in(batches)
        self._due = next_due(self._step_watchers)
        is_paused = True
        for step in range(done + 1, self._steps + 1):
            if is_paused:
                self._ledger.enter("train")
                is_paused = False
            self._take(step, batches)
            if step in stops or len(self._losses) - self._checked == LOSS_CHECK_STEPS:
                self._check_losses(step)
            if step in stops:
                self._ledger.enter("evaluate")
                is_paused = True
                yield self._validate(step, step * self._batch_size / self._train_size)
            if self._keeper and step < self._steps and self._keeper.is_due():
                self._check_losses(step)
                self._ledger.enter("evaluate")
                is_paused = True
                self._keeper.write(step, self.state(step))

    def _settle_in(self, batches: Iterator[Tensor]) -> int:
        """Where there is a state to go on from, bring order, generators and watchers there; the steps taken so far."""
        if self._carried is None:
            return 0
        for _ in range(self._carried["step"]):
            next(batches)
        restore_generators(self._carried["generators"], self._splits.train_inputs.device)
        for watcher, seen in zip(self._watchers, self._carried["watchers"], strict=True):
            if seen is not None:
                watcher.restore(seen)
        return int(self._carried["step"])

    def _take(self, step: int, batches: Iterator[Tensor]) -> None:
        set_learning_rate(self._optimizer, self._spec.protocol, step, self._steps)
        self._timer.mark()
        splits = self._splits
        rows = next(batches).to(splits.train_inputs.device)
        chosen = splits.train_inputs.index_select(0, rows), splits.train_targets.index_select(0, rows)
        inputs, targets = self._ask(*chosen, step)
        self._timer.mark()
        loss, norm = training_step(self._model, self._optimizer, inputs, targets, self._spec.protocol)
        self._timer.mark()
        self._losses.append(loss)
        if step >= self._due:
            show(Step(step, loss, self._parameters, norm, self._head), self._step_watchers)
            self._due = next_due(self._step_watchers)

    def _check_losses(self, step: int) -> None:
        if self._checked == len(self._losses):
            return
        fresh = torch.stack(self._losses[self._checked :]).tolist()
        first = step - len(fresh) + 1
        for watcher in self._watchers:
            watcher.on_losses(first, fresh)
        for taken, loss in enumerate(fresh, start=first):
            if not math.isfinite(loss):
                raise DivergedError(taken, loss)
        self._checked = len(self._losses)

    def _validate(self, step: int, epoch: float) -> CurvePoint:
        """Add a point to the curve, whose train loss is the mean since the last point, and keep the best state."""
        splits = self._splits
        predicted = predict(self._model, splits.validation_inputs, splits.validation_targets, self._spec.protocol)
        spent = self._ledger.total("train")
        nll = predicted.nll.mean().item()
        point = CurvePoint(
            step=step,
            epoch=epoch,
            train_seconds=spent.seconds,
            train_joules=spent.joules,
            train_loss=torch.stack(self._losses).double().mean().item(),
            validation_accuracy=predicted.hits.double().mean().item(),
            validation_nll=nll if math.isfinite(nll) else None,
        )
        self._trained.curve.append(point)
        self._trained.keep(point, self._model, self._spec.protocol, by_loss=splits.token_bytes is not None)
        if self._validation_watchers:
            self._show(point)
        self._losses, self._checked = [], 0
        self._on_progress(step, self._steps)
        return point

    def _show(self, point: CurvePoint) -> None:
        """Let the watchers look at the model; the training part is predicted for those who ask."""
        embedding = BACKBONES.parse(self._spec.backbone).embedding(self._model.backbone)
        seen = Validation(point, self._parameters, embedding, functools.cache(self._train_accuracy))
        for watcher in self._validation_watchers:
            watcher.on_validation(seen)

    def _train_accuracy(self) -> float:
        inputs, targets = self._ask(self._splits.train_inputs, self._splits.train_targets, 0)
        return predict(self._model, inputs, targets, self._spec.protocol).hits.double().mean().item()


def next_due(watchers: Sequence[Watcher]) -> float:
    """The next step that one of them wants to see."""
    return min((watcher.due for watcher in watchers), default=math.inf)


def show(step: Step, watchers: Sequence[Watcher]) -> None:
    """A step to those that want to see it."""
    for watcher in watchers:
        if step.index >= watcher.due:
            watcher.on_step(step)


def evaluation_steps(steps: int, evaluations: int) -> set[int]:
    """Evenly spread steps, the last one among them.

    >>> sorted(evaluation_steps(10, 4))
    [3, 5, 8, 10]
    """
    count = min(evaluations, steps)
    return {math.ceil(steps * (i + 1) / count) for i in range(count)}


@dataclass(frozen=True)
class Predicted:
    """What a model makes of a part of the data.

    Attributes:
        nll: of each target that is asked for, in nat, float64 (M,).
        hits: whether the most probable class is the target, (M,).
        targets: (M,).
        logits: (M, K), float32; None of text, where they would fill the memory.
    """

    nll: Tensor
    hits: Tensor
    targets: Tensor
    logits: Tensor | None


def predict(model: Classifier, inputs: Tensor, targets: Tensor, protocol: Protocol) -> Predicted:
    """Predictions in evaluation mode and in blocks; the mode is put back."""
    was_training, is_text = model.training, targets.ndim == 2
    model.eval()
    found: list[tuple[Tensor, Tensor, Tensor, Tensor | None]] = []
    with torch.no_grad(), precision(inputs, protocol):
        size = EVALUATION_BATCH // inputs.shape[1] or 1 if is_text else EVALUATION_BATCH
        for block, wanted in zip(torch.split(inputs, size), torch.split(targets, size), strict=True):
            features, asked = asked_for(model.backbone(block), wanted)
            logits = model.objective.logits(model.head(features)).float()
            nll = torch.nn.functional.cross_entropy(logits.double(), asked, reduction="none")
            found.append((nll, logits.argmax(-1) == asked, asked, None if is_text else logits))
    model.train(was_training)
    nll, hits, asked = (torch.cat(parts) for parts in list(zip(*found, strict=True))[:3])
    return Predicted(nll, hits, asked, None if is_text else torch.cat([logits for *_, logits in found]))  # type: ignore[misc]
