"""The harmonic loss in one call, for class counts at which (rows, classes) is too large to write down.

`HarmonicHead` followed by `F.cross_entropy` gives the same number. This function is its form for large vocabularies.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from harmbench.nn.distances import DISTANCES, Distance
from harmbench.nn.kernels import harmonic, in_memory
from harmbench.nn.losses import LOSSES


def harmonic_loss(  # noqa: PLR0913 - the signature of torch's cross_entropy, and the distance's
    x: Tensor,
    centers: Tensor,
    targets: Tensor,
    *,
    distance: str | Distance = "euclidean",
    n: float | str | Tensor = "sqrt_d",
    parameters: Mapping[str, Tensor] | None = None,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: Literal["mean", "sum", "none"] = "mean",
    training: bool = True,
) -> Tensor:
    """Cross-entropy under HarMax, p_k proportional to d_k^-n, without ever holding the (B, K) distances.

    Args:
        x: features (..., N).
        centers: class centers (K, N).
        targets: class indices (...,), in 0..K-1 or `ignore_index`.
        distance: a distance or its address.
        n: exponent on the distance: a number, `sqrt_d`, `d`, or a scalar tensor, which gets a gradient.
        parameters: the distance's learnable tensors, if it has any; by default their initial values.
        weight, ignore_index, label_smoothing, reduction: as in `torch.nn.functional.cross_entropy`.
        training: whether the model trains; only noisy distances read it.

    Returns:
        A scalar, or (...,) for `reduction="none"`; float32 even for half-precision inputs.

    Raises:
        UnknownNameError, OptionError: for a distance or an exponent that does not exist.
        ValueError: if shapes, targets or options do not fit.

    >>> x, centers = torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0], [6.0, 8.0]])
    >>> harmonic_loss(x, centers, torch.tensor([0]), n=2).neg().exp()
    tensor(0.8000)
    """
    chosen = DISTANCES.parse(distance) if isinstance(distance, str) else distance
    shape = targets.shape
    if x.ndim != 2 or targets.ndim != 1:
        x, targets = x.reshape(-1, x.shape[-1]), targets.reshape(-1)
    _check(x, centers, targets, weight, label_smoothing, reduction)
    pairs = chosen.pairs(x, centers, parameters, training=training)
    task = _task(targets, len(centers), weight, ignore_index, label_smoothing, reduction, pairs.x)
    losses = harmonic.loss(pairs, _exponent(n, pairs.x), task)
    return losses.reshape(shape) if reduction == "none" else losses


def _check(
    x: Tensor, centers: Tensor, targets: Tensor, weight: Tensor | None, smoothing: float, reduction: str
) -> None:
    if centers.ndim != 2 or x.shape[1] != centers.shape[1] or x.shape[0] != targets.shape[0]:
        raise ValueError(
            f"expected features (..., N), centers (K, N) and targets (...,), got {tuple(x.shape)}, "
            f"{tuple(centers.shape)} and {tuple(targets.shape)} once flattened"
        )
    if weight is not None and weight.shape != centers.shape[:1]:
        raise ValueError(f"weight must be ({len(centers)},), one number a class, not {tuple(weight.shape)}")
    if not 0 <= smoothing <= 1:
        raise ValueError(f"label_smoothing must be between 0 and 1, not {smoothing:g}")
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction must be mean, sum or none, not '{reduction}'")


def _task(
    targets: Tensor, classes: int, weight: Tensor | None, ignored: int, smoothing: float, reduction: str, like: Tensor
) -> harmonic.Task:
    weight = None if weight is None else weight.detach().to(like.device, like.dtype).contiguous()
    has_values = not torch.compiler.is_compiling() and in_memory(targets)  # to check; under torch.func there are none
    low, high = map(int, torch.aminmax(targets)) if has_values and targets.numel() else (0, 0)
    if has_values and low >= 0 and high < classes and not 0 <= ignored < classes:
        all_count = True
    else:
        counts, all_count = targets != ignored, False
        targets = torch.where(counts, targets, -1)
        if has_values and torch.any((targets >= classes) | (counts & (targets < 0))):
            raise ValueError(f"targets must be in 0..{classes - 1} or ignore_index={ignored}")
    targets = targets.long().contiguous()
    if reduction == "none":
        return harmonic.Task(targets, None, weight, smoothing)
    if all_count and (reduction == "sum" or weight is None):
        return harmonic.Task(targets, 1.0 if reduction == "sum" else 1.0 / max(len(targets), 1), weight, smoothing)
    counted = (targets >= 0).to(like.dtype)
    if reduction == "mean":
        total = counted.sum() if weight is None else (weight[targets.clamp_min(0)] * counted).sum()
        counted = counted / total
    return harmonic.Task(targets, counted, weight, smoothing)


def _exponent(n: float | str | Tensor, x: Tensor) -> float | Tensor:
    return n.to(x.device, x.dtype) if isinstance(n, Tensor) else _known_exponent(n, x.shape[1])


@lru_cache
def _known_exponent(n: float | str, in_features: int) -> float:
    loss = LOSSES.members["harmonic"].from_options({"n": n})
    return loss.exponent(in_features, {})  # type: ignore[attr-defined, no-any-return]
