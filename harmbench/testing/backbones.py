"""The contract of a backbone, on inputs of one shape.

    weights     the same at the same seed, built in training mode, each with a finite gradient
    features    (B, N), or (B, T, N) of text, float32, finite, the same for an input alone and in a batch; in a
                causal text model they do not depend on the tokens that follow
    centers     where it gives class centers, a parameter (K, N) of its own

`check_backbone` runs all of them on a few shapes; each is also a function of its own.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from harmbench.backbones import Backbone
from harmbench.testing._contract import (
    Contract,
    Result,
    Skipped,
    components_of,
    enforce,
    is_written_as_it_is_read,
    judge,
    require,
)

Shape = tuple[int, ...]

SHAPES: dict[str, tuple[Shape, ...]] = {
    "images": ((1, 8, 8), (3, 32, 32)),
    "tokens": ((1, 5), (3, 25)),
    "text": ((16, 40),),
}


def seeded(backbone: Backbone, shape: Shape) -> nn.Module:
    """A fresh module, always of the same seed."""
    torch.manual_seed(0)
    return backbone.build(shape)


def inputs_for(backbone: Backbone, shape: Shape) -> Tensor:
    """Two random inputs: images (2, C, H, W), or tokens (2, T) below V."""
    generator = torch.Generator().manual_seed(1)
    if backbone.takes == "images":
        return torch.randn(2, *shape, generator=generator)
    return torch.randint(shape[1], (2, shape[0]), generator=generator)


def has_reproducible_weights(backbone: Backbone, shape: Shape) -> None:
    """Weights come from torch's global generator alone: the same seed gives the same ones."""
    first, second = (seeded(backbone, shape) for _ in range(2))
    for (name, weights), others in zip(first.named_parameters(), second.parameters(), strict=True):
        require(torch.equal(weights, others), f"same seed, other weights: {name}")


def starts_in_training_mode(backbone: Backbone, shape: Shape) -> None:
    """A fresh module is in training mode."""
    require(seeded(backbone, shape).training, "built in evaluation mode")


def has_a_blank_of_its_inputs(backbone: Backbone, shape: Shape) -> None:
    """`blank` is a batch of one input, of the shape and type of its inputs."""
    blank, inputs = backbone.blank(shape), inputs_for(backbone, shape)
    require(
        (blank.shape, blank.dtype) == (inputs[:1].shape, inputs.dtype),
        f"blank is {blank.dtype} {tuple(blank.shape)}, inputs are {inputs.dtype} {tuple(inputs[:1].shape)}",
    )


def gives_features(backbone: Backbone, shape: Shape) -> None:
    """Features are finite, float32, (B, N), or (B, T, N) of text."""
    inputs = inputs_for(backbone, shape)
    features = seeded(backbone, shape)(inputs)
    dimensions = 3 if backbone.takes == "text" else 2
    require(features.ndim == dimensions, f"features of shape {tuple(features.shape)}, not of {dimensions} dimensions")
    require(len(features) == len(inputs), f"features of another batch size: {len(features)} of {len(inputs)} inputs")
    require(features.dtype == torch.float32, f"features are {features.dtype}, not float32")
    require(features.isfinite().all(), "features are not finite")
    known = backbone.known_features()
    require(known in (None, features.shape[-1]), f"known_features is {known}, and features have {features.shape[-1]}")


def trains_all_its_weights(backbone: Backbone, shape: Shape) -> None:
    """Every parameter gets a finite gradient."""
    module = seeded(backbone, shape)
    if not any(True for _ in module.parameters()):
        raise Skipped("it has no parameters")
    features = module(inputs_for(backbone, shape))
    generator = torch.Generator().manual_seed(2)
    require(features.requires_grad, "no gradient reaches its weights")
    (features * torch.randn(features.shape, generator=generator)).sum().backward()
    for name, weights in module.named_parameters():
        if weights.requires_grad:
            require(weights.grad is not None, f"no gradient reaches {name}")
            require(weights.grad is None or weights.grad.isfinite().all(), f"gradient of {name} not finite")


def has_centers_of_its_own(backbone: Backbone, shape: Shape) -> None:
    """Class centers, where it gives any, are a parameter (K, N) of the module."""
    module = seeded(backbone, shape)
    centers = backbone.centers(module)
    if centers is None:
        raise Skipped("it gives no class centers")
    features = module(inputs_for(backbone, shape))
    expected = (shape[1], features.shape[-1])
    require(centers.shape == expected, f"centers of shape {tuple(centers.shape)}, not {tuple(expected)}")
    is_own = any(centers is weights for weights in module.parameters())
    require(is_own, "centers that are not the module's")


def treats_each_input_alone(backbone: Backbone, shape: Shape) -> None:
    """In evaluation mode, the features of an input do not depend on the rest of the batch."""
    module, inputs = seeded(backbone, shape).eval(), inputs_for(backbone, shape)
    with torch.no_grad():
        alone, together = module(inputs[:1]), module(inputs)[:1]
    off = (alone - together).abs().max().item()
    is_same = torch.allclose(alone, together, rtol=1.3e-6, atol=1e-5)
    require(is_same, f"features depend on the rest of the batch: they differ by {off:.3g}")


def does_not_look_ahead(backbone: Backbone, shape: Shape) -> None:
    """Features that predict the next token do not depend on the tokens that follow."""
    if backbone.objective != "next":
        raise Skipped("it does not predict the next token")
    module, inputs = seeded(backbone, shape).eval(), inputs_for(backbone, shape)
    changed = inputs.clone()
    changed[:, -1] = (inputs[:, -1] + 1) % shape[1]
    with torch.no_grad():
        is_same = torch.equal(module(changed)[:, :-1], module(inputs)[:, :-1])
    require(is_same, "features look ahead: another last token changes those before it")


def can_be_copied(backbone: Backbone, shape: Shape) -> None:
    """A module can be copied and pickled: runs keep the best state as a copy, and warm up on another."""
    module, inputs = seeded(backbone, shape).eval(), inputs_for(backbone, shape)
    with torch.no_grad():
        for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
            require(torch.equal(twin(inputs), module(inputs)), "a copy gives other features")


CONTRACTS: tuple[Contract, ...] = (
    has_reproducible_weights,
    starts_in_training_mode,
    has_a_blank_of_its_inputs,
    gives_features,
    trains_all_its_weights,
    has_centers_of_its_own,
    treats_each_input_alone,
    does_not_look_ahead,
    can_be_copied,
)


def judge_backbone(backbone: Backbone | type[Backbone], shapes: Sequence[Shape] = ()) -> tuple[Result, ...]:
    """The result of each contract on a backbone.

    Args:
        backbone: an instance, or a class, of which all named variants are judged.
        shapes: of one input, (C, H, W) or (T, V); by default some that suit what the backbone takes.
    """
    results: list[Result] = []
    for each in components_of(backbone):
        results += judge(each, (is_written_as_it_is_read,))
        for shape in shapes or SHAPES[each.takes]:
            results += [_with_shape(result, shape) for result in judge(each, CONTRACTS, shape)]
    return tuple(results)


def _with_shape(result: Result, shape: Shape) -> Result:
    reason = (
        f"on inputs of {'x'.join(map(str, shape))}: {result.reason}" if result.status == "failed" else result.reason
    )
    return Result(result.component, result.contract, result.status, reason)


def check_backbone(backbone: Backbone | type[Backbone], shapes: Sequence[Shape] = ()) -> tuple[Result, ...]:
    """Check a backbone, or all named variants of a class, against the contract.

    Args:
        backbone: an instance, or a class.
        shapes: of one input, (C, H, W) or (T, V); by default some that suit what the backbone takes.

    Returns:
        One result for each variant, shape and contract.

    Raises:
        ContractError: naming every broken contract.

    >>> from harmbench.backbones import BACKBONES
    >>> results = check_backbone(BACKBONES.parse("mlp"), shapes=[(1, 8, 8)])
    >>> results[1].contract, results[1].status
    ('has_reproducible_weights', 'passed')
    """
    return enforce(judge_backbone(backbone, shapes))
