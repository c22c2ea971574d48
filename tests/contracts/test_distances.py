"""The public contract of a distance, over every registered one and every variant; and its values by other means.

The contracts are `harmbench.testing.distances`. The last part of this file shows that each of them catches a wrong
distance.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import ClassVar

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from torch import Tensor

from harmbench.errors import ContractError, OptionError, UnknownNameError
from harmbench.nn.distances import DISTANCES, Distance, Facts
from harmbench.nn.distances._functions import differences
from harmbench.testing import check_distance
from harmbench.testing._contract import Skipped
from harmbench.testing.distances import (
    CONTRACTS,
    PRECISIONS,
    W,
    X,
    apply,
    has_exactly_its_facts,
    has_finite_gradients,
    has_its_facts_everywhere,
    has_the_gradients_of_its_formula,
    has_the_gradients_of_its_values,
    is_float32_under_autocast,
    is_its_formula_in_every_form,
    is_its_formula_in_float64,
    is_not_negative,
    is_written_as_it_is_read,
    is_zero_at_the_center,
    learned_parameters,
    learns_with_all_its_parameters,
    lets_nan_through,
    refuses_shapes_that_do_not_fit,
    takes_empty_batches,
)
from tests.support.references import INPUTS, REFERENCES, precision_matrix, tolerance

VARIANTS = [pytest.param(distance, id=str(distance)) for distance in DISTANCES.every_variant()]
REFERENCED = [pytest.param(DISTANCES.parse(address), id=address) for address in REFERENCES]
ARRAYS = X.numpy(), W.numpy()


# Values by independent references.


def agrees_with_its_reference(distance: Distance) -> None:
    for kind, (x, w) in INPUTS.items():
        for dtype in PRECISIONS:
            found = apply(distance, torch.tensor(x, dtype=dtype), torch.tensor(w, dtype=dtype)).double().numpy()
            parameters = {name: p.double().numpy() for name, p in learned_parameters(distance, x.shape[1]).items()}
            expected = REFERENCES[str(distance)](x, w, parameters)
            limits = torch.finfo(dtype)
            allowed = tolerance(str(distance), x, w, expected, limits.eps, limits.tiny)
            off = np.abs(found - expected)
            assert (off <= allowed).all(), f"{kind} inputs in {dtype}: off by {np.nanmax(off):.2g}\n{found}\n{expected}"


@pytest.mark.parametrize("check", CONTRACTS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("distance", VARIANTS)
def test_contract(distance, check):
    try:
        check(distance)
    except Skipped as skipped:
        pytest.skip(str(skipped))


@pytest.mark.parametrize("distance", REFERENCED)
def test_value(distance):
    agrees_with_its_reference(distance)


def test_every_variant_has_a_reference():
    assert {str(distance) for distance in DISTANCES.every_variant()} <= set(REFERENCES)


def test_every_variant_is_a_different_function():
    def values(distance: Distance) -> Tensor:
        torch.manual_seed(0)
        return apply(distance, *near_zero, training=True)

    near_zero = [torch.where(torch.arange(8) < 4, vectors, 1e-3 * vectors) for vectors in (X, W)]
    for one, other in combinations(DISTANCES.every_variant(), 2):
        assert not torch.allclose(values(one), values(other)), f"{one} is {other}"


# References that are not SciPy's own, where SciPy has the function too.


def test_reference_of_cosine_is_scipy():
    np.testing.assert_allclose(REFERENCES["cosine"](*ARRAYS, {}), cdist(*ARRAYS, "cosine"), rtol=1e-12)


def test_reference_of_correlation_is_scipy():
    np.testing.assert_allclose(REFERENCES["correlation"](*ARRAYS, {}), cdist(*ARRAYS, "correlation"), rtol=1e-12)


def test_reference_of_bray_curtis_is_scipy_on_its_domain():
    x, w = map(np.abs, ARRAYS)
    np.testing.assert_allclose(REFERENCES["bray_curtis"](x, w, {}), cdist(x, w, "braycurtis"), rtol=1e-12)


# Single distances.


def test_cosine_keeps_its_digits_near_the_center():
    x = W + 1e-6 * X[:4]
    expected = REFERENCES["cosine"](x.numpy(), W.numpy(), {})
    assert expected.min() < 1e-11  # where 1 - cos has lost at least five digits
    np.testing.assert_allclose(DISTANCES.parse("cosine")(x, W), expected, rtol=1e-8)


def test_an_angle_keeps_its_digits_at_both_ends():
    x, w = X[:1].float(), X[:1].float() + 1e-6 * X[1:2].float()
    for sign in (1, -1):
        expected = REFERENCES["angular"](x.double().numpy(), sign * w.double().numpy(), {})
        np.testing.assert_allclose(DISTANCES.parse("angular")(x, sign * w), expected, rtol=1e-6)


def test_a_constant_vector_correlates_with_nothing():
    x = torch.tensor([[0.1] * 7, [1e30] * 7, [0.0] * 7], requires_grad=True)
    d = DISTANCES.parse("correlation")(x, X[:4, :7].float())
    d.sum().backward()
    assert (d == 1).all()
    assert not x.grad.any()


@pytest.mark.parametrize(("address", "by"), [("correlation", 3.0), ("hellinger", 3.0)])
def test_it_is_blind_to_a_shift(address, by):
    distance = DISTANCES.parse(address)
    torch.testing.assert_close(distance(X + by, W), distance(X, W))


@pytest.mark.parametrize("size", [1e-3, 1.0, 17.0, 40.0, 1e3])
def test_poincare_is_hyperbolic_far_beyond_the_edge_that_float32_sees(size):
    """A ball of points u has none with |u| > 1 - 1e-7 in float32; these are at up to |u| = 1 - 1e-434."""
    x, w = size * torch.eye(3), size * torch.eye(3)[[1, 2, 0]]
    expected = REFERENCES["poincare"](x.double().numpy(), w.double().numpy(), {})
    np.testing.assert_allclose(DISTANCES.parse("poincare")(x, w), expected, rtol=2e-7)


def test_poincare_has_its_gradient_at_the_origin():
    """From there any step counts by how far it goes towards the center, whichever form computes."""
    for repeats in (1, 600):  # the formula, and a matrix product
        x = torch.zeros(repeats, 8, requires_grad=True)
        DISTANCES.parse("poincare")(x, W[:1].float()).sum().backward()
        towards = -(W[:1] / W[:1].norm()).float().expand_as(x)
        torch.testing.assert_close(x.grad, towards)


def test_poincare_of_little_curvature_is_euclidean():
    flat = DISTANCES.parse("poincare[curvature=1e-8]")(X, W)
    torch.testing.assert_close(flat, DISTANCES.parse("euclidean")(X, W), rtol=1e-6, atol=0)


def test_learned_minkowski_starts_as_euclidean_and_keeps_its_order_in_bounds():
    distance = DISTANCES.parse("minkowski[p=learnable]")
    torch.testing.assert_close(distance(X, W), DISTANCES.parse("euclidean")(X, W))
    for extreme in (-1e4, 1e4):
        d = distance(X.float(), W.float(), {"log_excess": torch.tensor(extreme)})
        nearest = "manhattan" if extreme < 0 else "chebyshev"
        torch.testing.assert_close(d, DISTANCES.parse(nearest)(X.float(), W.float()), rtol=1e-3, atol=0)


def test_mahalanobis_starts_as_euclidean():
    for variant in ("full", "diagonal"):
        start = DISTANCES.parse(f"mahalanobis[variant={variant}]")(X, W)
        torch.testing.assert_close(start, DISTANCES.parse("euclidean")(X, W))


EXTREMES = {
    "all small": (-1e3, 0.0),
    "all large": (1e3, 0.0),
    "large below": (0.0, 1e6),
    "huge below": (-1e3, 1e30),
    "wide": (np.linspace(-1e3, 1e3, 8), 0.0),
}


@pytest.mark.parametrize("variant", ["full", "diagonal"])
@pytest.mark.parametrize(("diagonal", "lower"), EXTREMES.values(), ids=EXTREMES)
def test_mahalanobis_matrix_is_positive_definite_with_trace_n(variant, diagonal, lower):
    distance = DISTANCES.parse(f"mahalanobis[variant={variant}]")
    parameters = {"log_diagonal": torch.zeros(8) + torch.as_tensor(diagonal), "lower": torch.full((8, 8), lower)}
    factor = distance.factor({name: value.float() for name, value in parameters.items()})
    assert (factor if variant == "diagonal" else factor.diagonal() > 0).all()  # L L^T with such an L is definite
    torch.testing.assert_close(factor.square().sum(), torch.tensor(8.0))
    assert distance(X, W, parameters).isfinite().all()


def test_mahalanobis_has_its_reference_matrix():
    distance = DISTANCES.parse("mahalanobis[variant=full]")
    parameters = {name: p.double() for name, p in learned_parameters(distance, 8).items()}
    factor = distance.factor(parameters)
    np.testing.assert_allclose(
        (factor @ factor.T).numpy(), precision_matrix({n: p.numpy() for n, p in parameters.items()})
    )


def test_hard_hamming_has_the_gradient_of_the_sigmoid_where_bits_differ():
    distance = DISTANCES.parse("hamming[variant=hard,temperature=0.5,threshold=0.25]")
    x = X.clone().requires_grad_()
    distance(x, W).sum().backward()
    sigmoid = torch.sigmoid((X - 0.25) / 0.5)
    sign = differences((X > 0.25).double(), (W > 0.25).double()).sum(1)
    torch.testing.assert_close(x.grad, sign * sigmoid * (1 - sigmoid) / 0.5 / 8)


def test_hard_hamming_is_exactly_zero_where_bits_agree():
    x = X.float().abs()
    assert not DISTANCES.parse("hamming[variant=hard]")(x, x.flip(0)).any()


def test_gumbel_hamming_is_noisy_in_training_only():
    distance = DISTANCES.parse("hamming[variant=gumbel]")
    assert not torch.equal(distance(X, W, training=True), distance(X, W, training=True))
    assert torch.equal(distance(X, W), DISTANCES.parse("hamming[variant=soft]")(X, W))


def test_smooth_chebyshev_keeps_its_digits_with_many_features():
    x = torch.zeros(1, 4096)
    x[0, 0] = 0.2
    expected = np.log1p(np.expm1(10 * float(x[0, 0])) / 4096) / 10
    found = DISTANCES.parse("chebyshev[variant=smooth]")(x, torch.zeros(1, 4096)).item()
    assert found == pytest.approx(expected, rel=1e-6)


# Addresses.

SAME = {
    "bare name": ("minkowski", "minkowski[p=1.5]"),
    "bare name, named first variant": ("hamming", "hamming[variant=soft]"),
    "default spelled out": ("canberra[variant=standard]", "canberra"),
    "spaces": (" minkowski[ p = 3.0 ] ", "minkowski[p=3]"),
    "off default": ("canberra[floor=0.5,variant=robust]", "canberra[variant=robust,floor=0.5]"),
}


@pytest.mark.parametrize(("written", "canonical"), SAME.values(), ids=SAME)
def test_canonical_address(written, canonical):
    assert str(DISTANCES.parse(written)) == canonical


REFUSED = {
    "minkowski[p=0.5]": r"p: must be a finite number >= 1, got 0\.5 \(for p = infinity use chebyshev\)",
    "minkowski[p=inf]": r"p: must be a finite number >= 1, got inf",
    "minkowski[p=nan]": r"p: must be a finite number >= 1, got nan",
    "minkowski[p=three]": r"p: must be a finite number >= 1, or learnable, got 'three'",
    "minkowski[p]": r"cannot read 'p' in 'minkowski\[p\]'; write option=value",
    "minkowski[p=3": r"cannot read metric 'minkowski\[p=3'; write name or name\[option=value",
    "euclidean[p=2]": r"euclidean\[p=2\]: no option 'p' \(it takes: none\). See `harmbench show euclidean`",
    "euclidean:2": r"metric 'euclidean' takes nothing after a colon",
    "poincare[curvature=0]": r"curvature: input should be greater than 0",
    "hamming[variant=fuzzy]": r"variant: input should be 'soft', 'gumbel' or 'hard'",
    "hamming[temperature=0]": r"temperature: input should be greater than 0",
    "canberra[variant=robust,floor=inf]": r"floor: input should be a finite number",
    "canberra[floor=0.1]": r"floor: only variant=robust reads it",
    "canberra[variant=robust,gamma=2]": r"gamma: only variant=weighted reads it",
    "chebyshev[alpha=5]": r"alpha: only variant=smooth reads it",
}


@pytest.mark.parametrize(("address", "message"), REFUSED.items(), ids=REFUSED)
def test_wrong_options_are_refused(address, message):
    with pytest.raises(OptionError, match=message):
        DISTANCES.parse(address)


def test_unknown_metric_shows_the_nearest():
    with pytest.raises(
        UnknownNameError, match=r"unknown metric 'euclidian'; did you mean 'euclidean'\? Known: angular,"
    ):
        DISTANCES.parse("euclidian")


# Wrong distances, several of them met in released code: each breaks one line of the contract.


class Wrong(Distance):
    """Says that it is the Euclidean distance."""

    name: ClassVar[str] = "euclidean"

    @property
    def facts(self) -> Facts:
        return Facts(is_metric=True, is_symmetric=True, is_scale_invariant=False)

    def pairwise(self, x: Tensor, centers: Tensor, parameters: Mapping[str, Tensor], training: bool) -> Tensor:
        return torch.linalg.vector_norm(differences(x, centers), dim=-1)


class Squared(Wrong):
    def pairwise(self, x, centers, parameters, training):
        return differences(x, centers).square().sum(-1)


class Shifted(Wrong):
    def pairwise(self, x, centers, parameters, training):
        return super().pairwise(x, centers, parameters, training) + 1e-4


class Gram(Wrong):
    def pairwise(self, x, centers, parameters, training):
        square = x.square().sum(-1)[:, None] + centers.square().sum(-1) - 2 * x @ centers.T
        return square.clamp_min(0).sqrt()


class NaNAtCenter(Wrong):
    def pairwise(self, x, centers, parameters, training):
        return differences(x, centers).square().sum(-1).sqrt()


class NaNRepairing(Wrong):
    def pairwise(self, x, centers, parameters, training):
        return super().pairwise(x, centers, parameters, training).nan_to_num(0.0)


class Detached(Wrong):
    def pairwise(self, x, centers, parameters, training):
        return super().pairwise(x, centers.detach(), parameters, training) + 0 * centers.sum()


class HalfPrecision(Wrong):
    def __call__(self, x, centers, parameters=None, *, training=False):
        return self.pairwise(x, centers, {}, training)


class Untrained(Wrong):
    def initial_parameters(self, in_features):
        return {"log_diagonal": torch.zeros(in_features)}

    def pairwise(self, x, centers, parameters, training):
        scale = parameters["log_diagonal"].detach().exp() + 0 * parameters["log_diagonal"]
        return torch.linalg.vector_norm(differences(x, centers) * scale, dim=-1)


class InnerProduct(Wrong):
    def pairwise(self, x, centers, parameters, training):
        return -x @ centers.T


class CosineCalledAMetric(Wrong):
    name: ClassVar[str] = "cosine"

    def pairwise(self, x, centers, parameters, training):
        return 1 - torch.nn.functional.cosine_similarity(x[:, None], centers[None], dim=-1)


class StandardizedChebyshev(Wrong):
    name: ClassVar[str] = "chebyshev"

    def pairwise(self, x, centers, parameters, training):
        size = differences(x, centers).abs()
        return (size / (size.std(-1, keepdim=True) + 1e-4)).amax(-1)


class OperatorOfAnother(Wrong):
    """Fast, and the Manhattan distance where it is."""

    @property
    def operator(self):
        return DISTANCES.parse("manhattan").operator


class RoundedInputs(Wrong):
    def __call__(self, x, centers, parameters=None, *, training=False):
        return super().__call__(x.bfloat16(), centers.bfloat16(), parameters, training=training).to(x.dtype)


class NoGradientOfFeatures(Wrong):
    def __call__(self, x, centers, parameters=None, *, training=False):
        return super().__call__(x.detach(), centers, parameters, training=training)


class TakesAnyShape(Wrong):
    def __call__(self, x, centers, parameters=None, *, training=False):
        return torch.zeros(len(x), len(centers))


class NeverEmpty(Wrong):
    def __call__(self, x, centers, parameters=None, *, training=False):
        return super().__call__(x if len(x) else 0 * centers[:1], centers, parameters, training=training)


class HidesItsOption(Wrong):
    p: float = 2.0

    def shown_options(self):
        return {}


class FarthestCoordinateOnly(Wrong):
    name: ClassVar[str] = "manhattan"

    def pairwise(self, x, centers, parameters, training):
        return differences(x, centers).abs().amax(-1)


WRONG = [
    (Squared(), agrees_with_its_reference, "ordinary inputs"),
    (Squared(), has_exactly_its_facts, "is_metric is wrong"),
    (Squared(), has_its_facts_everywhere, "triangle inequality fails"),
    (Shifted(), agrees_with_its_reference, "ordinary inputs"),
    (Shifted(), is_zero_at_the_center, "not zero at the center"),
    (Gram(), agrees_with_its_reference, "off by"),
    (Gram(), is_zero_at_the_center, "not zero at the center"),
    (NaNAtCenter(), has_finite_gradients, "gradient not finite on"),
    (NaNAtCenter(), agrees_with_its_reference, "tiny inputs in torch.float32"),
    (NaNRepairing(), lets_nan_through, "NaN is hidden"),
    (Detached(), has_the_gradients_of_its_values, "gradient is not that of the values"),
    (HalfPrecision(), is_float32_under_autocast, "inputs give torch.bfloat16"),
    (Untrained(), learns_with_all_its_parameters, "log_diagonal gets no gradient"),
    (InnerProduct(), is_not_negative, "negative on ordinary inputs"),
    (InnerProduct(), is_zero_at_the_center, "not zero at the center"),
    (CosineCalledAMetric(), has_exactly_its_facts, "is_metric is wrong"),
    (CosineCalledAMetric(), agrees_with_its_reference, "off by"),
    (StandardizedChebyshev(), agrees_with_its_reference, "ordinary inputs"),
    (StandardizedChebyshev(), has_exactly_its_facts, "is wrong"),
    (OperatorOfAnother(), is_its_formula_in_every_form, "its formula"),
    (RoundedInputs(), is_its_formula_in_float64, "gives .*, its formula .* on ordinary inputs"),
    (NoGradientOfFeatures(), has_the_gradients_of_its_formula, "no gradient reaches the features"),
    (TakesAnyShape(), refuses_shapes_that_do_not_fit, "takes features"),
    (NeverEmpty(), takes_empty_batches, "an empty batch"),
    (HidesItsOption(p=3), is_written_as_it_is_read, "read back"),
    (FarthestCoordinateOnly(), agrees_with_its_reference, "ordinary inputs"),
]


@pytest.mark.parametrize(
    ("distance", "check", "message"), WRONG, ids=[f"{type(d).__name__}-{c.__name__}" for d, c, _ in WRONG]
)
def test_wrong_distance_is_caught(distance, check, message):
    with pytest.raises(AssertionError, match=message):
        check(distance)


def test_each_contract_has_a_wrong_distance():
    assert {check for _, check, _ in WRONG} >= set(CONTRACTS)


def test_a_wrong_distance_is_refused_with_every_reason():
    with pytest.raises(ContractError) as caught:
        check_distance(InnerProduct())
    for reason in ("is_not_negative: negative on ordinary inputs", "is_zero_at_the_center", "has_exactly_its_facts"):
        assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
