"""The models of one group of seeds, trained as one.

A group has the seeds kN .. kN + N - 1 of one cell, where N is the protocol's `batched_seeds`. All N models are always
built and trained, and only the requested ones are recorded. Every operation therefore has the same shape and the same
seed at the same position, and a seed gives bit for bit the same result whichever siblings are recorded with it.

Initialization, data order and the drawn share of the data depend on each seed alone. Dropout and noisy distances draw
from one generator for the whole group, seeded by the group's first seed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from harmbench.datasets import Splits
from harmbench.meters import Step
from harmbench.results.records import TrialSpec
from harmbench.runner.batches import batch_indices
from harmbench.runner.learner import Learner
from harmbench.runner.model import Classifier, derived_seed, free_of_decay, optimizer_of
from harmbench.runner.prediction import EVALUATION_BATCH, evaluation, precision
from harmbench.runner.stack import ModelStack

AHEAD = 64  # steps whose batches are drawn at a time


def group_of(spec: TrialSpec) -> tuple[TrialSpec, ...]:
    """Trials of all seeds in the group of this trial, by position."""
    count = spec.protocol.batched_seeds
    first = spec.seed - spec.seed % count
    return tuple(spec.but(seed=first + position) for position in range(count))


class BatchedLearner(Learner):
    """Models of one architecture whose parameters are stacked.

    Raises:
        UsageError: for models with buffers.
    """

    def __init__(self, specs: Sequence[TrialSpec], models: Sequence[Classifier], splits: Sequence[Splits]) -> None:
        super().__init__(specs, models, splits)
        self.stack = ModelStack(models)
        free = free_of_decay(models[0], self.protocol)
        self.optimizer = optimizer_of(self.stack.parameters, free, self.protocol)
        first = splits[0]
        positions = torch.arange(len(models))[:, None]
        if all(part.train_inputs is first.train_inputs for part in splits):
            self._inputs = first.train_inputs
            self._targets = first.train_targets
            self._offsets = 0 * positions
        else:  # each seed draws a share of its own
            self._inputs = torch.cat([part.train_inputs for part in splits])
            self._targets = torch.cat([part.train_targets for part in splits])
            self._offsets = self.train_size * positions

    def rows(self) -> Iterator[Tensor]:
        """Row indices (S, B) of each step, each model's as if it were trained alone."""
        orders = [derived_seed(spec, "order") for spec in self.specs]
        size, steps = self.protocol.batch_size, self.steps
        streams = [batch_indices(self.train_size, size, steps, order) for order in orders]
        for start in range(0, steps, AHEAD):
            count = min(AHEAD, steps - start)
            drawn = [torch.stack([next(stream) for _ in range(count)]) for stream in streams]
            yield from torch.stack(drawn, 1) + self._offsets

    def batch(self, rows: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Inputs (S, B, ...) and targets (S, B)."""
        rows = rows.to(self.device)
        return self._inputs[rows], self._targets[rows]

    def step(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor | None]:
        """Take one optimizer step of all models."""
        self.optimizer.zero_grad(set_to_none=True)
        with precision(inputs, self.protocol):
            losses = self.stack.losses(inputs, targets)
        losses.sum().backward()  # type: ignore[no-untyped-call]
        norms = None
        if self.protocol.grad_clip is not None:
            norms = clip_norms(self.stack.parameters.values(), self.protocol.grad_clip)
        self.optimizer.step()
        return losses.detach(), norms

    def observe(self, step: int, losses: Tensor, norms: Tensor | None) -> Sequence[Step]:
        """Describe the step of each model, with its slice of the stacked gradients."""
        self.stack.assign_gradients()
        model_norms: Iterable[Tensor | None] = [None] * len(self.models) if norms is None else norms
        rows = zip(losses, self.parameters, model_norms, self.head_parameters, strict=True)
        return [Step(step, *row) for row in rows]

    def evaluate(self, inputs: Tensor, targets: Tensor) -> tuple[list[float], list[float]]:
        """Accuracy and mean NLL of each model, in evaluation mode and in blocks.

        Args:
            inputs: (S, M, ...), or (M, ...) where all models share them.
            targets: (S, M), or (M,).
        """
        count = len(self.models)
        if targets.ndim == 1:
            inputs = inputs.expand(count, *inputs.shape)
            targets = targets.expand(count, -1)
        hits, nlls = [], []
        with evaluation(self.models, inputs, self.protocol):
            input_blocks = torch.split(inputs, EVALUATION_BATCH, 1)
            target_blocks = torch.split(targets, EVALUATION_BATCH, 1)
            for block, block_targets in zip(input_blocks, target_blocks, strict=True):
                logits = self.stack.logits(block)
                flat = nn.functional.cross_entropy(
                    logits.double().flatten(0, 1), block_targets.flatten(), reduction="none"
                )
                nlls.append(flat.view(block_targets.shape))
                hits.append(logits.argmax(-1) == block_targets)
        accuracies = torch.cat(hits, 1).double().mean(1)
        mean_nlls = torch.cat(nlls, 1).mean(1)
        return accuracies.tolist(), mean_nlls.tolist()

    def training_part(self) -> tuple[Tensor, Tensor]:
        """The training parts (S, M, ...) and (S, M)."""
        return self.batch(torch.arange(self.train_size) + self._offsets, 0)

    def compile(self) -> None:
        """Compile nothing: stacked backbones run as they are."""

    def kernels(self) -> dict[str, str]:
        """Describe what computes the backbones and the heads of the group."""
        return {"stack": self.stack.how()}


def clip_norms(parameters: Iterable[nn.Parameter], limit: float) -> Tensor:
    """Scale each model's gradients to a norm of at most `limit`, as `clip_grad_norm_` does.

    Returns:
        The norms before clipping, (S,).
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    parts = [torch.linalg.vector_norm(gradient.reshape(len(gradient), -1), dim=1) for gradient in gradients]
    norms: Tensor = torch.linalg.vector_norm(torch.stack(parts, 1), dim=1)
    scale = (limit / (norms + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(scale.view(-1, *[1] * (gradient.ndim - 1)))
    return norms
