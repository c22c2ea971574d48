"""Several models of one architecture, trained as one: parameters (S, ...), one forward, backward and optimizer step.

    Stack           owns the stacked parameters; the parameters of the models are views of them, so that each model can
                    at any time be looked at, copied or evaluated by itself
    features        of the backbones: by their own `stacked`, or torch.func.vmap
    losses          of the heads: products in batches for a linear head with cross-entropy, the compiled kernel's one
                    call for all, or head after head

What belongs to one model never depends on what another one holds: no operation mixes models, and all have the same
place and shape whatever is in the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from harmbench.errors import UsageError
from harmbench.nn.heads import DistanceHead, LinearHead
from harmbench.nn.kernels import choice, harmonic, native
from harmbench.nn.losses.cross_entropy import CrossEntropy
from harmbench.nn.losses.harmonic import Harmonic
from harmbench.runner.model import Classifier


class Stack:
    """Models that are trained as one.

    Args:
        models: of one architecture; from here on their parameters are views of the stack's.

    Raises:
        UsageError: where they hold buffers, such as the statistics of a batch normalization.
    """

    def __init__(self, models: Sequence[Classifier]) -> None:
        if held := [name for name, _ in models[0].named_buffers()]:
            raise UsageError(
                f"models with buffers ({held[0]}) cannot be stacked, as all would share them; set batched_seeds: 1"
            )
        self.models = models
        self.parameters: dict[str, nn.Parameter] = {}
        names: dict[int, str] = {}
        for name, of_first in models[0].named_parameters():  # a tied parameter comes once
            own = [model.get_parameter(name) for model in models]
            stacked = nn.Parameter(torch.stack([parameter.detach() for parameter in own]))
            for parameter, row in zip(own, stacked.detach(), strict=True):
                parameter.data = row
            self.parameters[name], names[id(of_first)] = stacked, name
        first = models[0]
        self._backbone: dict[str, Tensor] = {
            name: self.parameters[names[id(p)]] for name, p in first.backbone.named_parameters()
        }
        self._head = [self.parameters[names[id(p)]] for p in _of_head(first)]
        self._weight = self.parameters[names[id(first.head.weight)]]

    def train(self, mode: bool) -> None:
        """Training mode, or evaluation mode, of all."""
        for model in self.models:
            model.train(mode)

    def show_gradients(self) -> None:
        """Let each model's parameters have their part of the gradients."""
        for name, stacked in self.parameters.items():
            rows = [None] * len(self.models) if stacked.grad is None else stacked.grad
            for model, row in zip(self.models, rows, strict=True):
                model.get_parameter(name).grad = row

    def features(self, inputs: Tensor) -> Tensor:
        """Features (S, B, N) of inputs (S, B, ...)."""
        backbone: Any = self.models[0].backbone
        if hasattr(backbone, "stacked"):
            found: Tensor = backbone.stacked(self._backbone, inputs)
            return found

        def one(parameters: dict[str, Tensor], own: Tensor) -> Any:
            return torch.func.functional_call(backbone, parameters, (own,))

        return torch.func.vmap(one, randomness="different")(self._backbone, inputs)  # type: ignore[no-any-return]

    def losses(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Mean loss of each model's batch, (S,), of inputs (S, B, ...) and class indices (S, B)."""
        features = self.features(inputs)
        if self.has_products:
            return self._by_products(features, targets)
        found: Tensor
        if self.one_call is None:
            found = _EachHead.apply(features, self, targets, *self._head)  # type: ignore[no-untyped-call]
        else:
            known = (self._weight, self._exponents(), self, targets)
            found = _OneCall.apply(features.float(), *known, *self.one_call)  # type: ignore[no-untyped-call]
        return found

    def logits(self, inputs: Tensor) -> Tensor:
        """Logits (S, B, K) of inputs (S, B, ...), float32; head after head."""
        found = [
            model.objective.logits(model.head(own)).float()
            for model, own in zip(self.models, self.features(inputs), strict=True)
        ]
        return torch.stack(found)

    def how(self) -> str:
        """What computes backbones and heads, for people to read."""
        backbones = "their own form" if hasattr(self.models[0].backbone, "stacked") else "torch.func.vmap"
        heads = "batched products" if self.has_products else "one call for all" if self.one_call else "one by one"
        return f"{len(self.models)} models; backbones by {backbones}, heads {heads}"

    @cached_property
    def has_products(self) -> bool:
        """Whether head and loss are batched products and torch's cross-entropy."""
        first = self.models[0]
        return type(first.head) is LinearHead and type(first.objective.loss) is CrossEntropy

    def _by_products(self, features: Tensor, targets: Tensor) -> Tensor:
        bias = self.parameters["head.bias"]
        logits = torch.baddbmm(bias[:, None], features, self._weight.transpose(1, 2))
        flat = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="none")
        return flat.view(targets.shape).mean(1)

    @cached_property
    def one_call(self) -> tuple[native.Step, bool] | None:
        """The kernel's one call for head and loss, where it is all of it; and whether it wants numbers near 1."""
        head, objective = self.models[0].head, self.models[0].objective
        if not isinstance(head, DistanceHead) or type(objective.loss) is not Harmonic:
            return None
        weight, parameters = head.weight.detach(), dict(head.distance_parameters.items())
        # Beside one head the formula is as quick where there is little to do, and beside many it is not.
        blank = weight.new_zeros(choice.SMALL // weight.numel() + 1, objective.in_features)
        # As in evaluation: a noisy distance would draw here.
        return harmonic.one_call(head.distance.pairs(blank, weight, parameters, training=False))

    def _exponents(self) -> Tensor:
        """n of each model, (S,)."""
        objective = self.models[0].objective
        names = {name: self.parameters[f"objective.loss_parameters.{name}"] for name in objective.loss_parameters}
        assert isinstance(objective.loss, Harmonic)
        n = objective.loss.exponent(objective.in_features, names)
        return n if isinstance(n, Tensor) else self._weight.new_full((len(self.models),), n)

    def each(self, features: Tensor, targets: Tensor, place: int, n: Tensor | None = None) -> tuple[Tensor, ...]:
        """Loss of one model alone, and its gradients by its features and what its head has, or by n.

        Args:
            features, targets: (B, N) and (B,) of that model.
            place: of the model.
            n: harmonic exponent, where gradients are to be those by features, centers and it.
        """
        model = self.models[place]
        head: Any = model.head
        with torch.enable_grad():
            own = features.detach().requires_grad_()
            if n is None:
                wanted = [own, *_of_head(model)]
                loss = model.loss_of(own, targets)
            else:
                n = n.detach().requires_grad_()
                wanted = [own, head.weight, n]
                task = harmonic.Task(targets.contiguous(), 1.0 / max(len(targets), 1))
                loss = harmonic.loss(head.pairs(own), n, task)
            gradients = torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True)
        return loss.detach(), *gradients


def _of_head(model: Classifier) -> list[nn.Parameter]:
    """What head and loss learn."""
    return [*model.head.parameters(), *model.objective.parameters()]


class _EachHead(torch.autograd.Function):
    """Losses head after head, with the code of a model alone; gradients come along."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, stack: Stack, targets: Tensor, *_: Tensor) -> Tensor:
        found = [stack.each(own, wanted, s) for s, (own, wanted) in enumerate(zip(features, targets, strict=True))]
        losses, *gradients = (torch.stack(parts) for parts in zip(*found, strict=True))
        ctx.save_for_backward(*gradients)
        return losses

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        of_features, *of_head = (_times(gradient, upstream) for gradient in ctx.saved_tensors)
        return of_features, None, None, *of_head


class _OneCall(torch.autograd.Function):
    """Harmonic losses of all heads by the compiled kernel; gradients come along.

    A model whose numbers are so large or small that they must be scaled first goes the way of a model alone.
    """

    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        centers: Tensor,
        n: Tensor,
        stack: Stack,
        targets: Tensor,
        step: native.Step,
        is_scaled: bool,
    ) -> Tensor:
        x, w, targets = features.contiguous(), centers.contiguous(), targets.contiguous()
        floor = harmonic.floor_of(x.dtype)
        *found, left = step.of_stack(x, w, n.contiguous(), targets, floor, is_scaled=is_scaled)
        for place in left.nonzero().flatten().tolist():
            for part, own in zip(found, stack.each(x[place], targets[place], place, n[place]), strict=True):
                part[place] = own
        losses, *gradients = found
        ctx.save_for_backward(*gradients)
        return losses

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        return (*(_times(gradient, upstream) for gradient in ctx.saved_tensors), None, None, None, None)


def _times(gradient: Tensor, upstream: Tensor) -> Tensor:
    """A gradient (S, ...) times a number for each model (S,)."""
    return gradient * upstream.view(-1, *[1] * (gradient.ndim - 1))
