"""Backbone, head and loss as one module, seeded so that heads are compared in pairs."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from harmbench.backbones import BACKBONES
from harmbench.nn.heads import DistanceHead, LinearHead, Objective
from harmbench.results.records import Protocol, TrialSpec
from harmbench.runner.targets import IGNORED


def derived_seed(spec: TrialSpec, purpose: str) -> int:
    """Seed for one purpose of a trial. It is the same for every head and loss."""
    text = f"{spec.seed}/{spec.dataset}/{spec.backbone}/{purpose}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")


class Classifier(nn.Module):
    """Backbone, head and loss: inputs (B, C, H, W) or (B, T) to logits (B, K) whose softmax gives probabilities."""

    def __init__(self, backbone: nn.Module, head: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.objective = objective

    def forward(self, inputs: Tensor) -> Tensor:
        return self.objective.logits(self.head(self.backbone(inputs)))

    def loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Mean loss of a batch, a scalar. The mean of text is over its selected tokens."""
        return self.loss_of(*select_targets(self.backbone(inputs), targets))

    def loss_of(self, features: Tensor, targets: Tensor) -> Tensor:
        """Mean loss of features (B, N) and targets (B,), a scalar."""
        if isinstance(self.head, DistanceHead):
            return self.objective.of_pairs(self.head.pairs(features), targets)
        return self.objective(self.head(features), targets)  # type: ignore[no-any-return]

    def how(self, rows: int) -> str:
        """Describe what computes head and loss of a batch with this number of rows."""
        if not isinstance(self.head, DistanceHead):
            return "torch"
        features = self.head.weight.new_zeros(rows, self.objective.in_features)
        return self.objective.loss.how(self.head.pairs(features))

    def head_parameters(self) -> list[nn.Parameter]:
        """Parameters of head and loss."""
        return [*self.head.parameters(), *self.objective.parameters()]


def select_targets(features: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Select the positions of a text whose target is not `IGNORED`. Classes are all selected.

    Args:
        features: (B, N), or (B, T, N) for text.
        targets: (B,), or (B, T) for text.

    Returns:
        Features (M, N) and targets (M,).
    """
    if targets.ndim == 1:
        return features, targets
    selected = targets != IGNORED
    return features[selected], targets[selected]


def build(spec: TrialSpec, input_shape: tuple[int, ...], num_classes: int) -> Classifier:
    """Build a fresh classifier on the CPU.

    The initial backbone and the initial rows of the head's weight depend on (seed, dataset, backbone) only, so two
    trials at one seed differ in their heads only. If the backbone offers class centers, the head's weight is that
    parameter, which is held and optimized once.
    """
    kind = BACKBONES.parse(spec.backbone)
    torch.manual_seed(derived_seed(spec, "backbone"))
    backbone = kind.build(input_shape)
    num_features = count_features(backbone, kind.blank(input_shape))
    torch.manual_seed(derived_seed(spec, "head"))
    head: LinearHead | DistanceHead
    if spec.distance is None:
        head = LinearHead(num_features, num_classes)
    else:
        head = DistanceHead(num_features, num_classes, spec.distance, spec.protocol.center_std)
    centers = kind.centers(backbone)
    if centers is not None:
        head.weight = centers
    return Classifier(backbone, head, Objective(spec.loss, num_features))


def count_features(backbone: nn.Module, inputs: Tensor) -> int:
    """Number of features N of a backbone, from one forward pass in evaluation mode."""
    was_training = backbone.training
    with torch.no_grad():
        features = backbone.eval()(inputs)
    backbone.train(was_training)
    return int(features.shape[-1])


def optimizer_for(model: nn.Module, protocol: Protocol) -> torch.optim.Optimizer:
    """Return the protocol's optimizer over all parameters of a model."""
    return optimizer_of(dict(model.named_parameters()), free_of_decay(model, protocol), protocol)


def optimizer_of(
    parameters: Mapping[str, nn.Parameter], free: Collection[str], protocol: Protocol
) -> torch.optim.Optimizer:
    """Return the protocol's optimizer over named parameters.

    Args:
        parameters: by name.
        free: names of the parameters without weight decay.
        protocol: gives the optimizer and its settings.
    """
    spared = [p for name, p in parameters.items() if name in free]
    decayed = [p for name, p in parameters.items() if name not in free]
    groups: list[dict[str, Any]] = []
    if decayed:
        groups.append({"params": decayed, "weight_decay": protocol.weight_decay})
    if spared:  # most heads have none
        groups.append({"params": spared, "weight_decay": 0.0})
    if protocol.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=protocol.lr, momentum=protocol.momentum)
    kind = torch.optim.AdamW if protocol.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=protocol.lr, betas=(0.9, protocol.beta2), fused=True)


def free_of_decay(model: nn.Module, protocol: Protocol) -> set[str]:
    """Names of the parameters without weight decay.

    Parameters of distances and losses never decay, because their zero has a meaning (the identity, n = 1). With
    `decay: matrices`, as is usual for transformers, these do not decay either: the head, and in the backbone all
    embeddings, all parameters with fewer than two dimensions, and those that the model lists in `no_weight_decay`
    (timm's position embeddings).
    """
    names = [name for name, _ in model.named_parameters()]
    learned_options = {name for name in names if "distance_parameters" in name or "loss_parameters" in name}
    if protocol.decay == "all":
        return learned_options
    spared: set[int] = set()  # by identity: a parameter that two modules share counts as either
    for name, module in model.named_modules():
        listed: set[str] = getattr(module, "no_weight_decay", set)()
        is_free = name == "head" or name.startswith("head.") or isinstance(module, nn.Embedding)
        parameters = module.named_parameters(recurse=False)
        spared |= {id(p) for parameter_name, p in parameters if is_free or p.ndim < 2 or parameter_name in listed}
    return learned_options | {name for name, p in model.named_parameters() if id(p) in spared}


def learning_rate(protocol: Protocol, step: int, steps: int) -> float:
    """Learning rate of a step, counted from 1.

    The rate rises linearly and is then constant, or falls as half a cosine that reaches `lr_min` one step after the
    last one.

    >>> protocol = Protocol(steps=4, lr=0.1, schedule="cosine")
    >>> [round(learning_rate(protocol, step, 4), 3) for step in (1, 3, 5)]
    [0.1, 0.05, 0.0]
    """
    taken = step - 1
    rise = protocol.lr_warmup_steps
    if taken < rise:
        return protocol.lr * ((taken + 1) / rise)
    if protocol.schedule == "constant":
        return protocol.lr
    done = (taken - rise) / max(1, steps - rise)
    return protocol.lr_min + (protocol.lr - protocol.lr_min) * (0.5 * (1 + math.cos(math.pi * done)))


def set_learning_rate(optimizer: torch.optim.Optimizer, protocol: Protocol, step: int, steps: int) -> None:
    """Set the optimizer's learning rate to that of a step, counted from 1."""
    rate = learning_rate(protocol, step, steps)
    for group in optimizer.param_groups:
        group["lr"] = rate
