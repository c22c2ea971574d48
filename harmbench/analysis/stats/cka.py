"""Linear centered kernel alignment (CKA): similarity of two representations of the same samples."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MIN_SAMPLES = 4  # the debiased estimator divides by M - 3


def linear_cka(x: NDArray[Any], y: NDArray[Any], debiased: bool = True) -> float:
    """Linear CKA (Kornblith et al. 2019, arXiv 1905.00414) of features (M, N) and (M, P) of the same samples.

    Features that differ only by a rotation, a scale and a shift give 1, and unrelated ones about 0. The debiased form
    uses the unbiased estimator of HSIC (Song et al. 2012) and can be slightly negative. The published form is positive
    for unrelated features too, and far from 0 if there are fewer samples than features.

    Args:
        x: features (M, N) of one model.
        y: features (M, P) of another model.
        debiased: use the unbiased estimator of HSIC.

    Returns:
        The similarity, or NaN if the features of either model are constant.

    >>> x = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0], [3.0, 5.0], [4.0, 1.0]])
    >>> round(linear_cka(x, 3 * x[:, ::-1] - 7), 9)
    1.0
    """
    return float(np.vdot(alignment(x, debiased), alignment(y, debiased)))


def alignment(features: NDArray[Any], debiased: bool = True) -> NDArray[np.float64]:
    """Centered Gram matrix (M, M) of features (M, N), with Frobenius norm 1. CKA is the inner product of two of them.

    It is debiased by U-centering (Székely and Rizzo 2014), whose inner product is M (M - 3) times the unbiased HSIC.

    Raises:
        ValueError: for fewer than four samples, or features that are not finite.
    """
    samples = len(features)
    if samples < MIN_SAMPLES or not np.isfinite(features).all():
        raise ValueError(f"CKA needs {MIN_SAMPLES} samples and finite features")
    x = features.astype(np.float64)
    x = x - x.mean(0)  # for precision only, since the Gram matrix is centered below
    size = float(np.vdot(x, x))
    gram = x @ x.T
    if debiased:
        np.fill_diagonal(gram, 0.0)
        sums = gram.sum(0)
        gram -= (sums[:, None] + sums[None, :]) / (samples - 2) - sums.sum() / ((samples - 1) * (samples - 2))
        np.fill_diagonal(gram, 0.0)
    norm = float(np.linalg.norm(gram))
    rounding = float(np.finfo(np.float32).eps) ** 2 * float(np.square(features, dtype=np.float64).sum())
    return gram / norm if size > rounding and norm else np.full_like(gram, np.nan)
