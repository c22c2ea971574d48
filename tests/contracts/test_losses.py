"""The contract of a loss, over every registered one, and with every distance that it fits."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import ClassVar, Literal

import mpmath
import numpy as np
import pytest
import torch
from torch import Tensor

from harmbench.backbones import BACKBONES
from harmbench.errors import OptionError, UnknownNameError
from harmbench.nn.distances import DISTANCES, Distance
from harmbench.nn.heads import DistanceHead, Objective
from harmbench.nn.losses import LOSSES, Loss
from harmbench.nn.losses.harmonic import Harmonic

N = 16
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
RNG = torch.Generator().manual_seed(0)
SCORES = torch.rand(32, 10, generator=RNG, dtype=torch.float64) + 0.5
TARGETS = torch.arange(32) % 10


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def nll(loss: Loss, scores: Tensor, targets: Tensor, in_features: int = N) -> Tensor:
    return loss.nll(loss.logits(scores, in_features, loss.initial_parameters(in_features)), targets)


# The contract.


def sums_to_one(loss: Loss) -> None:
    for scores in (SCORES, SCORES.float(), SCORES.bfloat16(), SCORES.half(), SCORES * 1e6, SCORES * 1e-6):
        total = loss.log_probs(scores, N).exp().sum(-1)
        torch.testing.assert_close(total, torch.ones_like(total), msg="probabilities do not sum to 1")


def predicts_the_likeliest(loss: Loss) -> None:
    likeliest = SCORES.argmin(-1) if loss.reads == "distances" else SCORES.argmax(-1)
    assert torch.equal(loss.log_probs(SCORES, N).argmax(-1), likeliest), "the nearest center is not predicted"


def is_the_mean_log_probability(loss: Loss) -> None:
    expected = -loss.log_probs(SCORES, N).gather(-1, TARGETS[:, None]).mean()
    torch.testing.assert_close(nll(loss, SCORES, TARGETS), expected, msg="nll is not that of log_probs")


def is_at_least_float32(loss: Loss) -> None:
    for half in (torch.float16, torch.bfloat16):
        found = loss.log_probs(SCORES.to(half), N)
        assert found.dtype == torch.float32, f"computes in {half}"
        assert torch.equal(found, loss.log_probs(SCORES.to(half).float(), N)), f"computes in {half}"


def has_the_gradients_of_its_values(loss: Loss) -> None:
    parameters = {name: p.double().requires_grad_() for name, p in loss.initial_parameters(N).items()}

    def value(scores: Tensor, *learned: Tensor) -> Tensor:
        return loss.nll(loss.logits(scores, N, dict(zip(parameters, learned, strict=True))), TARGETS[:4])

    leaves = (SCORES[:4].clone().requires_grad_(), *parameters.values())
    assert torch.autograd.gradcheck(value, leaves, raise_exception=False), "gradient is not that of the values"


def lets_nan_through(loss: Loss) -> None:
    scores = SCORES.clone()
    scores[3, 4] = torch.nan
    assert loss.log_probs(scores, N).isnan().any(-1).nonzero().tolist() == [[3]], "NaN is hidden, or spreads"
    assert nll(loss, scores, TARGETS).isnan(), "NaN is hidden"


def is_the_same_of_pairs(loss: Loss) -> None:
    if loss.reads == "logits":
        return
    x, w = torch.randn(32, 40, generator=RNG), torch.randn(10, 40, generator=RNG)  # enough for the kernels
    pairs, parameters = DISTANCES.parse("manhattan").pairs(x, w), loss.initial_parameters(40)
    expected = loss.nll(loss.logits(pairs.distances(), 40, parameters), TARGETS)
    found = loss.of_pairs(pairs, TARGETS, 40, parameters)
    torch.testing.assert_close(found, expected, msg="of_pairs is not nll")


CHECKS: list[Callable[[Loss], None]] = [
    is_the_same_of_pairs,
    sums_to_one,
    predicts_the_likeliest,
    is_the_mean_log_probability,
    is_at_least_float32,
    has_the_gradients_of_its_values,
    lets_nan_through,
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("loss", EVERY)
def test_contract(loss, check):
    check(loss)


@pytest.mark.parametrize("loss", EVERY)
def test_is_written_as_it_is_read(loss):
    assert LOSSES.parse(str(loss)) == loss


# The nearest center is predicted, from features to probabilities.


@cache
def features(source: str) -> Tensor:
    """Feature vectors: random ones of several sizes, or what a backbone makes of random images or tokens."""
    torch.manual_seed(0)
    if source == "vectors":
        x = torch.randn(64, N)
        return torch.cat([x, 0.1 * x, x.relu()])
    backbone = BACKBONES.parse(source)
    if backbone.takes != "images":
        return backbone.build((3, 25)).eval()(torch.randint(25, (64, 3))).detach().flatten(0, -2)
    return backbone.build((1, 8, 8)).eval()(torch.rand(64, 1, 8, 8)).detach()


def predicts_the_nearest_center(distance: Distance, loss: Loss, x: Tensor) -> None:
    torch.manual_seed(0)
    head, objective = DistanceHead(x.shape[1], 10, distance).eval(), Objective(loss, x.shape[1])
    d = head(torch.cat([x, head.weight]))
    predicted = d.gather(-1, objective.logits(d).argmax(-1, keepdim=True))
    # Within rounding, since -n log d of two distances one bit apart may be the same number.
    torch.testing.assert_close(
        predicted, d.amin(-1, keepdim=True), rtol=1e-5, atol=0, msg="the nearest center is not predicted"
    )


@pytest.mark.parametrize("source", ["vectors", *map(str, BACKBONES.every_variant())])
@pytest.mark.parametrize(("distance", "loss"), FITTING)
def test_nearest_center_is_predicted(distance, loss, source):
    predicts_the_nearest_center(distance, loss, features(source))


@pytest.mark.parametrize(("distance", "loss"), FITTING)
def test_training_pulls_the_own_center_near(distance, loss):
    torch.manual_seed(0)
    head, objective = DistanceHead(N, 3, distance), Objective(loss, N)
    x, targets = torch.randn(12, N), torch.arange(12) % 3
    before = objective(head(x), targets)
    optimizer = torch.optim.Adam([*head.parameters(), *objective.parameters()], lr=0.05)
    for _ in range(8):
        optimizer.zero_grad()
        objective(head(x), targets).backward()
        optimizer.step()
    assert objective(head.eval()(x), targets) < before


@pytest.mark.parametrize(("distance", "loss"), FITTING)
def test_features_on_their_centers_give_finite_loss_and_gradients(distance, loss):
    head, objective = DistanceHead(N, 4, distance), Objective(loss, N)
    x = head.weight.detach().clone().requires_grad_()
    for targets in (torch.arange(4), torch.arange(4).flip(0)):  # each on its own center, each on another's
        total = objective(head(x), targets)
        total.backward()
        assert total.isfinite()
        assert all(p.grad.isfinite().all() for p in [x, *head.parameters(), *objective.parameters()])


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
        predicts_the_nearest_center(distance, loss, features("vectors"))
