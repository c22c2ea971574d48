"""Several models of one architecture whose parameters are stacked: (S, ...), one forward and one backward pass.

    ModelStack      owns the stacked parameters. The parameters of the models are views of them, so each model can be
                    read, copied or evaluated by itself at any time
    features        of the backbones: by their own `stacked` method, or by torch.func.vmap
    losses          of the heads: batched matrix products for a linear head with cross-entropy, one call of the compiled
                    kernel for all heads, or one head at a time

No operation mixes models, and every model has the same position and shape whatever the others hold. A model's result
therefore never depends on its siblings.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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


class ModelStack:
    """Models of one architecture that are trained as one.

    Args:
        models: from here on their parameters are views of the stack's.

    Attributes:
        parameters: stacked parameters (S, ...) by name.

    Raises:
        UsageError: for models with buffers, such as the statistics of batch normalization.
    """

    def __init__(self, models: Sequence[Classifier]) -> None:
        first = models[0]
        if buffers := [name for name, _ in first.named_buffers()]:
            raise UsageError(
                f"models with buffers ({buffers[0]}) cannot be stacked, as all would share them; set batched_seeds: 1"
            )
        self.models = models
        self.parameters: dict[str, nn.Parameter] = {}
        stacked_by_id: dict[int, nn.Parameter] = {}
        for name, first_parameter in first.named_parameters():  # a tied parameter comes once
            slices = [model.get_parameter(name) for model in models]
            stacked = nn.Parameter(torch.stack([parameter.detach() for parameter in slices]))
            for parameter, row in zip(slices, stacked.detach(), strict=True):
                parameter.data = row
            self.parameters[name] = stacked_by_id[id(first_parameter)] = stacked
        self._backbone: dict[str, Tensor] = {
            name: stacked_by_id[id(parameter)] for name, parameter in first.backbone.named_parameters()
        }
        self._head = [stacked_by_id[id(parameter)] for parameter in first.head_parameters()]
        self._weight = stacked_by_id[id(first.head.weight)]

    def assign_gradients(self) -> None:
        """Set `.grad` of each model to its slice of the stacked gradients."""
        for name, stacked in self.parameters.items():
            rows: Iterable[Tensor | None] = [None] * len(self.models)
            if stacked.grad is not None:
                rows = stacked.grad
            for model, row in zip(self.models, rows, strict=True):
                model.get_parameter(name).grad = row

    def features(self, inputs: Tensor) -> Tensor:
        """Features (S, B, N) of inputs (S, B, ...)."""
        backbone: Any = self.models[0].backbone
        if hasattr(backbone, "stacked"):
            features: Tensor = backbone.stacked(self._backbone, inputs)
            return features

        def model_features(parameters: dict[str, Tensor], model_inputs: Tensor) -> Any:
            return torch.func.functional_call(backbone, parameters, (model_inputs,))

        vectorized = torch.func.vmap(model_features, randomness="different")
        return vectorized(self._backbone, inputs)  # type: ignore[no-any-return]

    def losses(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Mean loss (S,) of each model's batch, from inputs (S, B, ...) and class indices (S, B)."""
        features = self.features(inputs)
        if self.has_products:
            return self._losses_by_products(features, targets)
        losses: Tensor
        if self.one_call is None:
            losses = _EachHead.apply(features, self, targets, *self._head)  # type: ignore[no-untyped-call]
        else:
            arguments = (self._weight, self._exponents(), self, targets)
            losses = _OneCall.apply(features.float(), *arguments, *self.one_call)  # type: ignore[no-untyped-call]
        return losses

    def logits(self, inputs: Tensor) -> Tensor:
        """Logits (S, B, K) of inputs (S, B, ...), float32, one head at a time."""
        logits = []
        for model, features in zip(self.models, self.features(inputs), strict=True):
            logits.append(model.objective.logits(model.head(features)).float())
        return torch.stack(logits)

    def how(self) -> str:
        """Describe what computes backbones and heads."""
        backbones = "torch.func.vmap"
        if hasattr(self.models[0].backbone, "stacked"):
            backbones = "their own form"
        if self.has_products:
            heads = "batched products"
        elif self.one_call:
            heads = "one call for all"
        else:
            heads = "one by one"
        return f"{len(self.models)} models; backbones by {backbones}, heads {heads}"

    @cached_property
    def has_products(self) -> bool:
        """Whether head and loss are batched products and torch's cross-entropy."""
        first = self.models[0]
        return type(first.head) is LinearHead and type(first.objective.loss) is CrossEntropy

    def _losses_by_products(self, features: Tensor, targets: Tensor) -> Tensor:
        bias = self.parameters["head.bias"]
        logits = torch.baddbmm(bias[:, None], features, self._weight.transpose(1, 2))
        flat = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="none")
        return flat.view(targets.shape).mean(1)

    @cached_property
    def one_call(self) -> tuple[native.WholeStep, bool] | None:
        """The kernel that computes head and loss of all models in one call, and whether it wants numbers near 1.

        None where no such kernel exists.
        """
        head = self.models[0].head
        objective = self.models[0].objective
        if not isinstance(head, DistanceHead) or type(objective.loss) is not Harmonic:
            return None
        weight = head.weight.detach()
        parameters = dict(head.distance_parameters.items())
        # For one head the formula is as fast on small problems. For many heads it is not, so ask about a large problem.
        blank = weight.new_zeros(choice.SMALL // weight.numel() + 1, objective.in_features)
        # Evaluation mode, as a noisy distance would draw here.
        return harmonic.one_call(head.distance.pairs(blank, weight, parameters, training=False))

    def _exponents(self) -> Tensor:
        """n of each model, (S,)."""
        objective = self.models[0].objective
        names = {name: self.parameters[f"objective.loss_parameters.{name}"] for name in objective.loss_parameters}
        assert isinstance(objective.loss, Harmonic)
        n = objective.loss.exponent(objective.in_features, names)
        return n if isinstance(n, Tensor) else self._weight.new_full((len(self.models),), n)

    def head_gradients(
        self, features: Tensor, targets: Tensor, position: int, n: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Loss of one model alone, followed by its gradients.

        Args:
            features, targets: (B, N) and (B,) of that model.
            position: of the model in the group.
            n: harmonic exponent. With it, the gradients are those of features, centers and exponent. Without it, they
                are those of the features and of all parameters of head and loss.
        """
        model = self.models[position]
        head: Any = model.head
        with torch.enable_grad():
            features = features.detach().requires_grad_()
            if n is None:
                leaves = [features, *model.head_parameters()]
                loss = model.loss_of(features, targets)
            else:
                n = n.detach().requires_grad_()
                leaves = [features, head.weight, n]
                task = harmonic.Task(targets.contiguous(), 1.0 / max(len(targets), 1))
                loss = harmonic.loss(head.pairs(features), n, task)
            gradients = torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)
        return loss.detach(), *gradients


class _EachHead(torch.autograd.Function):
    """Losses of one head at a time, by the code of a single model. Gradients are computed with them."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, stack: ModelStack, targets: Tensor, *_: Tensor) -> Tensor:
        rows = zip(features, targets, strict=True)
        results = [stack.head_gradients(*row, position) for position, row in enumerate(rows)]
        losses, *gradients = (torch.stack(parts) for parts in zip(*results, strict=True))
        ctx.save_for_backward(*gradients)
        return losses

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        of_features, *of_head = (_scaled(gradient, upstream) for gradient in ctx.saved_tensors)
        return of_features, None, None, *of_head


class _OneCall(torch.autograd.Function):
    """Harmonic losses of all heads by the compiled kernel. Gradients are computed with them.

    A model whose numbers are too large or too small for the kernel is computed by the code of a single model.
    """

    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        centers: Tensor,
        n: Tensor,
        stack: ModelStack,
        targets: Tensor,
        step: native.WholeStep,
        is_scaled: bool,
    ) -> Tensor:
        x = features.contiguous()
        w = centers.contiguous()
        targets = targets.contiguous()
        floor = harmonic.floor_of(x.dtype)
        *results, needs_scaling = step.of_stack(x, w, n.contiguous(), targets, floor, is_scaled=is_scaled)
        for position in needs_scaling.nonzero().flatten().tolist():
            alone = stack.head_gradients(x[position], targets[position], position, n[position])
            for result, model_result in zip(results, alone, strict=True):
                result[position] = model_result
        losses, *gradients = results
        ctx.save_for_backward(*gradients)
        return losses

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        return (*(_scaled(gradient, upstream) for gradient in ctx.saved_tensors), None, None, None, None)


def _scaled(gradient: Tensor, upstream: Tensor) -> Tensor:
    """A gradient (S, ...) times one number for each model (S,)."""
    return gradient * upstream.view(-1, *[1] * (gradient.ndim - 1))
