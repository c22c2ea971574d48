"""Analysis of held-out samples in the selected state, and the operations of a training step.

The samples come from the test part, because selection has used the validation part. No choice follows the analysis.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from harmbench.datasets import Splits
from harmbench.meters import Flops, HeldOut
from harmbench.nn.heads import DistanceHead
from harmbench.results.records import Protocol
from harmbench.runner.model import Classifier, select_targets
from harmbench.runner.prediction import blocks, evaluation, precision
from harmbench.runner.single_learner import batch_parts
from harmbench.runner.targets import IGNORED

PASSES = 3  # forward, and backward once for the features and once for the centers


def spread_sample(targets: Tensor, count: int) -> Tensor:
    """Indices of `count` samples, or of all if there are fewer, with classes in proportion.

    The indices depend on the arguments only.

    >>> spread_sample(torch.tensor([0, 1, 0, 1, 0, 1]), 4).tolist()
    [0, 2, 1, 3]
    """
    by_class = targets.argsort(stable=True)
    count = min(count, len(targets))
    return by_class[torch.arange(count, device=targets.device) * len(targets) // count]


def _sample(targets: Tensor, count: int) -> Tensor:
    """Indices of the samples to analyze. A text gives evenly spread windows with enough selected tokens."""
    if targets.ndim == 1:
        return spread_sample(targets, count)
    selected = int((targets != IGNORED).sum())
    windows = min(len(targets), math.ceil(count * len(targets) / selected))
    return torch.arange(windows, device=targets.device) * len(targets) // windows


def analyze(model: Classifier, splits: Splits, protocol: Protocol) -> HeldOut:
    """Features, predictions and weights for `analysis_samples` samples of the test part, in evaluation mode."""
    count = protocol.analysis_samples
    sample = _sample(splits.test_targets, count)
    inputs = splits.test_inputs[sample]
    targets = splits.test_targets[sample]
    feature_blocks = []
    predicted = []
    selected = []
    with evaluation([model], inputs, protocol):
        for block, block_targets in blocks(inputs, targets):
            rows, classes = select_targets(model.backbone(block), block_targets)
            feature_blocks.append(rows)
            selected.append(classes)
            predicted.append(model.objective.logits(model.head(rows)).argmax(-1))
    features = torch.cat(feature_blocks)
    weights: Tensor = model.head.weight  # type: ignore[assignment]
    image_shape = None
    if inputs.is_floating_point() and torch.equal(features, inputs.flatten(1)):  # the features are the pixels
        image_shape = tuple(inputs.shape[1:])
    return HeldOut(
        features=features[:count].double().cpu(),
        targets=torch.cat(selected)[:count].cpu(),
        predicted=torch.cat(predicted)[:count].cpu(),
        weights=weights.detach().double().cpu(),
        has_centers=isinstance(model.head, DistanceHead),
        image_shape=image_shape,
        is_text=targets.ndim == 2,
    )


def count_flops(model: Classifier, inputs: Tensor, targets: Tensor, protocol: Protocol) -> Flops:
    """Operations of one training step on these inputs, without the optimizer. The model is not changed.

    torch counts matrix products and convolutions of the backbone and of a linear head. It does not see the kernels of
    distance heads, so a formula counts them: (B, N) x (K, N) pairs at the operator's `flops` a coordinate.
    """
    model = copy.deepcopy(model).train()
    backbone: int = 0
    head: int | None = 0
    with precision(inputs, protocol):
        for part_inputs, part_targets, _ in batch_parts(inputs, targets, protocol):
            features, operations = _counted(model.backbone, part_inputs)
            features, _ = select_targets(features, part_targets)
            backbone += operations
            part = _head_flops(model.head, features)
            head = None if head is None or part is None else head + part
    if not isinstance(model.head, DistanceHead):
        return Flops(backbone, head, "matrix products and convolutions, counted", True)
    if head is None:
        return Flops(backbone, None, f"backbone counted, head no formula for {model.head.distance}", False)
    return Flops(backbone, head, "backbone counted, head by formula", False)


def _head_flops(head: nn.Module, features: Tensor) -> int | None:
    """Operations of the head's step on these features."""
    if isinstance(head, DistanceHead):
        return distance_flops(head, len(features))
    return _counted(head, features.detach().requires_grad_())[1]


def _counted(module: nn.Module, inputs: Tensor) -> tuple[Tensor, int]:
    """Output, and operations of the forward and backward pass."""
    with FlopCounterMode(display=False) as counter:
        output: Tensor = module(inputs)
        if output.requires_grad:
            output.backward(torch.ones_like(output))  # type: ignore[no-untyped-call]
    return output, counter.get_total_flops()


def distance_flops(head: DistanceHead, rows: int) -> int | None:
    """Operations of a distance head's step on this number of rows, or None for a distance without a formula.

    >>> distance_flops(DistanceHead(256, 10, "manhattan"), rows=64)
    1474560
    """
    operator = head.distance.operator
    if operator is None or operator.record.flops is None:
        return None
    classes, features = head.weight.shape
    # A full matrix maps every feature and every center once, before the pairs.
    matrices = [matrix for matrix in head.distance_parameters.values() if matrix.ndim == 2]
    maps = len(matrices) * 2 * (rows + classes) * features**2
    return PASSES * (operator.record.flops * rows * classes * features + maps)
