"""One model and its training step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from harmbench.datasets import Splits
from harmbench.meters import Step
from harmbench.results.records import Protocol, TrialSpec
from harmbench.runner.batches import batch_indices
from harmbench.runner.learner import Learner
from harmbench.runner.model import Classifier, derived_seed, optimizer_for
from harmbench.runner.prediction import precision, predict
from harmbench.runner.targets import IGNORED

COMPILER = "inductor"


class SingleLearner(Learner):
    """One model, trained with its own code. It also compiles backbones and accumulates gradients."""

    def __init__(self, specs: Sequence[TrialSpec], models: Sequence[Classifier], splits: Sequence[Splits]) -> None:
        super().__init__(specs, models, splits)
        (self._model,), (self._splits,) = models, splits
        self.optimizer = optimizer_for(self._model, self.protocol)

    def rows(self) -> Iterator[Tensor]:
        """Row indices (B,) of each step."""
        order = derived_seed(self.specs[0], "order")
        return batch_indices(self.train_size, self.protocol.batch_size, self.steps, order)

    def batch(self, rows: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Inputs (B, ...) and targets (B,) or (B, T)."""
        rows = rows.to(self.device)
        splits = self._splits
        return self.make_targets(
            splits.train_inputs.index_select(0, rows), splits.train_targets.index_select(0, rows), step
        )

    def step(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor | None]:
        """Take one optimizer step, in the parts that the protocol asks for."""
        return training_step(self._model, self.optimizer, inputs, targets, self.protocol)

    def observe(self, step: int, losses: Tensor, norms: Tensor | None) -> Sequence[Step]:
        """Describe the step of the one model."""
        return (Step(step, losses, self.parameters[0], norms, self.head_parameters[0]),)

    def evaluate(self, inputs: Tensor, targets: Tensor) -> tuple[list[float], list[float]]:
        """Accuracy and mean NLL of the one model."""
        predicted = predict(self._model, inputs, targets, self.protocol)
        accuracy = predicted.hits.double().mean()
        nll = predicted.nll.mean()
        return [accuracy.item()], [nll.item()]

    def training_part(self) -> tuple[Tensor, Tensor]:
        """The training part, with the masks of step 0 where there are masks."""
        return self.make_targets(self._splits.train_inputs, self._splits.train_targets, 0)

    def compile(self) -> None:
        """Compile the backbone at its first call."""
        compile_backbone(self._model)


def training_step(
    model: Classifier, optimizer: torch.optim.Optimizer, inputs: Tensor, targets: Tensor, protocol: Protocol
) -> tuple[Tensor, Tensor | None]:
    """Take one optimizer step.

    A batch taken in parts gives the loss and the gradient of the whole batch, except for rounding and for layers that
    look at the whole batch (batch norm).

    Returns:
        The batch's loss, detached, and the gradient norm before clipping, or None without clipping.
    """
    # `zero_grad` also reports to the profiler, which is expensive for a small step.
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None
    losses = []
    for part_inputs, part_targets, share in batch_parts(inputs, targets, protocol):
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


def batch_parts(inputs: Tensor, targets: Tensor, protocol: Protocol) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    """Cut a batch into the parts that the protocol accumulates gradients over.

    Yields:
        Inputs, targets and the part's share of the batch's selected targets, a scalar. The share is None for one part.
    """
    count = min(protocol.accumulate, len(targets))
    if count == 1:
        yield inputs, targets, None
        return
    selected = (targets != IGNORED).sum()
    for part_inputs, part_targets in zip(inputs.tensor_split(count), targets.tensor_split(count), strict=True):
        yield part_inputs, part_targets, (part_targets != IGNORED).sum() / selected


def compile_backbone(model: Classifier) -> None:
    """Have torch compile the backbone at its first call. Parameters keep their names, and copies are not compiled."""
    model.backbone.compile(backend=COMPILER)
