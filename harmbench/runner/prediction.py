"""Predictions of a model in evaluation mode, in blocks that fit in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from harmbench.results.records import Protocol
from harmbench.runner.model import Classifier, select_targets

EVALUATION_BATCH = 1024  # samples of a block, or tokens of a text


@dataclass(frozen=True)
class Predicted:
    """Predictions for one part of the data.

    Attributes:
        nll: negative log-likelihood of each selected target, in nat, float64 (M,).
        hits: whether the most probable class is the target, (M,).
        targets: selected class indices, (M,).
        logits: (M, K), float32; None for text, where they would fill the memory.
    """

    nll: Tensor
    hits: Tensor
    targets: Tensor
    logits: Tensor | None


def precision(inputs: Tensor, protocol: Protocol) -> AbstractContextManager[object]:
    """Return the protocol's arithmetic as a context.

    Float32 enters no autocast at all: a disabled one is expensive for a small step.
    """
    if protocol.precision == "float32":
        return nullcontext()
    return torch.autocast(inputs.device.type, torch.bfloat16)


@contextmanager
def evaluation(models: Sequence[nn.Module], inputs: Tensor, protocol: Protocol) -> Iterator[None]:
    """Evaluate in this context: evaluation mode, no gradients, the protocol's precision. The mode is put back."""
    was_training = [model.training for model in models]
    for model in models:
        model.eval()
    try:
        with torch.no_grad(), precision(inputs, protocol):
            yield
    finally:
        for model, mode in zip(models, was_training, strict=True):
            model.train(mode)


def blocks(inputs: Tensor, targets: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Cut inputs and targets into blocks of at most `EVALUATION_BATCH` samples or tokens."""
    size = EVALUATION_BATCH
    if targets.ndim == 2:
        size = max(1, EVALUATION_BATCH // targets.shape[1])
    return zip(torch.split(inputs, size), torch.split(targets, size), strict=True)


def predict(model: Classifier, inputs: Tensor, targets: Tensor, protocol: Protocol) -> Predicted:
    """Predict in evaluation mode and in blocks.

    Args:
        model: on the device of the inputs.
        inputs: (M, ...).
        targets: (M,), or (M, T) for text.
        protocol: gives the precision.
    """
    is_text = targets.ndim == 2
    nlls = []
    hits = []
    selected = []
    all_logits = []
    with evaluation([model], inputs, protocol):
        for block, block_targets in blocks(inputs, targets):
            features, classes = select_targets(model.backbone(block), block_targets)
            logits = model.objective.logits(model.head(features)).float()
            nlls.append(nn.functional.cross_entropy(logits.double(), classes, reduction="none"))
            hits.append(logits.argmax(-1) == classes)
            selected.append(classes)
            if not is_text:
                all_logits.append(logits)
    logits_or_none = None if is_text else torch.cat(all_logits)
    return Predicted(torch.cat(nlls), torch.cat(hits), torch.cat(selected), logits_or_none)
