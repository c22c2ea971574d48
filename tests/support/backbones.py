"""The contract of one backbone."""

from __future__ import annotations

import torch
from torch import nn

from harmbench.backbones import Backbone

Shape = tuple[int, ...]


def check(backbone: Backbone, shape: Shape) -> None:
    """The contract of one backbone on inputs of one shape, (C, H, W) or (T, V)."""
    module, again = (seeded(backbone, shape) for _ in range(2))
    for (name, weights), others in zip(module.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(weights, others), f"same seed, other weights: {name}"
    generator = torch.Generator().manual_seed(1)
    inputs = (
        torch.randn(2, *shape, generator=generator)
        if backbone.takes == "images"
        else torch.randint(shape[1], (2, shape[0]), generator=generator)
    )
    assert inputs[:1].shape == backbone.blank(shape).shape
    assert inputs.dtype == backbone.blank(shape).dtype
    assert module.training, "built in evaluation mode"
    features = module(inputs)
    assert features.ndim == (3 if backbone.takes == "text" else 2), f"features of shape {tuple(features.shape)}"
    assert len(features) == 2, "features of another batch size"
    assert features.dtype == torch.float32
    assert features.isfinite().all()
    if features.requires_grad or any(True for _ in module.parameters()):
        (features * torch.randn(features.shape, generator=generator)).sum().backward()
    for name, weights in module.named_parameters():
        assert weights.grad is not None, f"no gradient reaches {name}"
        assert weights.grad.isfinite().all(), f"gradient of {name} not finite"
    if (centers := backbone.centers(module)) is not None:
        assert centers.shape == (shape[1], features.shape[-1]), f"centers of shape {tuple(centers.shape)}"
        assert any(centers is weights for weights in module.parameters()), "centers that are not the module's"
    module.eval()
    with torch.no_grad():
        torch.testing.assert_close(
            module(inputs[:1]), module(inputs)[:1], msg="features depend on the rest of the batch"
        )
        if backbone.objective == "next":
            changed = inputs.clone()
            changed[:, -1] = (inputs[:, -1] + 1) % shape[1]
            assert torch.equal(module(changed)[:, :-1], module(inputs)[:, :-1]), "features look ahead"


def seeded(backbone: Backbone, shape: Shape) -> nn.Module:
    torch.manual_seed(0)
    return backbone.build(shape)
