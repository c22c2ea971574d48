"""What every distance should be, written a second time: SciPy where SciPy has it, plain float64 or mpmath elsewhere.

Nothing here shares code with `harmbench.distances`. Each reference takes features (B, N), centres (K, N) and the
distance's learnable parameters as float64 arrays, and gives the distances (B, K).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import mpmath
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

Array = NDArray[np.float64]
Parameters = Mapping[str, Array]
Reference = Callable[[Array, Array, Parameters], Array]

mpmath.mp.dps = 60


def _scipy(metric: str, **options: float) -> Reference:
    return lambda X, W, _: cdist(X, W, metric, **options)


def _in_numpy(of_pair: Callable[..., float], **options: float) -> Reference:
    def reference(X: Array, W: Array, _: Parameters) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.array([[of_pair(x, w, **options) for w in W] for x in X])

    return reference


def _in_mpmath(of_pair: Callable[..., mpmath.mpf], **options: float) -> Reference:
    """For formulas that lose digits in float64: 60 digits, and what cancels to 1e-50 of nothing is 0."""

    def reference(X: Array, W: Array, _: Parameters) -> Array:
        rows, centres = ([[mpmath.mpf(float(v)) for v in row] for row in matrix] for matrix in (X, W))
        return np.array([[float(mpmath.chop(of_pair(x, w, **options), 1e-50)) for w in centres] for x in rows])

    return reference


def _total(terms: Array) -> float:
    """Sum in which 0/0 counts as 0."""
    return float(np.nan_to_num(terms, nan=0.0).sum())


def _bray_curtis_abs(x: Array, w: Array) -> float:
    return _total(np.abs(x - w).sum() / (np.abs(x) + np.abs(w)).sum())


def _bray_curtis_normalized(x: Array, w: Array) -> float:
    p, q = (np.nan_to_num(np.abs(v) / np.abs(v).sum(), nan=0.0) for v in (x, w))
    return _total(np.abs(p - q).sum() / (p + q).sum())


def _canberra_robust(x: Array, w: Array, floor: float) -> float:
    return _total(np.abs(x - w) / np.maximum(np.abs(x) + np.abs(w), floor))


def _canberra_weighted(x: Array, w: Array, gamma: float) -> float:
    size = np.abs(x) + np.abs(w)
    return _total(_total(size**gamma * np.abs(x - w) / size) / np.float64((size**gamma).sum()))


def _chebyshev_smooth(x: list[mpmath.mpf], w: list[mpmath.mpf], alpha: float) -> mpmath.mpf:
    return mpmath.log(sum(mpmath.exp(alpha * abs(a - b)) for a, b in zip(x, w, strict=True)) / len(x)) / alpha


def _cosine(x: list[mpmath.mpf], w: list[mpmath.mpf]) -> mpmath.mpf:
    lengths = mpmath.norm(x) * mpmath.norm(w)
    return 1 - mpmath.fdot(x, w) / lengths if lengths else mpmath.mpf(1)


def _hamming_soft(x: list[mpmath.mpf], w: list[mpmath.mpf], temperature: float, threshold: float) -> mpmath.mpf:
    codes = [[1 / (1 + mpmath.exp((threshold - v) / temperature)) for v in vector] for vector in (x, w)]
    return sum(abs(a - b) for a, b in zip(*codes, strict=True)) / len(x)


def _hamming_hard(X: Array, W: Array, _: Parameters) -> Array:
    return cdist(X > 0, W > 0, "hamming")


def precision_matrix(parameters: Parameters) -> Array:
    """P = L L^T scaled to trace N, where L has `lower` below and exp(10 tanh(log_diagonal / 10)) on its diagonal."""
    L = np.diag(np.exp(10 * np.tanh(parameters["log_diagonal"] / 10)))
    if "lower" in parameters:
        L = L + np.tril(parameters["lower"], -1)
    P = L @ L.T
    return P * len(P) / np.trace(P)


def _mahalanobis(X: Array, W: Array, parameters: Parameters) -> Array:
    return cdist(X, W, "mahalanobis", VI=precision_matrix(parameters))


def _bray_curtis_signed(X: Array, W: Array, _: Parameters) -> Array:
    return np.nan_to_num(cdist(X, W, "braycurtis"), nan=0.0)


_soft = partial(_in_mpmath, _hamming_soft)

REFERENCES: dict[str, Reference] = {
    "bray_curtis": _in_numpy(_bray_curtis_abs),
    "bray_curtis[variant=normalized]": _in_numpy(_bray_curtis_normalized),
    "bray_curtis[variant=signed]": _bray_curtis_signed,
    "canberra": _scipy("canberra"),
    "canberra[variant=robust]": _in_numpy(_canberra_robust, floor=0.01),
    "canberra[variant=robust,floor=2]": _in_numpy(_canberra_robust, floor=2.0),
    "canberra[variant=weighted]": _in_numpy(_canberra_weighted, gamma=0.5),
    "canberra[variant=weighted,gamma=2]": _in_numpy(_canberra_weighted, gamma=2.0),
    "chebyshev": _scipy("chebyshev"),
    "chebyshev[variant=smooth]": _in_mpmath(_chebyshev_smooth, alpha=10),
    "chebyshev[variant=smooth,alpha=0.5]": _in_mpmath(_chebyshev_smooth, alpha=0.5),
    "cosine": _in_mpmath(_cosine),
    "euclidean": _scipy("euclidean"),
    "hamming[variant=gumbel]": _soft(temperature=1, threshold=0),
    "hamming[variant=hard]": _hamming_hard,
    "hamming[variant=soft]": _soft(temperature=1, threshold=0),
    "hamming[variant=soft,temperature=0.5,threshold=0.25]": _soft(temperature=0.5, threshold=0.25),
    "mahalanobis[variant=diagonal]": _mahalanobis,
    "mahalanobis[variant=full]": _mahalanobis,
    "manhattan": _scipy("cityblock"),
    "minkowski[p=1]": _scipy("minkowski", p=1),
    "minkowski[p=1.01]": _scipy("minkowski", p=1.01),
    "minkowski[p=1.5]": _scipy("minkowski", p=1.5),
    "minkowski[p=2]": _scipy("minkowski", p=2),
    "minkowski[p=3]": _scipy("minkowski", p=3),
    "minkowski[p=7]": _scipy("minkowski", p=7),
    "squared_euclidean": _scipy("sqeuclidean"),
}


def _subtracted(address: str, X: Array, W: Array, distances: Array) -> Array | float:
    """Size of the numbers whose difference the distance is made of, where these are rounded before.

    The difference of two features is exact where they are near. A distance that maps features first (to a unit
    vector, a profile, a soft code, a rotated vector) subtracts rounded numbers, and owes an error of their size.
    """
    if address == "cosine":
        return np.sqrt(2 * distances)  # half a square of differences of unit vectors
    if address == "bray_curtis[variant=normalized]":
        return 1.0
    if address.startswith(("hamming[variant=soft", "hamming[variant=gumbel")):
        above = [np.tanh(np.abs(V)) if "threshold" not in address else np.ones_like(V) for V in (X, W)]
        return above[0].mean(1)[:, None] + above[1].mean(1)[None, :]
    if address == "mahalanobis[variant=full]":
        return np.sqrt(X.shape[1]) * cdist(X, W)
    return 0.0


def tolerance(address: str, X: Array, W: Array, distances: Array, eps: float, tiny: float) -> Array:
    """Error (B, K) that rounding excuses: one eps for each addend, 16 for roots and powers; and what is below `tiny`.

    `tiny` is the least number of full precision. Only a square of what is far above it comes near to it.
    """
    size = distances + _subtracted(address, X, W, distances)
    return np.asarray((X.shape[1] + 16) * eps * size + tiny)


def _inputs() -> dict[str, tuple[Array, Array]]:
    rng = np.random.default_rng(0)
    X, W = rng.normal(size=(7, 16)), rng.normal(size=(5, 16))
    zero_x, zero_w = np.maximum(X, 0), W * (rng.random(W.shape) < 0.5)
    zero_x[0], zero_w[0] = 0, 0
    half_equal = np.where(np.arange(16) % 2, W[:2], X[:2])
    mixed = [V * 10 ** rng.uniform(-30, 18, size=V.shape) for V in (X, W)]
    inputs = {
        "ordinary": (X, W),
        "tiny": (X * 1e-30, W * 1e-30),
        "huge": (X * 1e18, W * 1e18),
        "zero": (zero_x, zero_w),
        "equal": (np.concatenate([W, half_equal]), W),
        "near": (W + 1e-3 * X[:5], W),
        "mixed": (mixed[0], mixed[1]),
    }
    # float32 numbers, so that every precision is given the same ones.
    return {
        kind: (x.astype(np.float32).astype(float), w.astype(np.float32).astype(float))
        for kind, (x, w) in inputs.items()
    }


INPUTS = _inputs()
