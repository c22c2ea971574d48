"""Inputs and targets of a trial's objective: classes, the next token of a text, or its masked tokens."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from harmbench.datasets import Splits
from harmbench.datasets._text import asked_of
from harmbench.errors import UsageError
from harmbench.results.records import ObjectiveKind

IGNORED = -100  # a target that no loss and no measure counts
_EVALUATION_SEED = 2019  # masks of validation and test are the same for every trial

Batch = tuple[Tensor, Tensor]  # inputs and targets
TargetMaker = Callable[[Tensor, Tensor, int], Batch]  # (inputs, targets, step) -> batch that is trained on


def make_targets(splits: Splits, objective: ObjectiveKind) -> Splits:
    """Return splits whose parts are inputs (M, T) and targets (M, T) of the objective.

    Training text is not masked here, because masks are redrawn at every step.

    Raises:
        UsageError: for masks where the data set has no mask token.
    """
    if objective == "class":
        return splits
    if objective == "masked" and splits.mask_token is None:
        raise UsageError(
            "the data set's tokenizer has no mask token, so no masked language model can be trained on it; take a "
            "causal one, or a data set without the option tokenizer"
        )
    texts = (splits.train_inputs, splits.validation_inputs, splits.test_inputs)
    if objective == "next":
        parts = [(text[:, :-1], text[:, 1:]) for text in texts]
    else:
        train, *held_out = (text[:, :-1] for text in texts)
        generator = torch.Generator().manual_seed(_EVALUATION_SEED)
        parts = [(train, train), *(mask_tokens(text, splits, generator) for text in held_out)]
    names = (f"{part}_{side}" for part in ("train", "validation", "test") for side in ("inputs", "targets"))
    tensors = (tensor.contiguous() for pair in parts for tensor in pair)
    return splits._replace(**dict(zip(names, tensors, strict=True)))  # type: ignore[arg-type]


def keep_targets(inputs: Tensor, targets: Tensor, step: int) -> Batch:  # noqa: ARG001 - a TargetMaker
    """Return the batch unchanged."""
    return inputs, targets


def target_maker(objective: ObjectiveKind, splits: Splits, seed: int) -> TargetMaker:
    """Return the function that turns a batch of the training part into the batch of a step."""
    if objective != "masked":
        return keep_targets

    def mask_batch(inputs: Tensor, targets: Tensor, step: int) -> Batch:  # noqa: ARG001 - a TargetMaker
        # Each step has a generator of its own, so that a resumed training draws the same masks.
        generator = torch.Generator().manual_seed((seed + step) % 2**63)
        return mask_tokens(inputs, splits, generator)

    return mask_batch


def mask_tokens(tokens: Tensor, splits: Splits, generator: torch.Generator) -> Batch:
    """Hide some tokens of windows (B, T), as BERT is trained (arXiv 1810.04805, section 3.1).

    Every window has the same number of hidden tokens. 80 % of them become the mask token, 10 % become another token and
    10 % stay.

    Args:
        tokens: windows.
        splits: gives the vocabulary and the mask token.
        generator: of the draws.

    Returns:
        The windows with tokens hidden, and targets that are the hidden tokens and `IGNORED` elsewhere, (B, T) both.

    >>> tokens = torch.arange(2, 22)[None]
    >>> splits = Splits(*[tokens] * 6, num_classes=30, mask_token=1)
    >>> inputs, targets = mask_tokens(tokens, splits, torch.Generator().manual_seed(0))
    >>> (targets != IGNORED).sum().item()
    3
    """
    assert splits.mask_token is not None
    batch, length = tokens.shape
    count = asked_of(length, "masked")
    hidden = torch.rand(batch, length, generator=generator).topk(count).indices.to(tokens.device)
    draw = torch.rand(batch, count, generator=generator).to(tokens.device)
    random_tokens = torch.randint(splits.num_classes, (batch, count), generator=generator).to(tokens.device)
    originals = tokens.gather(1, hidden)
    kept_or_random = torch.where(draw < 0.9, random_tokens, originals)
    shown = torch.where(draw < 0.8, splits.mask_token, kept_or_random)
    targets = torch.full_like(tokens, IGNORED).scatter(1, hidden, originals)
    return tokens.scatter(1, hidden, shown), targets
