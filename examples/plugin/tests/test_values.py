"""Each component computes what its name says, by another computation."""

from __future__ import annotations

import numpy as np
import torch
from harmbench_example.lorentzian import Lorentzian
from harmbench_example.student_softmax import StudentSoftmax
from harmbench_example.top_k import TopK
from scipy.stats import t
from sklearn.metrics import top_k_accuracy_score

from harmbench.testing.meters import sample_outcome

RNG = np.random.default_rng(0)


def test_lorentzian_is_its_formula_in_numpy() -> None:
    x, w = RNG.normal(size=(5, 7)), RNG.normal(size=(3, 7))
    expected = np.log(1 + np.abs(x[:, None] - w[None]) / 0.5).sum(-1)
    np.testing.assert_allclose(Lorentzian(scale=0.5)(torch.tensor(x), torch.tensor(w)), expected)


def test_student_softmax_is_scipys_density() -> None:
    d = RNG.uniform(0, 4, size=(6, 5))
    density = t.pdf(d, df=3)
    expected = density / density.sum(1, keepdims=True)
    np.testing.assert_allclose(StudentSoftmax(nu=3).log_probs(torch.tensor(d), 8).exp(), expected)


def test_top_k_is_scikit_learns() -> None:
    logits, targets = RNG.normal(size=(50, 6)), RNG.integers(0, 6, 50)
    outcome = sample_outcome(test_logits=torch.tensor(logits), test_targets=torch.tensor(targets))
    (measurement,) = TopK(k=3).watcher().measurements(outcome)
    assert measurement.value == top_k_accuracy_score(targets, logits, k=3, labels=range(6))
    assert measurement.name == "test_top3_accuracy"
