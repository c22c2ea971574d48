"""Similarity of features against formulae of other shapes, and what it must not depend on."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmbench.analysis.cells import cells_of
from harmbench.analysis.similarity import similarities
from harmbench.analysis.stats import alignment, linear_cka
from harmbench.report.similarity import tables
from tests.support.samples import record, spec

STEADY = settings(derandomize=True, deadline=None, max_examples=30)


def two(samples: int, features: int, others: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features that have something in common."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(samples, features)) + 3
    return x, x @ rng.normal(size=(features, others)) + rng.normal(size=(samples, others))


def hsic(k: np.ndarray, m: np.ndarray) -> float:
    """tr(K H L H) with the centering matrix written out (Gretton et al. 2005)."""
    h = np.eye(len(k)) - 1 / len(k)
    return float(np.trace(k @ h @ m @ h))


def unbiased_hsic(k: np.ndarray, m: np.ndarray) -> float:
    """Equation 5 of Song et al. (2012), of Gram matrices with their diagonals set to 0."""
    n, one = len(k), np.ones(len(k))
    k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
    parts = np.trace(k @ m) + (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2)) - 2 / (n - 2) * one @ k @ m @ one
    return float(parts / (n * (n - 3)))


def by_definition(x: np.ndarray, y: np.ndarray, of) -> float:
    k, m = x @ x.T, y @ y.T
    return of(k, m) / math.sqrt(of(k, k) * of(m, m))


def is_its_definition(cka) -> None:
    for samples, features, others, seed in ((12, 3, 5, 0), (40, 64, 7, 1), (6, 2, 2, 2)):
        x, y = two(samples, features, others, seed)
        assert cka(x, y, True) == pytest.approx(by_definition(x, y, unbiased_hsic), abs=1e-9)
        assert cka(x, y, False) == pytest.approx(by_definition(x, y, hsic), abs=1e-9)


def test_cka_is_its_definition():
    is_its_definition(linear_cka)


def test_as_published_it_is_the_ratio_of_norms_of_cross_products():
    x, y = two(30, 4, 6, 3)
    x, y = x - x.mean(0), y - y.mean(0)
    ratio = np.linalg.norm(y.T @ x) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))
    assert linear_cka(x + 5, y - 2, debiased=False) == pytest.approx(ratio)


def without_centering(x, y, debiased):
    k, m = x @ x.T, y @ y.T
    return float(np.vdot(k, m) / (np.linalg.norm(k) * np.linalg.norm(m)))


def of_squares(x, y, debiased):
    return linear_cka(x, y, debiased) ** 2


def always_debiased(x, y, debiased):
    return linear_cka(x, y, True)


@pytest.mark.parametrize("wrong", [without_centering, of_squares, always_debiased])
def test_another_definition_is_caught(wrong):
    with pytest.raises(AssertionError):
        is_its_definition(wrong)


@STEADY
@given(st.integers(5, 40), st.integers(1, 20), st.floats(0.01, 100), st.integers(0, 99), st.booleans())
def test_rotation_scale_and_shift_change_nothing(samples, features, scale, seed, debiased):
    x, y = two(samples, features, 6, seed)
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(rng.normal(size=(features, features)))
    changed = scale * x @ turn + rng.normal(size=features)
    assert linear_cka(x, changed, debiased) == pytest.approx(1.0, abs=1e-6)
    assert linear_cka(changed, y, debiased) == pytest.approx(linear_cka(x, y, debiased), abs=1e-6)
    assert linear_cka(x, y, debiased) == pytest.approx(linear_cka(y, x, debiased))


def test_unrelated_features_score_nothing_only_where_the_bias_is_out():
    rng = np.random.default_rng(0)
    pairs = [(rng.normal(size=(50, 200)), rng.normal(size=(50, 200))) for _ in range(40)]
    assert np.mean([linear_cka(x, y) for x, y in pairs]) == pytest.approx(0, abs=0.01)
    assert np.mean([linear_cka(x, y, debiased=False) for x, y in pairs]) > 0.7


def test_features_that_do_not_vary_have_no_likeness():
    assert math.isnan(linear_cka(np.full((8, 3), 0.1, dtype=np.float32), two(8, 3, 3, 0)[0]))
    for bad in (np.zeros((3, 2)), np.full((8, 2), np.nan)):
        with pytest.raises(ValueError, match="CKA needs"):
            alignment(bad)


# Between trials.


def trials_with_features():
    trials = [
        record(spec(distance, "harmonic" if distance else "cross_entropy", seed))
        for distance in (None, "cosine", "euclidean")
        for seed in range(3)
    ]
    rng = np.random.default_rng(0)
    features = {trial.id: rng.normal(size=(20, 4)).astype(np.float32) for trial in trials}
    return trials, features


def test_a_head_is_compared_with_the_baseline_at_its_seed_and_with_itself_at_others():
    trials, features = trials_with_features()
    found = {each.cell.head: each for each in similarities(cells_of(trials), features)}
    of = {(trial.spec.head, trial.spec.seed): features[trial.id] for trial in trials}
    for seed, value in found["cosine"].with_baseline.items():
        assert value == pytest.approx(linear_cka(of["cosine", seed], of["linear", seed]))
    assert list(found["cosine"].with_baseline) == [0, 1, 2]
    between = [linear_cka(of["cosine", one], of["cosine", other]) for one, other in combinations(range(3), 2)]
    assert found["cosine"].between_seeds == pytest.approx(tuple(between))
    assert found["linear"].with_baseline == {}
    assert found["linear"].interval is None


def test_what_cannot_be_compared_is_left_out_and_not_zero():
    trials, features = trials_with_features()
    constant, short = trials[3].id, trials[4].id
    features = features | {constant: np.ones((20, 4)), short: np.ones((9, 4)) * np.arange(9)[:, None]}
    del features[trials[6].id], features[trials[7].id]
    found = {each.cell.head: each for each in similarities(cells_of(trials), features)}
    assert list(found["cosine"].with_baseline) == [2]
    assert found["cosine"].between_seeds == ()
    assert list(found["euclidean"].with_baseline) == [2]
    (table,) = tables({"here": cells_of(trials)}, features)
    assert [row[0] for row in table.rows] == ["linear", "cosine", "euclidean"]
    assert table.rows[0][2] == ""
    assert not list(tables({"here": cells_of(trials)}, {}))
