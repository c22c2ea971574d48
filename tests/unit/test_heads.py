"""Heads as a library: in anybody's model, optimizer and training loop."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import harmbench
from harmbench.errors import OptionError, UnknownNameError
from harmbench.nn.distances import DISTANCES
from harmbench.nn.heads import DistanceHead, HarmonicHead, LinearHead, Objective

VARIANTS = [str(distance) for distance in DISTANCES.every_variant()]
X, TARGETS = torch.randn(6, 8, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 4


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("distance", VARIANTS)
def test_cross_entropy_of_a_harmonic_head_is_the_harmonic_loss(distance):
    head = HarmonicHead(8, 4, distance, n=3).double().eval()
    d = head.head(X.double())
    harmonic = (d**-3 / (d**-3).sum(-1, keepdim=True))[range(6), TARGETS].log().neg().mean()
    torch.testing.assert_close(cross_entropy(head(X.double()), TARGETS), harmonic)
    torch.testing.assert_close(head.objective(d, TARGETS), harmonic)


@pytest.mark.parametrize("distance", VARIANTS)
@pytest.mark.parametrize("n", [1.0, "sqrt_d", "d", "learnable"])
def test_every_parameter_of_a_harmonic_head_learns(distance, n):
    model = nn.Sequential(nn.Linear(8, 8), HarmonicHead(8, 4, distance, n))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        cross_entropy(model(X), TARGETS).backward()
        optimizer.step()
    assert [name for name, p in model.named_parameters() if torch.equal(p, before[name])] == []
    assert ("1.objective.loss_parameters.log_n" in before) == (n == "learnable")
    learns = distance.startswith("mahalanobis") or distance == "minkowski[p=learnable]"
    assert any("distance_parameters" in name for name in before) == learns


@pytest.mark.parametrize("distance", VARIANTS)
def test_state_goes_round_and_copies_are_independent(distance):
    head, other = (HarmonicHead(8, 4, distance, "learnable").eval() for _ in range(2))
    assert not torch.equal(head(X), other(X))
    other.load_state_dict(head.state_dict())
    assert torch.equal(head(X), other(X))
    twin = copy.deepcopy(head)
    with torch.no_grad():
        head.weight.add_(1.5)
    assert torch.equal(twin(X), other(X))
    assert not torch.equal(twin(X), head(X))


@pytest.mark.parametrize("distance", VARIANTS)
def test_autocast_leaves_distances_and_loss_in_float32(distance):
    head = HarmonicHead(8, 4, distance).eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = head(X)
        loss = cross_entropy(logits, TARGETS)
    assert logits.dtype == loss.dtype == torch.float32
    assert torch.equal(logits, head(X))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_half_precision_model_has_float32_logits(dtype):
    head = HarmonicHead(8, 4, "mahalanobis", "learnable").to(dtype)
    logits = head(X.to(dtype))
    cross_entropy(logits, TARGETS).backward()
    assert logits.dtype == torch.float32
    assert all(p.grad.dtype == dtype for p in head.parameters())


@pytest.mark.parametrize("shape", [(), (6,), (0,), (2, 3), (2, 0, 5)], ids=str)
def test_leading_axes_are_kept_as_a_linear_layer_keeps_them(shape):
    x = torch.randn(*shape, 8)
    assert HarmonicHead(8, 4)(x).shape == nn.Linear(8, 4)(x).shape
    torch.testing.assert_close(DistanceHead(8, 4)(x).shape, torch.Size((*shape, 4)))


def test_tokens_are_judged_one_by_one():
    head = HarmonicHead(8, 4)
    torch.testing.assert_close(head(X.view(2, 3, 8)), head(X).view(2, 3, 4))


def test_heads_compared_by_seed_start_from_the_same_numbers():
    weights = []
    for build in (LinearHead, DistanceHead, HarmonicHead):
        torch.manual_seed(0)
        weights.append(build(8, 4).weight)
    assert torch.equal(weights[0], weights[1])
    assert torch.equal(weights[1], weights[2])


def test_a_head_takes_a_distance_or_its_address():
    given = DISTANCES.parse("minkowski[p=3]")
    assert DistanceHead(8, 4, given).distance == DistanceHead(8, 4, "minkowski[p=3]").distance
    assert "distance=minkowski[p=3]" in repr(DistanceHead(8, 4, given))


def test_a_head_compiles_into_one_graph():
    head = HarmonicHead(8, 4, "mahalanobis", "learnable")
    compiled = torch.compile(head, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(X), head(X))


def test_gumbel_noise_ends_with_training():
    head = HarmonicHead(8, 4, "hamming[variant=gumbel]")
    assert not torch.equal(head(X), head(X))
    assert torch.equal(head.eval()(X), head(X))


def test_objective_of_a_linear_head_is_cross_entropy():
    head, objective = LinearHead(8, 4), Objective("cross_entropy", 8)
    assert torch.equal(objective(head(X), TARGETS), cross_entropy(head(X), TARGETS))
    assert list(objective.parameters()) == []


def test_default_exponent_is_the_root_of_the_feature_length():
    head = HarmonicHead(8, 4)
    torch.testing.assert_close(head(X), -math.sqrt(8) * head.head(X).log())


WRONG = {
    "metric": ({"distance": "euclidian"}, UnknownNameError, "did you mean 'euclidean'"),
    "option": ({"distance": "minkowski[p=0.5]"}, OptionError, "p: must be a finite number >= 1, got 0.5"),
    "exponent": ({"n": -1}, OptionError, "n: must be a number > 0, sqrt_d, d or learnable, got -1"),
}


@pytest.mark.parametrize(("options", "error", "message"), WRONG.values(), ids=WRONG)
def test_wrong_options_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        HarmonicHead(8, 4, **options)


def test_features_of_another_length_are_refused():
    with pytest.raises(ValueError, match=r"euclidean: expected features \(B, N\) .* got \(6, 8\) and \(4, 9\)"):
        HarmonicHead(9, 4)(X)


def test_public_names_lead_here():
    assert harmbench.HarmonicHead is HarmonicHead
    assert {"DistanceHead", "HarmonicHead", "LinearHead", "Objective"} <= set(harmbench.__all__)
