"""Backbone, head and loss as one module, built so that heads are compared in pairs on equal ground."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from harmbench.backbones import BACKBONES
from harmbench.nn.heads import DistanceHead, LinearHead, Objective
from harmbench.results.records import Protocol, TrialSpec
from harmbench.runner.targets import IGNORED


def derived_seed(spec: TrialSpec, purpose: str) -> int:
    """A seed for one purpose of a trial; the same for every head and loss."""
    text = f"{spec.seed}/{spec.dataset}/{spec.backbone}/{purpose}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")


class Classifier(nn.Module):
    """Inputs (B, C, H, W) or (B, T) -> logits (B, K) whose softmax is the class probabilities."""

    def __init__(self, backbone: nn.Module, head: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.backbone, self.head, self.objective = backbone, head, objective

    def forward(self, inputs: Tensor) -> Tensor:
        return self.objective.logits(self.head(self.backbone(inputs)))

    def loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Mean loss of a batch, a scalar; of text, over the tokens that are asked for."""
        return self.loss_of(*asked_for(self.backbone(inputs), targets))

    def loss_of(self, features: Tensor, targets: Tensor) -> Tensor:
        """The same of features (B, N) and targets (B,)."""
        if isinstance(self.head, DistanceHead):
            return self.objective.of_pairs(self.head.pairs(features), targets)
        return self.objective(self.head(features), targets)  # type: ignore[no-any-return]

    def how(self, rows: int) -> str:
        """What computes head and loss of a batch of so many rows, for people to read."""
        if not isinstance(self.head, DistanceHead):
            return "torch"
        features = self.head.weight.new_zeros(rows, self.objective.in_features)
        return self.objective.loss.how(self.head.pairs(features))


def asked_for(features: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Of a text's features (B, T, N) and targets (B, T) those that are asked for, (M, N) and (M,); of classes, all."""
    if targets.ndim == 1:
        return features, targets
    asked = targets != IGNORED
    return features[asked], targets[asked]


def build(spec: TrialSpec, input_shape: tuple[int, ...], num_classes: int) -> Classifier:
    """A fresh classifier on the CPU.

    The backbone's numbers depend on (seed, dataset, backbone) only, the head's first draw, the rows of its weight,
    likewise: two heads at one seed differ in nothing but themselves. Where the backbone offers class centers of its
    own, the head's weight is that parameter, held and optimized once.
    """
    kind = BACKBONES.parse(spec.backbone)
    torch.manual_seed(derived_seed(spec, "backbone"))
    backbone = kind.build(input_shape)
    num_features = count_features(backbone, kind.blank(input_shape))
    torch.manual_seed(derived_seed(spec, "head"))
    head = (
        LinearHead(num_features, num_classes)
        if spec.distance is None
        else DistanceHead(num_features, num_classes, spec.distance, spec.protocol.center_std)
    )
    if (tied := kind.centers(backbone)) is not None:
        head.weight = tied
    return Classifier(backbone, head, Objective(spec.loss, num_features))


def count_features(backbone: nn.Module, inputs: Tensor) -> int:
    """N, by one look at what the backbone gives; leaves its buffers as they are."""
    was_training = backbone.training
    with torch.no_grad():
        features = backbone.eval()(inputs)
    backbone.train(was_training)
    return int(features.shape[-1])


def optimizer_for(model: nn.Module, protocol: Protocol) -> torch.optim.Optimizer:
    """The protocol's optimizer over every parameter."""
    return optimizer_of(dict(model.named_parameters()), free_of_decay(model, protocol), protocol)


def optimizer_of(
    parameters: Mapping[str, nn.Parameter], free: Collection[str], protocol: Protocol
) -> torch.optim.Optimizer:
    """The protocol's optimizer over parameters by name, of which some are free of weight decay.

    Those of distances and losses always are: their zero means something (the identity, n = 1).
    """
    spared = [p for name, p in parameters.items() if name in free]
    decayed = [p for name, p in parameters.items() if name not in free]
    groups = [{"params": decayed, "weight_decay": protocol.weight_decay}] if decayed else []
    if spared:  # most heads have none
        groups.append({"params": spared, "weight_decay": 0.0})
    if protocol.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=protocol.lr, momentum=protocol.momentum)
    kind = torch.optim.AdamW if protocol.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=protocol.lr, betas=(0.9, protocol.beta2), fused=True)


def free_of_decay(model: nn.Module, protocol: Protocol) -> set[str]:
    """Names of the parameters that weight decay leaves alone.

    With `decay: matrices`, as is the custom with transformers: all of the head; of the backbone what has fewer than two
    dimensions, embeddings, and what the model itself names in `no_weight_decay` (timm's position embeddings).
    """
    own = {name for name, _ in model.named_parameters() if "distance_parameters" in name or "loss_parameters" in name}
    if protocol.decay == "all":
        return own
    spared: set[int] = set()  # by identity: a parameter that two modules share counts as either
    for name, module in model.named_modules():
        named: set[str] = getattr(module, "no_weight_decay", set)()
        is_free = name == "head" or name.startswith("head.") or isinstance(module, nn.Embedding)
        parameters = module.named_parameters(recurse=False)
        spared |= {id(p) for called, p in parameters if is_free or p.ndim < 2 or called in named}
    return own | {name for name, p in model.named_parameters() if id(p) in spared}


def learning_rate(protocol: Protocol, step: int, steps: int) -> float:
    """Of a step, counted from 1: linear rise, then constant, or half a cosine that reaches `lr_min` one step after the
    last.

    >>> protocol = Protocol(steps=4, lr=0.1, schedule="cosine")
    >>> [round(learning_rate(protocol, step, 4), 3) for step in (1, 3, 5)]
    [0.1, 0.05, 0.0]
    """
    taken, rise = step - 1, protocol.lr_warmup_steps
    if taken < rise:
        return protocol.lr * ((taken + 1) / rise)
    if protocol.schedule == "constant":
        return protocol.lr
    done = (taken - rise) / max(1, steps - rise)
    return protocol.lr_min + (protocol.lr - protocol.lr_min) * (0.5 * (1 + math.cos(math.pi * done)))


def set_learning_rate(optimizer: torch.optim.Optimizer, protocol: Protocol, step: int, steps: int) -> None:
    """Have the optimizer take a step, counted from 1, at that step's rate."""
    rate = learning_rate(protocol, step, steps)
    for group in optimizer.param_groups:
        group["lr"] = rate
