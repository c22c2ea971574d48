"""What every distance should be, written a second time: SciPy where SciPy has it, plain float64 or mpmath elsewhere.

Nothing here shares code with `harmbench.distances`. Each reference takes features (B, N), centers (K, N) and the
distance's learnable parameters as float64 arrays, and gives the distances (B, K).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import mpmath
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from harmbench.testing._vectors import INPUTS as INPUTS

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
        rows, centers = ([[mpmath.mpf(float(v)) for v in row] for row in matrix] for matrix in (X, W))
        return np.array([[float(mpmath.chop(of_pair(x, w, **options), 1e-50)) for w in centers] for x in rows])

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


def _angular(x: list[mpmath.mpf], w: list[mpmath.mpf]) -> mpmath.mpf:
    return mpmath.acos(1 - mpmath.chop(_cosine(x, w), 1e-50)) / mpmath.pi


def _correlation(x: list[mpmath.mpf], w: list[mpmath.mpf]) -> mpmath.mpf:
    return _cosine(*([v - sum(vector) / len(vector) for v in vector] for vector in (x, w)))


def _hellinger(x: list[mpmath.mpf], w: list[mpmath.mpf]) -> mpmath.mpf:
    p, q = (_softmax(vector) for vector in (x, w))
    return mpmath.sqrt(sum((mpmath.sqrt(a) - mpmath.sqrt(b)) ** 2 for a, b in zip(p, q, strict=True)) / 2)


def _softmax(vector: list[mpmath.mpf]) -> list[mpmath.mpf]:
    powers = [mpmath.exp(v - max(vector)) for v in vector]
    return [power / sum(powers) for power in powers]


def _poincare(x: list[mpmath.mpf], w: list[mpmath.mpf], curvature: float) -> mpmath.mpf:
    """By points of the ball, with as many digits as 1 - |u|^2 wants; by lengths and angle where that is too many."""
    scale = mpmath.sqrt(curvature)
    a, b = (scale * mpmath.norm(vector) for vector in (x, w))
    if max(a, b) > 100:
        across = mpmath.sinh(a) * mpmath.sinh(b) * mpmath.chop(_cosine(x, w), 1e-50)
        return mpmath.acosh(mpmath.cosh(a - b) + across) / scale
    with mpmath.workdps(250):
        u, v = ([mpmath.tanh(r / 2) * scale * c / r if r else r for c in y] for y, r in ((x, a), (w, b)))
        square = sum((c - e) ** 2 for c, e in zip(u, v, strict=True))
        inside = [1 - sum(c * c for c in y) for y in (u, v)]
        return mpmath.acosh(1 + 2 * square / (inside[0] * inside[1])) / scale


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


def _minkowski_learned(X: Array, W: Array, parameters: Parameters) -> Array:
    return cdist(X, W, "minkowski", p=1 + np.exp(10 * np.tanh(parameters["log_excess"] / 10)))


def _bray_curtis_signed(X: Array, W: Array, _: Parameters) -> Array:
    return np.nan_to_num(cdist(X, W, "braycurtis"), nan=0.0)


_soft = partial(_in_mpmath, _hamming_soft)

REFERENCES: dict[str, Reference] = {
    "angular": _in_mpmath(_angular),
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
    "correlation": _in_mpmath(_correlation),
    "cosine": _in_mpmath(_cosine),
    "euclidean": _scipy("euclidean"),
    "hamming[variant=gumbel]": _soft(temperature=1, threshold=0),
    "hamming[variant=hard]": _hamming_hard,
    "hamming[variant=soft]": _soft(temperature=1, threshold=0),
    "hamming[variant=soft,temperature=0.5,threshold=0.25]": _soft(temperature=0.5, threshold=0.25),
    "hellinger": _in_mpmath(_hellinger),
    "mahalanobis[variant=diagonal]": _mahalanobis,
    "mahalanobis[variant=full]": _mahalanobis,
    "manhattan": _scipy("cityblock"),
    "minkowski[p=1]": _scipy("minkowski", p=1),
    "minkowski[p=1.01]": _scipy("minkowski", p=1.01),
    "minkowski[p=1.5]": _scipy("minkowski", p=1.5),
    "minkowski[p=2]": _scipy("minkowski", p=2),
    "minkowski[p=3]": _scipy("minkowski", p=3),
    "minkowski[p=7]": _scipy("minkowski", p=7),
    "minkowski[p=learnable]": _minkowski_learned,
    "poincare": _in_mpmath(_poincare, curvature=1),
    "poincare[curvature=0.1]": _in_mpmath(_poincare, curvature=0.1),
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


def _subtracted_in_float64(address: str, X: Array, W: Array, distances: Array) -> Array | float:
    """The same where a distance promises to map and subtract in float64, whatever it is given."""
    if address in ("angular", "hellinger"):
        return 1.0
    if address == "correlation":
        return np.sqrt(2 * distances)
    if address.startswith("poincare"):
        # An error e in the directions is at most 2 e sqrt(sinh a sinh b) / cosh(d/2) in the distance.
        a, b = np.linalg.norm(X, axis=1)[:, None], np.linalg.norm(W, axis=1)[None, :]
        magnified = np.exp(np.minimum((a + b - distances) / 2, 36)) * np.sqrt(np.expm1(-2 * a) * np.expm1(-2 * b))
        return a + b + 2 * magnified
    return 0.0


def tolerance(address: str, X: Array, W: Array, distances: Array, eps: float, tiny: float) -> Array:
    """Error (B, K) that rounding excuses: one eps for each addend, 16 for roots and powers; and what is below `tiny`.

    `tiny` is the least number of full precision. Only a square of what is far above it comes near to it.
    """
    size = eps * (distances + _subtracted(address, X, W, distances))
    size += np.finfo(float).eps * _subtracted_in_float64(address, X, W, distances)
    return np.asarray((X.shape[1] + 16) * size + tiny)
