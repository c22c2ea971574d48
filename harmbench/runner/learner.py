"""The models that one training loop trains: a single one, or one for each seed of a group.

    SingleLearner    one model, with its own plain code
    BatchedLearner   the models of a group of seeds, stacked and trained as one

The training loop knows this interface only. A position is the index of a model within its group.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Self

import torch
from torch import Tensor

from harmbench.backbones import BACKBONES
from harmbench.datasets import Splits
from harmbench.meters import Step
from harmbench.results.records import TrialSpec
from harmbench.runner.model import Classifier, derived_seed
from harmbench.runner.targets import target_maker


class Learner(ABC):
    """Models, their data and their optimizer.

    Args:
        specs: trials of all models, by position. They differ in the seed only.
        models: on the device of the data.
        splits: data of each model. Validation and test parts are the same for all.

    Attributes:
        steps: optimizer steps of the protocol's budget.
        batch_size: samples of each batch.
        parameters, head_parameters: of each model, for watchers.
        make_targets: turns a batch of the training part into what the models are trained on.
    """

    optimizer: torch.optim.Optimizer

    def __init__(self, specs: Sequence[TrialSpec], models: Sequence[Classifier], splits: Sequence[Splits]) -> None:
        first = splits[0]
        self.specs = specs
        self.models = models
        self.splits = splits
        self.protocol = specs[0].protocol
        self.device = first.train_inputs.device
        self.train_size = len(first.train_targets)
        self.batch_size = min(self.protocol.batch_size, self.train_size)
        self.steps = self.protocol.budget(self.train_size)
        self.parameters = [list(model.parameters()) for model in models]
        self.head_parameters = [model.head_parameters() for model in models]
        objective = BACKBONES.parse(specs[0].backbone).objective
        self.make_targets = target_maker(objective, first, derived_seed(specs[0], "questions"))

    @abstractmethod
    def rows(self) -> Iterator[Tensor]:
        """Rows of the training part that form the batch of each step."""

    @abstractmethod
    def batch(self, rows: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets of these rows, on the device."""

    @abstractmethod
    def step(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor | None]:
        """Take one optimizer step.

        Returns:
            The losses, detached, and the gradient norms before clipping, or None without clipping. Both are scalars
            for one model and (S,) for a group.
        """

    @abstractmethod
    def observe(self, step: int, losses: Tensor, norms: Tensor | None) -> Sequence[Step]:
        """Describe a step for the watchers of each model, with gradients in place."""

    @abstractmethod
    def evaluate(self, inputs: Tensor, targets: Tensor) -> tuple[list[float], list[float]]:
        """Accuracy and mean NLL of each model, in evaluation mode."""

    @abstractmethod
    def training_part(self) -> tuple[Tensor, Tensor]:
        """Inputs and targets of the whole training part."""

    def kernels(self) -> dict[str, str]:
        """Describe how a group is computed, for the record."""
        return {}

    @abstractmethod
    def compile(self) -> None:
        """Compile the backbone at its first call, where that is possible."""

    def copy(self) -> Self:
        """Return a learner of the same state, whose training leaves this one alone."""
        return type(self)(self.specs, [copy.deepcopy(model) for model in self.models], self.splits)

    def train(self) -> None:
        """Set all models to training mode."""
        for model in self.models:
            model.train()

    def validate(self, count: int | None = None) -> tuple[list[float], list[float]]:
        """Accuracy and mean NLL of each model on the first `count` validation samples, or on all."""
        splits = self.splits[0]
        return self.evaluate(splits.validation_inputs[:count], splits.validation_targets[:count])

    def train_accuracies(self) -> list[float]:
        """Accuracy of each model on its training part."""
        return self.evaluate(*self.training_part())[0]

    def first_batch(self, position: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets of the first training samples, as many as a batch has."""
        splits = self.splits[position]
        size = self.batch_size
        return self.make_targets(splits.train_inputs[:size], splits.train_targets[:size], 0)
