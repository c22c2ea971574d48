"""After the test: a look at what the selected state makes of held-out samples, and at what a step of it costs.

The samples come from the test part. Selection has seen the validation part and would flatter it; and no choice follows
this look.
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
from harmbench.runner.model import Classifier, asked_for
from harmbench.runner.targets import IGNORED
from harmbench.runner.train import EVALUATION_BATCH, parts

PASSES = 3  # forward, and backward once for the features and once for the centers


def spread_sample(targets: Tensor, count: int) -> Tensor:
    """Indices of `count` samples, or all if there are fewer, with classes in proportion; the same every time.

    >>> spread_sample(torch.tensor([0, 1, 0, 1, 0, 1]), 4).tolist()
    [0, 2, 1, 3]
    """
    by_class = targets.argsort(stable=True)
    count = min(count, len(targets))
    return by_class[torch.arange(count, device=targets.device) * len(targets) // count]


def _chosen(targets: Tensor, count: int) -> Tensor:
    """Samples to look at; of text, evenly spread windows with enough tokens that are asked for."""
    if targets.ndim == 1:
        return spread_sample(targets, count)
    windows = min(len(targets), math.ceil(count * len(targets) / int((targets != IGNORED).sum())))
    return torch.arange(windows, device=targets.device) * len(targets) // windows


def analyze(model: Classifier, splits: Splits, protocol: Protocol) -> HeldOut:
    """Features, predictions and weights for `analysis_samples` samples of the test part, in evaluation mode."""
    chosen = _chosen(splits.test_targets, protocol.analysis_samples)
    wanted = splits.test_targets[chosen]
    device, was_training = splits.test_inputs.device.type, model.training
    model.eval()
    features, predicted, targets = [], [], []
    with torch.no_grad(), torch.autocast(device, torch.bfloat16, enabled=protocol.precision == "bfloat16"):
        size = EVALUATION_BATCH if wanted.ndim == 1 else EVALUATION_BATCH // wanted.shape[1] or 1
        for block, answers in zip(
            torch.split(splits.test_inputs[chosen], size), torch.split(wanted, size), strict=True
        ):
            rows, asked = asked_for(model.backbone(block), answers)
            features.append(rows)
            targets.append(asked)
            predicted.append(model.objective.logits(model.head(rows)).argmax(-1))
    model.train(was_training)
    most = protocol.analysis_samples
    weights: Tensor = model.head.weight  # type: ignore[assignment]
    inputs, seen = splits.test_inputs[chosen], torch.cat(features)
    reads_pixels = inputs.is_floating_point() and torch.equal(seen, inputs.flatten(1))
    return HeldOut(
        features=seen[:most].double().cpu(),
        targets=torch.cat(targets)[:most].cpu(),
        predicted=torch.cat(predicted)[:most].cpu(),
        weights=weights.detach().double().cpu(),
        has_centers=isinstance(model.head, DistanceHead),
        image_shape=tuple(inputs.shape[1:]) if reads_pixels else None,
        is_text=wanted.ndim == 2,
    )


def count_flops(model: Classifier, inputs: Tensor, targets: Tensor, protocol: Protocol) -> Flops:
    """Operations of one training step on these inputs, optimizer left out; the model stays as it is.

    torch counts matrix products and convolutions of the backbone, and of a linear head. It does not see the kernels of
    distance heads: those are a formula, (B, N) x (K, N) pairs at its operator's `flops` a coordinate.
    """
    model = copy.deepcopy(model).train()
    device = inputs.device.type
    found = []
    with torch.autocast(device, torch.bfloat16, enabled=protocol.precision == "bfloat16"):
        for some, wanted, _ in parts(inputs, targets, protocol):
            features, backbone = _counted(model.backbone, some)
            features, _ = asked_for(features, wanted)
            found.append((backbone, _head_flops(model.head, features)))
    backbones, heads = zip(*found, strict=True)
    head = None if None in heads else sum(heads)
    if isinstance(model.head, DistanceHead):
        missing = f"no formula for {model.head.distance}"
        return Flops(sum(backbones), head, f"backbone counted, head {missing if head is None else 'by formula'}", False)
    return Flops(sum(backbones), head, "matrix products and convolutions, counted", True)


def _head_flops(head: nn.Module, features: Tensor) -> int | None:
    """Operations of the head's step on these features."""
    if isinstance(head, DistanceHead):
        return distance_flops(head, len(features))
    return _counted(head, features.detach().requires_grad_())[1]


def _counted(module: nn.Module, inputs: Tensor) -> tuple[Tensor, int]:
    """The output, and the operations of the way there and back."""
    with FlopCounterMode(display=False) as counter:
        output: Tensor = module(inputs)
        if output.requires_grad:
            output.backward(torch.ones_like(output))  # type: ignore[no-untyped-call]
    return output, counter.get_total_flops()


def distance_flops(head: DistanceHead, rows: int) -> int | None:
    """Operations of a distance head's step on this number of rows; None where the distance has no formula here.

    >>> distance_flops(DistanceHead(256, 10, "manhattan"), rows=64)
    1474560
    """
    operator = head.distance.operator
    per_coordinate = None if operator is None else operator.record.flops
    if per_coordinate is None:
        return None
    classes, features = head.weight.shape
    # A full matrix maps every feature and every center before any pair is looked at.
    maps = sum(2 * (rows + classes) * features**2 for matrix in head.distance_parameters.values() if matrix.ndim == 2)
    return PASSES * (per_coordinate * rows * classes * features + maps)
