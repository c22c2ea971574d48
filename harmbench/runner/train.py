"""Training: a fixed number of steps, validated at even distances, the best state kept as a copy."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from harmbench.datasets import Splits
from harmbench.meters import Step, Watcher
from harmbench.records import CurvePoint, Protocol, TrialSpec
from harmbench.runner.batches import batch_indices
from harmbench.runner.ledger import PhaseLedger
from harmbench.runner.model import Classifier, derived_seed, optimizer_for, schedule_for
from harmbench.runner.timing import StepTimer

EVALUATION_BATCH = 1024
LOSS_CHECK_STEPS = 16  # steps between looks at the losses: a look at each would stall a GPU


class Diverged(Exception):
    """A loss that is not finite; says at which step."""

    def __init__(self, step: int, loss: float) -> None:
        super().__init__(f"loss {loss} at step {step}")
        self.step = step


@dataclass
class Trained:
    """What training leaves behind."""

    curve: list[CurvePoint] = field(default_factory=list)
    step_seconds: list[float] = field(default_factory=list)
    best_step: int = 0
    best_state: dict[str, Tensor] = field(default_factory=dict)


def training_step(
    model: Classifier, optimizer: torch.optim.Optimizer, inputs: Tensor, targets: Tensor, protocol: Protocol
) -> tuple[Tensor, Tensor | None]:
    """One optimiser step; the batch's loss, detached, and the gradient norm before clipping, if it clips."""
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast(inputs.device.type, torch.bfloat16, enabled=protocol.precision == "bfloat16"):
        loss = model.loss(inputs, targets)
    loss.backward()  # type: ignore[no-untyped-call]
    norm = None
    if protocol.grad_clip is not None:
        norm = nn.utils.clip_grad_norm_(model.parameters(), protocol.grad_clip)
    optimizer.step()
    return loss.detach(), norm


def warm_up(model: Classifier, splits: Splits, protocol: Protocol) -> None:
    """A few steps and one validation batch on a copy that is thrown away: kernels, caches and threads get ready."""
    trial_model = copy.deepcopy(model)
    optimizer = optimizer_for(trial_model, protocol)
    size = min(protocol.batch_size, len(splits.train_targets))
    for _ in range(protocol.warmup_steps):
        training_step(trial_model, optimizer, splits.train_inputs[:size], splits.train_targets[:size], protocol)
    if protocol.warmup_steps:
        predict(trial_model, splits.validation_inputs[:EVALUATION_BATCH], protocol)


def train(
    spec: TrialSpec,
    model: Classifier,
    splits: Splits,
    watchers: Sequence[Watcher],
    ledger: PhaseLedger,
    on_progress: Callable[[int, int], None],
) -> Trained:
    """Train in place; enters the phases `train` and `evaluate` in turns and leaves the last one open.

    Raises:
        Diverged: at the first step whose loss is not finite.
    """
    protocol, trained = spec.protocol, Trained()
    train_size = len(splits.train_targets)
    steps = protocol.budget(train_size)
    optimizer = optimizer_for(model, protocol)
    schedule = schedule_for(optimizer, protocol, steps)
    timer = StepTimer(splits.train_inputs.device)
    parameters = list(model.parameters())
    stops = evaluation_steps(steps, protocol.evaluations)
    losses: list[Tensor] = []
    checked = 0
    torch.manual_seed(derived_seed(spec, "train"))
    model.train()
    ledger.enter("train")
    batches = batch_indices(train_size, protocol.batch_size, steps, derived_seed(spec, "order"))
    for step, batch in enumerate(batches, start=1):
        indices = batch.to(splits.train_inputs.device)
        with timer:
            inputs, targets = splits.train_inputs[indices], splits.train_targets[indices]
            loss, norm = training_step(model, optimizer, inputs, targets, protocol)
        schedule.step()
        losses.append(loss)
        for watcher in watchers:
            watcher.on_step(Step(step, loss, parameters, norm))
        if step in stops or len(losses) - checked >= LOSS_CHECK_STEPS:
            check_losses(losses, checked, step - len(losses))
            checked = len(losses)
        if step in stops:
            ledger.enter("evaluate")
            epoch = step * len(batch) / train_size
            trained.curve.append(validate(model, splits, protocol, step, epoch, losses, ledger))
            keep_best(trained, model, protocol)
            on_progress(step, steps)
            losses, checked = [], 0
            if step < steps:
                ledger.enter("train")
    trained.step_seconds = timer.seconds()
    return trained


def evaluation_steps(steps: int, evaluations: int) -> set[int]:
    """Evenly spread steps, the last one among them.

    >>> sorted(evaluation_steps(10, 4))
    [3, 5, 8, 10]
    """
    count = min(evaluations, steps)
    return {math.ceil(steps * (i + 1) / count) for i in range(count)}


def check_losses(losses: Sequence[Tensor], checked: int, offset: int) -> None:
    """Raise Diverged for the first loss after `checked` that is not finite; the first of `losses` is step offset + 1."""
    for index, value in enumerate(torch.stack(list(losses[checked:])).tolist(), start=checked + 1):
        if not math.isfinite(value):
            raise Diverged(offset + index, value)


def validate(
    model: Classifier,
    splits: Splits,
    protocol: Protocol,
    step: int,
    epoch: float,
    losses: Sequence[Tensor],
    ledger: PhaseLedger,
) -> CurvePoint:
    """One point of the curve; the train loss is the mean over the steps since the last point."""
    logits = predict(model, splits.validation_inputs, protocol)
    targets = splits.validation_targets
    spent = ledger.total("train")
    nll = torch.nn.functional.cross_entropy(logits.double(), targets).item()
    return CurvePoint(
        step=step,
        epoch=epoch,
        train_seconds=spent.seconds,
        train_joules=spent.joules,
        train_loss=torch.stack(list(losses)).mean().item(),
        validation_accuracy=(logits.argmax(-1) == targets).double().mean().item(),
        validation_nll=nll if math.isfinite(nll) else None,
    )


def predict(model: Classifier, inputs: Tensor, protocol: Protocol) -> Tensor:
    """Logits (M, K) in float32, in evaluation mode and in blocks; the mode is put back."""
    was_training = model.training
    model.eval()
    with torch.no_grad(), torch.autocast(inputs.device.type, torch.bfloat16, enabled=protocol.precision == "bfloat16"):
        logits = torch.cat([model(block).float() for block in inputs.split(EVALUATION_BATCH)])
    model.train(was_training)
    return logits


def keep_best(trained: Trained, model: Classifier, protocol: Protocol) -> None:
    """Copy the state where validation accuracy is the highest so far; ties go to the lower loss, then the earlier."""
    latest = trained.curve[-1]
    best = next((point for point in trained.curve if point.step == trained.best_step), None)
    if best is None or protocol.select == "last" or _merit(latest) > _merit(best):
        trained.best_step = latest.step
        trained.best_state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def _merit(point: CurvePoint) -> tuple[float, float]:
    nll = math.inf if point.validation_nll is None else point.validation_nll
    return point.validation_accuracy, -nll
