"""The training loop: a fixed number of steps, evenly spread validations, and the best state kept as a copy."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from harmbench.backbones import BACKBONES
from harmbench.meters import Validation, Watcher
from harmbench.results.records import CurvePoint, Protocol
from harmbench.runner.checkpoint_manager import CheckpointManager, generators, restore_generators
from harmbench.runner.learner import Learner
from harmbench.runner.model import derived_seed, set_learning_rate
from harmbench.runner.phase_timer import PhaseTimer, share
from harmbench.runner.timing import StepTimer

LOSS_CHECK_STEPS = 16  # steps between two reads of the losses: a read at each step would stall a GPU


class Divergence(NamedTuple):
    """The first step whose loss is not finite.

    >>> str(Divergence(7, float("nan")))
    'loss nan at step 7'
    """

    step: int
    loss: float

    def __str__(self) -> str:
        return f"loss {self.loss} at step {self.step}"


@dataclass
class Trained:
    """Results of training one model.

    Attributes:
        curve: the validations, in the order of steps.
        step_seconds, batch_seconds: of each step, and of its wait for the batch.
        best, best_state: the selected validation and a copy of the model's state at that time.
        divergence: set if training ended early.
    """

    curve: list[CurvePoint] = field(default_factory=list)
    step_seconds: list[float] = field(default_factory=list)
    batch_seconds: list[float] = field(default_factory=list)
    best: CurvePoint | None = None
    best_state: dict[str, Tensor] = field(default_factory=dict)
    divergence: Divergence | None = None

    def keep(self, point: CurvePoint, model: nn.Module, protocol: Protocol, by_loss: bool = False) -> None:
        """Copy the state if its validation accuracy is the highest so far. Ties go to the lower loss.

        Args:
            point: the validation of the model as it is now.
            model: whose state may be copied.
            protocol: selects the best or the last state.
            by_loss: compare the loss first, as for text, whose most probable token is seldom right.
        """
        if self.best is None or protocol.select == "last" or _merit(point, by_loss) > _merit(self.best, by_loss):
            self.best = point
            self.best_state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def _merit(point: CurvePoint, by_loss: bool) -> tuple[float, float]:
    nll = math.inf if point.validation_nll is None else point.validation_nll
    if by_loss:
        return -nll, point.validation_accuracy
    return point.validation_accuracy, -nll


class Training:
    """Trains the models of a learner in place, alternating between the phases `train` and `evaluate`.

    Args:
        learner: the models, their data and their optimizer.
        watchers: of each recorded model, by position. Each sees the steps of its model only.
        phases: books seconds and joules. The last phase is left open.
        on_progress: called with (step, steps) after each validation.
        checkpoints: writes checkpoints of a single model; None for no checkpoints.

    Attributes:
        trained: results of each recorded model, by position.
    """

    def __init__(
        self,
        learner: Learner,
        watchers: Mapping[int, Sequence[Watcher]],
        phases: PhaseTimer,
        on_progress: Callable[[int, int], None],
        checkpoints: CheckpointManager | None = None,
    ) -> None:
        self._learner = learner
        self._watchers = watchers
        self._phases = phases
        self._on_progress = on_progress
        self._checkpoints = checkpoints
        self._step_watchers = {position: overriding("on_step", group) for position, group in watchers.items()}
        self._validation_watchers = {
            position: overriding("on_validation", group) for position, group in watchers.items()
        }
        self._due = math.inf  # the next step that a watcher wants to see
        self._timer = StepTimer(learner.device, boundaries=3)  # before the batch, after it, after the step
        self._losses: list[Tensor] = []  # since the last validation
        self._checked = 0  # the number of these losses that were read
        self._resumed_state: dict[str, Any] | None = None
        self._active = list(watchers)  # positions of the models that have not diverged
        self.trained = {position: Trained() for position in watchers}

    def run(self) -> dict[int, Trained]:
        """Take all steps, or stop at the step where the last recorded model has diverged."""
        for _ in self.windows():
            pass
        if self._active:
            steps, waits = self._seconds()
            for position in self._active:
                self.trained[position].step_seconds = steps
                self.trained[position].batch_seconds = waits
        return self.trained

    def windows(self) -> Iterator[int]:
        """Train up to each validation in turn and validate.

        Yields:
            The number of steps taken, after each validation, so that callers can interleave work.
        """
        learner, steps = self._learner, self._learner.steps
        stops = evaluation_steps(steps, learner.protocol.evaluations)
        torch.manual_seed(derived_seed(learner.specs[0], "train"))
        rows = learner.rows()
        learner.train()
        for watcher in self._all_watchers():
            watcher.on_start(learner.device)
        first = self._fast_forward(rows) + 1
        self._due = self._next_due()
        is_paused = True
        for step in range(first, steps + 1):
            if is_paused:
                self._phases.enter("train")
                is_paused = False
            self._take_step(step, rows)
            is_check_due = step in stops or len(self._losses) - self._checked == LOSS_CHECK_STEPS
            if is_check_due and not self._check_losses(step):
                return
            if step in stops:
                self._phases.enter("evaluate")
                is_paused = True
                self._validate(step)
                yield step
            if self._checkpoints and step < steps and self._checkpoints.is_due():
                if not self._check_losses(step):
                    return
                self._phases.enter("evaluate")
                is_paused = True
                self._checkpoints.write(step, self.state(step))

    def state(self, step: int) -> dict[str, Any]:
        """State of a single model's training after a step, as plain values and tensors.

        It holds everything that the remaining training depends on, and all results so far.
        """
        learner = self._learner
        trained = self.trained[0]
        seconds, waits = self._seconds()
        best_state: dict[str, Tensor] = {}
        if learner.protocol.select == "best":  # the last state is still to come
            best_state = trained.best_state
        losses: list[float] = []
        if self._losses:
            losses = torch.stack(self._losses).tolist()
        return {
            "step": step,
            "model": learner.models[0].state_dict(),
            "optimizer": learner.optimizer.state_dict(),
            "generators": generators(learner.device),
            "losses": losses,
            "curve": [point.to_plain() for point in trained.curve],
            "best": trained.best and trained.best.to_plain(),
            "best_state": best_state,
            "step_seconds": seconds,
            "batch_seconds": waits,
            "phases": self._phases.state(),
            "watchers": [watcher.state() for watcher in self._watchers[0]],
        }

    def resume_from(self, state: dict[str, Any]) -> None:
        """Restore model, optimizer, results and phases. The rest follows when the training starts.

        Raises:
            KeyError, RuntimeError, TypeError, ValueError: for a state of another training.
        """
        learner = self._learner
        trained = self.trained[0]
        learner.models[0].load_state_dict(state["model"])
        learner.optimizer.load_state_dict(state["optimizer"])
        self._losses = list(torch.tensor(state["losses"], dtype=torch.float32, device=learner.device))
        self._checked = len(self._losses)
        trained.curve = [CurvePoint.from_plain(point) for point in state["curve"]]
        trained.best = None
        if state["best"]:
            trained.best = CurvePoint.from_plain(state["best"])
        trained.best_state = {name: tensor.to(learner.device) for name, tensor in state["best_state"].items()}
        self._phases.merge(state["phases"])
        self._resumed_state = state

    def _fast_forward(self, rows: Iterator[Tensor]) -> int:
        """Bring data order, generators and watchers to the resumed state. Returns the number of steps taken."""
        state = self._resumed_state
        if state is None:
            return 0
        for _ in range(state["step"]):
            next(rows)
        restore_generators(state["generators"], self._learner.device)
        for watcher, watcher_state in zip(self._watchers[0], state["watchers"], strict=True):
            if watcher_state is not None:
                watcher.restore(watcher_state)
        return int(state["step"])

    def _seconds(self) -> tuple[list[float], list[float]]:
        """Seconds of each step and of its wait for the batch. Call it with the device synchronized."""
        earlier = self._resumed_state or {"step_seconds": [], "batch_seconds": []}
        steps = earlier["step_seconds"] + self._timer.seconds(0, 2)
        waits = earlier["batch_seconds"] + self._timer.seconds(0, 1)
        return steps, waits

    def _all_watchers(self) -> Iterator[Watcher]:
        for group in self._watchers.values():
            yield from group

    def _take_step(self, step: int, rows: Iterator[Tensor]) -> None:
        learner = self._learner
        set_learning_rate(learner.optimizer, learner.protocol, step, learner.steps)
        self._timer.mark()
        inputs, targets = learner.batch(next(rows), step)
        self._timer.mark()
        losses, norms = learner.step(inputs, targets)
        self._timer.mark()
        self._losses.append(losses)
        if step >= self._due:
            observed = learner.observe(step, losses, norms)
            for position in self._active:
                for watcher in self._step_watchers[position]:
                    if step >= watcher.due:
                        watcher.on_step(observed[position])
            self._due = self._next_due()

    def _next_due(self) -> float:
        """The next step that a watcher of an active model wants to see."""
        steps = (watcher.due for position in self._active for watcher in self._step_watchers[position])
        return min(steps, default=math.inf)

    def _check_losses(self, step: int) -> bool:
        """Read the losses that were not read yet, up to this step. Returns whether a model is left to train."""
        if self._checked == len(self._losses):
            return True
        unread = torch.stack(self._losses[self._checked :])
        first = step - len(unread) + 1
        losses_by_model = unread.reshape(len(unread), -1).T.tolist()
        self._checked = len(self._losses)
        for position in self._active:
            losses = losses_by_model[position]
            for watcher in self._watchers[position]:
                watcher.on_losses(first, losses)
            self.trained[position].divergence = _first_divergence(first, losses)
        self._active = [position for position in self._active if self.trained[position].divergence is None]
        return bool(self._active)

    def _validate(self, step: int) -> None:
        """Add a point to each curve and keep the best states.

        The train loss of a point is the mean since the last point. A group shares the training seconds and joules.
        """
        learner = self._learner
        accuracies, nlls = learner.validate()
        train_losses = torch.stack(self._losses).double().mean(0).reshape(-1).tolist()
        spent = share(self._phases.total("train"), len(self._watchers))
        by_loss = learner.splits[0].token_bytes is not None
        train_accuracies = functools.cache(learner.train_accuracies)
        for position in self._active:
            nll = nlls[position]
            point = CurvePoint(
                step=step,
                epoch=step * learner.batch_size / learner.train_size,
                train_seconds=spent.seconds,
                train_joules=spent.joules,
                train_loss=train_losses[position],
                validation_accuracy=accuracies[position],
                validation_nll=nll if math.isfinite(nll) else None,
            )
            self.trained[position].curve.append(point)
            self.trained[position].keep(point, learner.models[position], learner.protocol, by_loss)
            self._show_validation(position, point, train_accuracies)
        self._losses = []
        self._checked = 0
        self._on_progress(step, learner.steps)

    def _show_validation(self, position: int, point: CurvePoint, train_accuracies: Callable[[], list[float]]) -> None:
        """Show a validation to the watchers of a model. The training part is predicted only if a watcher asks."""
        watchers = self._validation_watchers[position]
        learner = self._learner
        if not watchers:
            return
        backbone = BACKBONES.parse(learner.specs[0].backbone)
        embedding = backbone.embedding(learner.models[position].backbone)
        validation = Validation(point, learner.parameters[position], embedding, lambda: train_accuracies()[position])
        for watcher in watchers:
            watcher.on_validation(validation)


def _first_divergence(first: int, losses: Sequence[float]) -> Divergence | None:
    """The first loss that is not finite, or None. `first` is the step of the first loss."""
    for step, loss in enumerate(losses, start=first):
        if not math.isfinite(loss):
            return Divergence(step, loss)
    return None


def overriding(hook: str, watchers: Sequence[Watcher]) -> list[Watcher]:
    """Watchers whose class implements this hook."""
    return [watcher for watcher in watchers if getattr(type(watcher), hook) is not getattr(Watcher, hook)]


def evaluation_steps(steps: int, evaluations: int) -> set[int]:
    """Evenly spread steps, including the last one.

    >>> sorted(evaluation_steps(10, 4))
    [3, 5, 8, 10]
    """
    count = min(evaluations, steps)
    return {math.ceil(steps * (i + 1) / count) for i in range(count)}
