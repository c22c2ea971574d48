"""The public contract of a loss (`harmbench.testing.losses`), over every registered one and every distance it fits."""

from __future__ import annotations

import math
from functools import cache
from typing import ClassVar, Literal

import mpmath
import numpy as np
import pytest
import torch
from torch import Tensor

from harmbench.backbones import BACKBONES
from harmbench.errors import ContractError, OptionError, UnknownNameError
from harmbench.nn.distances import DISTANCES
from harmbench.nn.heads import Objective
from harmbench.nn.losses import LOSSES, Loss
from harmbench.nn.losses.harmonic import Harmonic
from harmbench.testing import check_loss
from harmbench.testing._contract import Skipped
from harmbench.testing.losses import (
    CONTRACTS,
    FEATURES,
    SCORES,
    TARGETS,
    N,
    has_the_gradients_of_its_values,
    is_at_least_float32,
    is_finite_at_the_centers,
    is_finite_at_the_centers_of,
    is_the_mean_log_probability,
    is_the_same_of_pairs,
    is_written_as_it_is_read,
    lets_nan_through,
    nll,
    predicts_the_likeliest,
    predicts_the_nearest_center,
    predicts_the_nearest_center_with,
    pulls_features_to_their_centers,
    pulls_features_to_their_centers_of,
    sums_to_one,
)

# The others go through every distance; they are tested below with each of them alone.
WITH_EVERY_DISTANCE = (predicts_the_nearest_center, is_finite_at_the_centers, pulls_features_to_their_centers)
IN_ONE_STEP = [contract for contract in CONTRACTS if contract not in WITH_EVERY_DISTANCE]
EXPONENTS = ["1", "0.5", "sqrt_d", "d", "learnable"]
WRITTEN = [*map(str, LOSSES.every_variant()), *(f"harmonic[n={n}]" for n in EXPONENTS if n != "sqrt_d")]
EVERY = [pytest.param(LOSSES.parse(address), id=address) for address in WRITTEN]
OF_DISTANCES = [pytest.param(LOSSES.parse(a), id=a) for a in WRITTEN if LOSSES.parse(a).reads == "distances"]
FITTING = [
    pytest.param(distance, loss.values[0], id=f"{distance}-{loss.id}")
    for distance in DISTANCES.every_variant()
    for loss in OF_DISTANCES
    if distance.name in (loss.values[0].distances or [distance.name])
]


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("check", IN_ONE_STEP, ids=lambda check: check.__name__)
@pytest.mark.parametrize("loss", EVERY)
def test_contract(loss, check):
    try:
        check(loss)
    except Skipped as skipped:
        pytest.skip(str(skipped))


# The nearest center is predicted, from features to probabilities.


@cache
def features(source: str) -> Tensor:
    """Feature vectors: random ones of several sizes, or what a backbone makes of random images or tokens."""
    torch.manual_seed(0)
    if source == "vectors":
        return FEATURES
    backbone = BACKBONES.parse(source)
    if backbone.takes != "images":
        return backbone.build((3, 25)).eval()(torch.randint(25, (64, 3))).detach().flatten(0, -2)
    return backbone.build((1, 8, 8)).eval()(torch.rand(64, 1, 8, 8)).detach()


@pytest.mark.parametrize("source", ["vectors", *map(str, BACKBONES.every_variant())])
@pytest.mark.parametrize(("distance", "loss"), FITTING)
def test_nearest_center_is_predicted(distance, loss, source):
    predicts_the_nearest_center_with(distance, loss, features(source))


@pytest.mark.parametrize(("distance", "loss"), FITTING)
def test_training_pulls_the_own_center_near(distance, loss):
    pulls_features_to_their_centers_of(distance, loss)


@pytest.mark.parametrize(("distance", "loss"), FITTING)
def test_features_on_their_centers_give_finite_loss_and_gradients(distance, loss):
    is_finite_at_the_centers_of(distance, loss)


# HarMax.


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1.0, 1e3, 1e6], ids="{:g}".format)
@pytest.mark.parametrize(("n", "exponent"), [("1", 1), ("sqrt_d", 4), ("d", 16), ("learnable", 4)])
def test_harmonic_is_a_power_of_the_distance(n, exponent, scale):
    """p_k is d_k^-n, where n acts on the distance and not on its square; float32 rounds n log d."""
    d = SCORES * scale
    powers = [[mpmath.mpf(v) ** -exponent for v in row] for row in d.tolist()]
    expected = [[float(p / sum(row)) for p in row] for row in powers]
    loss = LOSSES.parse(f"harmonic[n={n}]")
    np.testing.assert_allclose(loss.log_probs(d, N).exp(), expected, rtol=1e-6 if n == "learnable" else 1e-12)
    rounding = 4 * torch.finfo(torch.float32).eps * (1 + exponent * (1 + abs(math.log(scale))))
    np.testing.assert_allclose(loss.log_probs(d.float(), N).exp(), expected, rtol=rounding)


def test_harmonic_spans_twelve_decades():
    d = torch.tensor([[1e-6, 1.0, 1e6]])
    log_probs = LOSSES.parse("harmonic[n=d]").log_probs(d, 768)
    torch.testing.assert_close(log_probs, -768 * torch.tensor([[0.0, math.log(1e6), math.log(1e12)]]))


def test_harmonic_probability_of_two_classes():
    probabilities = LOSSES.parse("harmonic[n=2]").log_probs(torch.tensor([[1.0, 3.0]]), N).exp()
    torch.testing.assert_close(probabilities, torch.tensor([[0.9, 0.1]]))  # 1 : 1/9, and not 1 : 1/81


@pytest.mark.parametrize("n", EXPONENTS)
def test_harmonic_is_scale_free(n):
    loss, d = LOSSES.parse(f"harmonic[n={n}]"), SCORES.clone().requires_grad_()
    torch.testing.assert_close(loss.log_probs(1e5 * SCORES, N), loss.log_probs(SCORES, N))
    nll(loss, d, TARGETS).backward()
    torch.testing.assert_close((d * d.grad).sum(-1), torch.zeros(32).double())  # no radial gradient


def _loss_and_gradient_in_mpmath(d: list[float], n: int) -> tuple[float, list[float]]:
    """Of class 0: log(1 + sum of others' (d_0 / d_k)^n), and (n / d_k) (1[k = 0] - p_k)."""
    powers = [mpmath.mpf(v) ** -n for v in d]
    p = [power / sum(powers) for power in powers]
    others = mpmath.fsum(p[1:])
    gradient = [n * others / d[0], *(-n * q / v for q, v in zip(p[1:], d[1:], strict=True))]
    return float(mpmath.log1p(mpmath.fsum(powers[1:]) / powers[0])), [float(g) for g in gradient]


@pytest.mark.parametrize("n", [1, 2, 28, 256])
@pytest.mark.parametrize("size", [1e-2, 1e-6, 1e-10, 1e-15], ids="loss={:g}".format)
def test_harmonic_keeps_its_digits_near_certainty(n, size):
    """In float32, where p_c rounds to 1 and plain cross-entropy to 0. What is lost is the rounding of n log d."""
    ratio = (size / 3) ** (1 / n)
    d = torch.tensor([[3.0, 3.0 / ratio, 3.1 / ratio, 3.3 / ratio]], requires_grad=True)
    value, gradient = _loss_and_gradient_in_mpmath(d[0].tolist(), n)
    digits = torch.finfo(torch.float32).eps * (1 + n * d.log().abs().max().item())
    found = nll(LOSSES.parse(f"harmonic[n={n}]"), d, torch.tensor([0]))
    found.backward()
    assert found.item() == pytest.approx(value, rel=digits, abs=0)
    assert d.grad[0].tolist() == pytest.approx(gradient, rel=digits, abs=0)


def test_exact_hits_tie():
    log_probs = LOSSES.parse("harmonic").log_probs(torch.tensor([[0.0, 0.0, 1.0], [0.0, 2.0, 1.0]]), N)
    torch.testing.assert_close(log_probs.exp(), torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]))


def test_learnable_exponent_learns_and_stays_positive():
    objective = Objective("harmonic[n=learnable]", N)
    (log_n,) = objective.parameters()
    optimizer = torch.optim.SGD(objective.parameters(), lr=10.0)
    for _ in range(20):  # the targets are the farthest classes: the best exponent would be negative
        optimizer.zero_grad()
        objective(SCORES, SCORES.argmax(-1)).backward()
        assert log_n.grad > 0
        optimizer.step()
    assert 0 < log_n.exp() < 0.5


REFUSED = {
    "harmonic[n=-1]": r"n: must be a number > 0, sqrt_d, d or learnable, got -1",
    "harmonic[n=0]": r"n: must be a number > 0, sqrt_d, d or learnable, got 0",
    "harmonic[n=inf]": r"n: must be a number > 0, sqrt_d, d or learnable, got inf",
    "harmonic[n=nan]": r"n: must be a number > 0, sqrt_d, d or learnable, got nan",
    "harmonic[n=two]": r"n: must be a number > 0, sqrt_d, d or learnable, got 'two'",
    "harmonic[m=1]": r"harmonic\[m=1\]: no option 'm' \(it takes: n\)",
    "cosine_softmax[temperature=0]": r"temperature: input should be greater than 0",
    "distance_softmax[temperature=inf]": r"temperature: input should be a finite number",
}


@pytest.mark.parametrize(("address", "message"), REFUSED.items(), ids=REFUSED)
def test_wrong_options_are_refused(address, message):
    with pytest.raises(OptionError, match=message):
        LOSSES.parse(address)


def test_unknown_loss_shows_the_nearest():
    with pytest.raises(UnknownNameError, match=r"unknown loss 'harmonc'; did you mean 'harmonic'\?"):
        LOSSES.parse("harmonc")


# Wrong losses: each breaks one line of the contract.


class Wrong(Loss):
    """Says that it is harmonic."""

    name: ClassVar[str] = "harmonic"
    reads: ClassVar[Literal["logits", "distances"]] = "distances"

    def logits(self, scores, in_features, parameters):
        return -4 * scores.log()


class MinusThePower(Wrong):
    """The released code's: the score d^-n, already a similarity, with its sign turned once more."""

    def logits(self, scores, in_features, parameters):
        return -(scores**-1)


class NearMeansUnlikely(Wrong):
    def logits(self, scores, in_features, parameters):
        return scores


class NaNRepairing(Wrong):
    def logits(self, scores, in_features, parameters):
        return super().logits(scores, in_features, parameters).nan_to_num(0.0)


class Smoothed(Wrong):
    """Smooths the targets in training, so that the loss is not that of the probabilities it reports."""

    def nll(self, logits, targets):
        return torch.nn.functional.cross_entropy(logits, targets, label_smoothing=0.1)


class SmoothedApart(Smoothed, Harmonic):
    """Smooths in `nll`, and inherits a way around it."""


class Unnormalized(Wrong):
    def log_probs(self, scores, in_features, parameters=None):
        return self.logits(scores, in_features, {})


class InfiniteOfZero(Wrong):
    """Has no finite loss of a feature that lies on another class's center."""

    def logits(self, scores, in_features, parameters):
        return 1 / scores


class Constant(Wrong):
    def logits(self, scores, in_features, parameters):
        return 0 * scores


class HidesItsOption(Wrong):
    n: float = 4.0

    def shown_options(self):
        return {}


class Detached(Wrong):
    def logits(self, scores, in_features, parameters):
        return -4 * (scores / scores.amin(-1, keepdim=True).detach() + 0.1).log()


WRONG = [
    (MinusThePower(), predicts_the_likeliest, "the nearest center is not predicted"),
    (NearMeansUnlikely(), predicts_the_likeliest, "the nearest center is not predicted"),
    (NaNRepairing(), lets_nan_through, "NaN is hidden"),
    (Smoothed(), is_the_mean_log_probability, "nll is not that of log_probs"),
    (SmoothedApart(), is_the_same_of_pairs, "of_pairs is not nll"),
    (Unnormalized(), sums_to_one, "probabilities do not sum to 1"),
    (Detached(), has_the_gradients_of_its_values, "gradient is not that of the values"),
    (NearMeansUnlikely(), predicts_the_nearest_center, "the nearest center is not predicted for"),
    (InfiniteOfZero(), is_finite_at_the_centers, "of features on centers is"),
    (Constant(), pulls_features_to_their_centers, "eight steps of training take the loss from"),
    (HidesItsOption(n=3), is_written_as_it_is_read, "read back"),
    (Wrong(), is_at_least_float32, "computes in torch.float16"),
]


@pytest.mark.parametrize(
    ("loss", "check", "message"), WRONG, ids=[f"{type(loss).__name__}-{check.__name__}" for loss, check, _ in WRONG]
)
def test_wrong_loss_is_caught(loss, check, message):
    with pytest.raises(AssertionError, match=message):
        check(loss)


@pytest.mark.parametrize("loss", [MinusThePower(), NearMeansUnlikely()], ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("distance", DISTANCES.every_variant(), ids=str)
def test_far_sighted_loss_is_caught_behind_every_distance(distance, loss):
    with pytest.raises(AssertionError, match="the nearest center is not predicted"):
        predicts_the_nearest_center_with(distance, loss, FEATURES)


def test_each_contract_has_a_wrong_loss():
    assert {check for _, check, _ in WRONG} == set(CONTRACTS)


def test_a_wrong_loss_is_refused_with_every_reason():
    with pytest.raises(ContractError, match="harmonic lets_nan_through: NaN is hidden"):
        check_loss(NaNRepairing())
