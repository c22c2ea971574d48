"""The representation meter against scikit-learn's PCA, NumPy, and the published formulae of neural collapse."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import svds
from sklearn.decomposition import PCA
from sklearn.metrics import calinski_harabasz_score

from harmbench.meters import METERS, HeldOut
from harmbench.meters.representation import Geometry

RNG = np.random.default_rng(0)
SHAPES = {"many samples": (300, 20, 5), "many features": (60, 200, 4), "many classes": (400, 12, 30), "two": (50, 8, 2)}


def data(samples: int, features: int, classes: int, spread: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features of unequal variance around the means of their classes, of unequal size; and class weights."""
    targets = np.concatenate([np.arange(classes).repeat(2), RNG.integers(0, classes, samples - 2 * classes)])
    means = RNG.normal(size=(classes, features)) + 3
    scales = np.exp(RNG.normal(size=features))
    x = means[targets] + spread * RNG.normal(size=(samples, features)) * scales
    return x, targets, means + 0.3 * RNG.normal(size=means.shape)


def seen(x: np.ndarray, targets: np.ndarray, weights: np.ndarray, has_centers=False, predicted=None) -> HeldOut:
    predicted = targets if predicted is None else predicted
    parts = (torch.from_numpy(np.ascontiguousarray(part)) for part in (x, targets, predicted, weights))
    return HeldOut(*parts, has_centers=has_centers)


def measured(examined: HeldOut):
    """The meter's measurements, by name."""

    class Outcome:
        def held_out(self):
            return examined

    return {m.name: m for m in METERS.parse("representation").watcher().measurements(Outcome())}


def values(examined: HeldOut) -> dict[str, float | None]:
    return {name: m.value for name, m in measured(examined).items()}


def published(x: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> dict[str, float]:
    """Neural collapse in the words of the authors' own notebook (Papyan, Han and Donoho), in float64; NC1 over K."""
    C = len(weights)
    M = np.stack([x[targets == c].mean(0) for c in range(C)], axis=1)
    Sw = sum((x[i] - M[:, c])[:, None] @ (x[i] - M[:, c])[None, :] for i, c in enumerate(targets)) / len(x)
    M_ = M - M.mean(1, keepdims=True)
    Sb = M_ @ M_.T / C
    eigvec, eigval, _ = svds(Sb, k=min(C - 1, len(Sb) - 1))
    norms = np.linalg.norm(M_, axis=0)
    V = M_ / norms
    G = V.T @ V + 1 / (C - 1)
    G -= np.diag(np.diag(G))
    nearest = np.linalg.norm(x[:, :, None] - M[None], axis=1).argmin(1)
    return {
        "nc1": np.trace(Sw @ (eigvec @ np.diag(eigval**-1) @ eigvec.T)) / C,
        "nc2_norm_cv": norms.std(ddof=1) / norms.mean(),
        "nc2_angle": np.abs(G).sum() / (C * (C - 1)),
        "nc3": np.linalg.norm(weights.T / np.linalg.norm(weights) - M_ / np.linalg.norm(M_)) ** 2,
        "nc4": np.mean(nearest == targets),
    }


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_pca_is_sklearns(shape):
    x, targets, weights = data(*shape)
    found = values(seen(x, targets, weights))
    ratios = PCA(svd_solver="full").fit(x).explained_variance_ratio_
    for k in range(1, 11):
        assert found[f"pca_variance_{k}"] == pytest.approx(ratios[:k].sum(), rel=1e-10)
    for share in (90, 95):
        assert found[f"pca_components_{share}"] == np.searchsorted(ratios.cumsum(), share / 100) + 1
        assert found[f"pca_components_{share}"] == PCA(share / 100, svd_solver="full").fit(x).n_components_


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_ranks_are_numpys(shape):
    x, targets, weights = data(*shape)
    found = values(seen(x, targets, weights))
    s = np.linalg.svd(x - x.mean(0), compute_uv=False)
    p = s[s > 1e-12] / s.sum()
    eigenvalues = np.linalg.eigvalsh(np.cov(x.T))
    assert found["effective_rank"] == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-9)
    assert found["participation_ratio"] == pytest.approx(eigenvalues.sum() ** 2 / (eigenvalues**2).sum(), rel=1e-9)


@pytest.mark.parametrize("shape", [s for n, s in SHAPES.items() if n != "many classes"])
def test_neural_collapse_is_the_published(shape):
    x, targets, weights = data(*shape)
    found = values(seen(x, targets, weights))
    expected = published(x, targets, weights)
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-7)


def test_nc1_takes_the_pseudo_inverse_where_classes_outnumber_features():
    x, targets, weights = data(*SHAPES["many classes"])
    means = np.stack([x[targets == c].mean(0) for c in range(len(weights))])
    within, between = x - means[targets], means - means.mean(0)
    expected = np.trace((within.T @ within / len(x)) @ np.linalg.pinv(between.T @ between / len(means))) / len(means)
    assert values(seen(x, targets, weights))["nc1"] == pytest.approx(expected, rel=1e-8)


def test_separation_is_sklearns_calinski_harabasz():
    x, targets, weights = data(300, 20, 5)
    share = values(seen(x, targets, weights))["class_separation"]
    assert share / (1 - share) * (300 - 5) / (5 - 1) == pytest.approx(calinski_harabasz_score(x, targets), rel=1e-9)


def test_alignment_of_weights_and_centers():
    x, targets, weights = data(300, 20, 5)
    means = np.stack([x[targets == c].mean(0) for c in range(5)])
    m, w = means - means.mean(0), weights - weights.mean(0)
    cosine = lambda a, b: np.mean((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1))  # noqa: E731
    linear, centers = values(seen(x, targets, weights)), values(seen(x, targets, weights, has_centers=True))
    assert linear["weight_mean_cosine"] == pytest.approx(cosine(weights, m))
    assert centers["weight_mean_cosine"] == pytest.approx(cosine(w, m))
    assert centers["nc3"] == pytest.approx(np.linalg.norm(w / np.linalg.norm(w) - m / np.linalg.norm(m)) ** 2)
    offset = np.linalg.norm(weights - means, axis=1).mean() / np.linalg.norm(m, axis=1).mean()
    assert centers["center_mean_distance"] == pytest.approx(offset)
    assert measured(seen(x, targets, weights))["center_mean_distance"].reason == "a linear head has no centers"


def test_near_zero_weights():
    x, targets, _ = data(50, 10, 2)
    weights = np.ones((2, 10))
    weights[0, :3] = 1e-3, -1e-3, 0.0
    assert values(seen(x, targets, weights))["near_zero_weight_share"] == 3 / 20


# Features whose values are known.


def simplex(classes: int, features: int, samples: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fully collapsed: every feature on its vertex of a simplex, rotated and moved; and the vertices, not moved."""
    rotation = np.linalg.qr(RNG.normal(size=(features, features)))[0][:classes]
    vertices = 4 * (np.eye(classes) - 1 / classes) @ rotation
    targets = np.arange(samples) % classes
    return vertices[targets] + 7, targets, vertices


@pytest.mark.parametrize("has_centers", [False, True])
def test_a_perfect_simplex_is_full_collapse(has_centers):
    x, targets, vertices = simplex(classes=6, features=9, samples=60)
    found = values(seen(x, targets, vertices + 7 * has_centers, has_centers))
    for name in ("nc1", "nc2_norm_cv", "nc2_angle", "nc3"):
        assert found[name] == pytest.approx(0, abs=1e-12), name
    for name in ("nc4", "weight_mean_cosine", "class_separation", "pca_variance_5"):
        assert found[name] == pytest.approx(1), name
    assert (found["participation_ratio"], found["effective_rank"]) == pytest.approx((5, 5))
    assert (found["pca_components_90"], found["collapsed"]) == (5, 0)
    assert not has_centers or found["center_mean_distance"] == pytest.approx(0, abs=1e-12)


def test_centers_may_be_scaled_and_moved_without_harm_to_duality():
    x, targets, vertices = simplex(classes=6, features=9, samples=60)
    found = values(seen(x, targets, 100 * vertices - 3, has_centers=True))
    assert found["nc3"] == pytest.approx(0, abs=1e-12)
    assert found["center_mean_distance"] > 10


def test_more_components_than_there_are_explain_all():
    x, targets, weights = data(40, 3, 2)
    assert values(seen(x, targets, weights))["pca_variance_10"] == pytest.approx(1)


# Collapse.


def signs(examined: HeldOut) -> str:
    return measured(examined)["collapsed"].reason


def test_equal_features_have_no_geometry_and_are_collapsed():
    _, targets, weights = data(60, 8, 4)
    rounding = np.float32(0.1) * (1 + 5e-8 * RNG.normal(size=(60, 8)))  # the same number, as float32 computes it
    found = measured(seen(rounding, targets, weights, predicted=np.zeros(60, int)))
    for name in ("pca_variance_1", "effective_rank", "participation_ratio"):
        assert (found[name].value, found[name].reason) == (None, "the features do not vary")
    for name in ("nc1", "nc2_angle", "nc3", "nc4", "class_separation"):
        assert (found[name].value, found[name].reason) == (None, "the class means do not differ")
    assert found["collapsed"].value == 1
    assert found["collapsed"].reason.count(";") == 2, "all three signs"


def test_features_on_a_line_are_collapsed():
    x, targets, weights = data(60, 8, 4)
    line = np.outer(targets + 0.01 * RNG.normal(size=60), np.ones(8))
    assert signs(seen(line, targets, weights)) == "effective rank: 1.00"
    assert signs(seen(x, targets, weights)) == ""


def test_chance_is_the_largest_class_and_has_a_margin():
    targets = np.array([0] * 70 + [1] * 30)
    x, weights = RNG.normal(size=(100, 8)), RNG.normal(size=(2, 8))
    margin = 3 * math.sqrt(0.7 * 0.3 / 100)
    for right, is_collapsed in ((70, True), (83, True), (84, False)):
        predicted = np.where(np.arange(100) < right, targets, 1 - targets)
        assert (right / 100 <= 0.7 + margin) == is_collapsed
        assert ("is not above chance" in signs(seen(x, targets, weights, predicted=predicted))) == is_collapsed


def test_predicting_few_of_the_classes_is_collapse():
    x, targets, weights = data(300, 20, 5)
    predicted = np.where(targets < 2, targets, 0)
    assert "40% of the classes are ever predicted" in signs(seen(x, targets, weights, predicted=predicted))


# What cannot be said.


def test_a_missing_class_leaves_the_spectrum():
    x, targets, weights = data(60, 8, 4)
    found = measured(seen(x[targets != 2], targets[targets != 2], weights))
    assert found["effective_rank"].value > 1
    for name in ("nc1", "nc2_norm_cv", "nc3", "nc4", "weight_mean_cosine", "class_separation"):
        assert found[name].value is None
        assert found[name].reason.endswith("samples are of class 2")


def test_classes_of_one_sample_have_no_spread():
    x, weights = RNG.normal(size=(4, 8)), RNG.normal(size=(4, 8))
    assert "under 2 of 4 samples are of class 0 and of 3 more" in measured(seen(x, np.arange(4), weights))["nc1"].reason


@pytest.mark.parametrize("part", ["features", "weights"])
def test_what_is_not_finite_is_said(part):
    x, targets, weights = data(60, 8, 4)
    (x if part == "features" else weights)[3, 3] = np.inf
    found = measured(seen(x, targets, weights))
    assert {m.reason for name, m in found.items() if name != "collapsed"} == {f"the {part} are not finite"}


def test_a_class_mean_on_the_mean_of_all_has_no_angle():
    x = np.repeat(np.array([[-1.0, 0], [0, 0], [1, 0]]), 2, axis=0)
    found = measured(seen(x, np.arange(3).repeat(2), np.eye(3)[:, :2]))
    assert found["nc2_angle"].reason == "a class mean lies on the mean of all"
    assert found["weight_mean_cosine"].reason == "a class mean or weight has no direction"


class SquaresForValues(Geometry):
    """Entropy of the squares: the papers' code for vision."""

    def effective_rank(self):
        p = self._shares()
        return torch.special.entr(p).sum().exp().item()


class OneComponentMore(Geometry):
    """The first k + 1 components: the papers' code."""

    def explained(self, k):
        return super().explained(k + 1)


WRONG = {"effective_rank": (SquaresForValues, test_ranks_are_numpys), "pca": (OneComponentMore, test_pca_is_sklearns)}


@pytest.mark.parametrize(("wrong", "check"), WRONG.values(), ids=WRONG)
def test_another_definition_is_caught(wrong, check, monkeypatch):
    monkeypatch.setattr("harmbench.meters.representation.Geometry", wrong)
    with pytest.raises(AssertionError, match="comparison failed"):
        check((300, 20, 5))
