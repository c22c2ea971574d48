"""What a model is asked: of images and short token tasks the class, of a text each next token or the masked ones."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from harmbench.datasets import Splits
from harmbench.datasets._text import asked_of
from harmbench.errors import UsageError
from harmbench.results.records import ObjectiveKind

IGNORED = -100  # a target that is not asked for
_EVALUATION_SEED = 2019  # masks of validation and test are the same for every trial

Questions = tuple[Tensor, Tensor]
Asking = Callable[[Tensor, Tensor, int], Questions]


def posed(splits: Splits, objective: ObjectiveKind) -> Splits:
    """Splits whose parts are questions (M, T) with their answers (M, T).

    The training part of a text that is to be masked stays as it is: masks change every step.

    Raises:
        UsageError: for masks where the data set has no token for them.
    """
    if objective == "class":
        return splits
    if objective == "masked" and splits.mask_token is None:
        raise UsageError(
            "the data set's tokenizer has no token that masks, so no masked language model can be trained on it; take "
            "a causal one, or a data set without the option tokenizer"
        )
    texts = (splits.train_inputs, splits.validation_inputs, splits.test_inputs)
    if objective == "next":
        parts = [(text[:, :-1], text[:, 1:]) for text in texts]
    else:
        train, *held_out = (text[:, :-1] for text in texts)
        generator = torch.Generator().manual_seed(_EVALUATION_SEED)
        parts = [(train, train), *(masked(text, splits, generator) for text in held_out)]
    names = (f"{part}_{side}" for part in ("train", "validation", "test") for side in ("inputs", "targets"))
    tensors = (tensor.contiguous() for pair in parts for tensor in pair)
    return splits._replace(**dict(zip(names, tensors, strict=True)))  # type: ignore[arg-type]


def as_they_are(inputs: Tensor, targets: Tensor, step: int) -> Questions:  # noqa: ARG001 - an Asking
    """The batch, unchanged."""
    return inputs, targets


def asking(objective: ObjectiveKind, splits: Splits, seed: int) -> Asking:
    """What makes a batch of the training part, at a step, the batch that is trained on."""
    if objective != "masked":
        return as_they_are

    def ask(inputs: Tensor, targets: Tensor, step: int) -> Questions:  # noqa: ARG001 - an Asking
        # A generator of each step's own: a training that goes on from a checkpoint sees the same masks.
        generator = torch.Generator().manual_seed((seed + step) % 2**63)
        return masked(inputs, splits, generator)

    return ask


def masked(tokens: Tensor, splits: Splits, generator: torch.Generator) -> Questions:
    """Windows (B, T) with some tokens hidden, as BERT is trained (arXiv 1810.04805, section 3.1), and the
    hidden ones as targets; the same number in every window: of them 80 % are masked, 10 % another token, 10 % as they
    were.

    Args:
        tokens: windows.
        splits: of the data set, whose vocabulary and mask are used.
        generator: of the draws.

    >>> tokens = torch.arange(2, 22)[None]
    >>> splits = Splits(*[tokens] * 6, num_classes=30, mask_token=1)
    >>> inputs, targets = masked(tokens, splits, torch.Generator().manual_seed(0))
    >>> (targets != IGNORED).sum().item()
    3
    """
    assert splits.mask_token is not None
    batch, length = tokens.shape
    count = asked_of(length, "masked")
    chosen = torch.rand(batch, length, generator=generator).topk(count).indices.to(tokens.device)
    fate = torch.rand(batch, count, generator=generator).to(tokens.device)
    other = torch.randint(splits.num_classes, (batch, count), generator=generator).to(tokens.device)
    own = tokens.gather(1, chosen)
    shown = torch.where(fate < 0.8, splits.mask_token, torch.where(fate < 0.9, other, own))
    targets = torch.full_like(tokens, IGNORED).scatter(1, chosen, own)
    return tokens.scatter(1, chosen, shown), targets
