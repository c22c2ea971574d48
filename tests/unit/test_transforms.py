"""Heads and the fused loss under torch.func and torch.compile: the same numbers as without."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.func import functional_call, grad, hessian, jacrev, jvp, stack_module_state, vmap

from harmbench import HarmonicHead, harmonic_loss
from harmbench.nn.distances import DISTANCES
from harmbench.nn.kernels import build, choose
from tests.support.accuracy import LOSS_INPUTS

ADDRESSES = ["euclidean", "cosine", "manhattan", "mahalanobis[variant=full]"]  # each kind of form, and parameters
X, W, Y = LOSS_INPUTS["ordinary"]


@pytest.fixture(params=ADDRESSES)
def address(request: pytest.FixtureRequest) -> str:
    distance = DISTANCES.parse(request.param)
    assert choose(distance.operator, X, W).form != "reference", "nothing to fall back from"
    return str(request.param)


def _loss(x: Tensor, address: str, reduction: str = "mean") -> Tensor:
    return harmonic_loss(x, W, Y, distance=address, reduction=reduction)  # type: ignore[arg-type]


def test_gradients_of_a_functional_head(address: str) -> None:
    head = HarmonicHead(48, 50, address)
    parameters = dict(head.named_parameters())
    found = grad(lambda p: F.cross_entropy(functional_call(head, p, (X,)), Y))(parameters)
    F.cross_entropy(head(X), Y).backward()
    for name, parameter in parameters.items():
        torch.testing.assert_close(found[name], parameter.grad)


def test_an_ensemble_of_heads(address: str) -> None:
    heads = [HarmonicHead(48, 50, address) for _ in range(3)]
    parameters, buffers = stack_module_state(heads)
    found = vmap(lambda p, b: functional_call(heads[0], (p, b), (X,)))(parameters, buffers)
    torch.testing.assert_close(found, torch.stack([head(X) for head in heads]))


def test_gradients_of_each_sample(address: str) -> None:
    found = vmap(grad(lambda x, y: harmonic_loss(x, W, y, distance=address)))(X, Y)
    x = X.clone().requires_grad_()
    (right,) = torch.autograd.grad(_loss(x, address).mul(len(x)), x)
    torch.testing.assert_close(found, right, rtol=1e-4, atol=1e-6)


def test_jacobians_and_directional_derivatives(address: str) -> None:
    rows = jacrev(lambda x: _loss(x, address, "none"))(X)
    torch.testing.assert_close(rows.sum(0), len(X) * grad(lambda x: _loss(x, address))(X))
    _, along = jvp(lambda x: _loss(x, address, "none"), (X,), (W[:40],))
    torch.testing.assert_close(along, (rows * W[:40]).sum((1, 2)), rtol=1e-4, atol=1e-5)


def test_a_hessian_and_the_gradient_of_n(address: str) -> None:
    second = hessian(lambda x: harmonic_loss(x, W, Y[:2], distance=address))(X[:2])
    assert second.isfinite().all()
    torch.testing.assert_close(second, second.permute(2, 3, 0, 1), rtol=1e-4, atol=1e-5)
    n = torch.tensor(3.0, requires_grad=True)
    harmonic_loss(X, W, Y, distance=address, n=n).backward()
    found = grad(lambda n: harmonic_loss(X, W, Y, distance=address, n=n))(n.detach())
    torch.testing.assert_close(found, n.grad)


@pytest.mark.slow
def test_a_compiled_head_and_a_compiled_loss() -> None:
    """Each in one graph: a distance and an exponent that are made, not written, leave nothing to parse inside."""
    if not build.library().compiler:
        pytest.skip("no compiler here")
    head, manhattan, n = HarmonicHead(48, 50, "cosine"), DISTANCES.parse("manhattan"), torch.tensor(7.0)

    def of_head(x: Tensor) -> Tensor:
        return F.cross_entropy(head(x), Y)

    def of_loss(x: Tensor) -> Tensor:
        return harmonic_loss(x, W, Y, distance=manhattan, n=n)

    for function in (of_head, of_loss):
        results = []
        for form in (function, torch.compile(function, fullgraph=True)):
            x = X.clone().requires_grad_()
            loss = form(x)
            results.append((loss.detach(), *torch.autograd.grad(loss, x)))
        torch.testing.assert_close(results[0], results[1])
