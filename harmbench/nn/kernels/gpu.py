"""The forms of cpp/ as Triton kernels: elementwise distances and rows of harmonic loss, float32, on CUDA.

    _add, _finish       an operator, forward: what a coordinate adds to a pair's two sums, and the distance from them
    _forward            a tile of pairs: sums in registers, vectors in steps of four coordinates
    _slope              an operator, backward: the gradient of one coordinate of one pair
    _backward           a tile of dx or dw: all pairs of its vectors, one after the other
    _harmonic           one row of distances: loss, gradient by the distances and by the exponent
    TritonForm          the first two, as the other forms

A name of `OP` is known when a kernel is compiled, so every operator has kernels of its own. All distances here are
symmetric, so the gradient of the centers is that of the features with the roles exchanged. Every sum is taken in one
order by one thread: results depend on no tile size, and nothing is added atomically.

Triton is optional: without it this module imports, and `problem` says what is missing. Nothing here has run on a GPU
in the project's own tests: they interpret the kernels (`TRITON_INTERPRET=1`) and compile them for sm_80 and sm_90.
"""

from __future__ import annotations

import functools
import importlib.util
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from harmbench.nn.kernels.operators import OPERATORS, Operator, TritonKernel

IS_INSTALLED = importlib.util.find_spec("triton") is not None
if TYPE_CHECKING or IS_INSTALLED:
    import triton
    import triton.language as tl

TIES = TritonKernel("ties", is_heavy=True)  # coordinates of a pair that attain the largest difference
CHEBYSHEV = OPERATORS["chebyshev"].triton_kernels[0]


def _jit(function: Callable[..., Any]) -> Any:
    return triton.jit(function) if IS_INSTALLED else function


# ---- blocks ---------------------------------------------------------------------------------------------------


@_jit
def _columns(tile: tl.tensor, R: tl.constexpr) -> tl.tensor:
    """The four columns of a tile (R, 4)."""
    even_odd = tl.reshape(tile, [R, 2, 2])
    even, odd = tl.split(even_odd)
    c0, c2 = tl.split(even)
    c1, c3 = tl.split(odd)
    return c0, c1, c2, c3


@_jit
def _sign_of(size: tl.tensor, a: tl.tensor, b: tl.tensor) -> tl.tensor:
    """size with the sign of a - b, and 0 where they are equal."""
    return tl.where(a > b, size, tl.where(a < b, -size, 0.0))


@_jit
def _overlap(x: tl.tensor, w: tl.tensor) -> tl.tensor:
    """|x| + |w| - |x - w|, to the last digit."""
    return tl.where((x > 0.0) == (w > 0.0), 2.0 * tl.minimum(tl.abs(x), tl.abs(w)), 0.0)


@_jit
def _power(v: tl.tensor, p: tl.tensor) -> tl.tensor:
    """v^p for v >= 0 and p > 0."""
    return tl.exp2(p * tl.log2(v))


@_jit
def _weight(size: tl.tensor, gamma: tl.tensor, OP: tl.constexpr) -> tl.tensor:
    """size^gamma. The usual gamma is 1/2."""
    if OP == "canberra_weighted_root" or OP == "rest_of_canberra_weighted_root":
        return tl.sqrt(size)
    else:  # noqa: RET505 - the branch that Triton compiles
        return _power(size, gamma)


@_jit
def _cube_root(v: tl.tensor) -> tl.tensor:
    """v^(1/3) for normal v > 0: an estimate and a Newton step."""
    root = tl.exp2(tl.log2(v) * 0.3333333333333333)
    return root - (root - v / (root * root)) * 0.3333333333333333


@_jit
def _log1p(v: tl.tensor) -> tl.tensor:
    """log(1 + v) for v >= 0. Below 1 by the series of 2 artanh(v / (2 + v))."""
    z = v / (2.0 + v)
    s = z * z
    p = s * 0.06666666666666667 + 0.07692307692307693
    p = p * s + 0.09090909090909091
    p = p * s + 0.1111111111111111
    p = p * s + 0.14285714285714285
    p = p * s + 0.2
    p = p * s + 0.3333333333333333
    return tl.where(v < 1.0, 2.0 * (z + z * s * p), tl.log(1.0 + v))


@_jit
def _expm1_below_1(t: tl.tensor) -> tl.tensor:
    p = t * 2.7557319e-07 + 2.7557319e-06
    p = p * t + 2.4801587e-05
    p = p * t + 1.9841270e-04
    p = p * t + 1.3888889e-03
    p = p * t + 8.3333333e-03
    p = p * t + 4.1666667e-02
    p = p * t + 1.6666667e-01
    p = p * t + 0.5
    return t * (p * t + 1.0)


# ---- forward --------------------------------------------------------------------------------------------------


@_jit
def _add(
    s0: tl.tensor, s1: tl.tensor, x: tl.tensor, w: tl.tensor, m: tl.tensor, option: tl.tensor, OP: tl.constexpr
) -> tl.tensor:
    """The sums of each pair with one more coordinate, which adds 0 if both are 0. m is a number of the pair."""
    gap = tl.abs(x - w)
    if OP == "chebyshev":
        s0 = tl.maximum(s0, gap, propagate_nan=tl.PropagateNan.ALL)
    elif OP == "largest_size":
        s0 = tl.maximum(s0, tl.abs(x) + tl.abs(w), propagate_nan=tl.PropagateNan.ALL)
    elif OP == "ties":
        s0 += tl.where(gap == m, 1.0, 0.0)
    elif OP == "minkowski_1.5":
        s0 += gap * m * tl.sqrt(gap * m)
    elif OP == "euclidean":
        s0 += gap * m * (gap * m)
    elif OP == "minkowski_3":
        s0 += gap * m * (gap * m) * (gap * m)
    elif OP == "minkowski":
        s0 += _power(gap * m, option)
    elif OP == "smooth_chebyshev":
        is_near = option * m < 50.0
        t = option * gap
        near = tl.where(t < 1.0, _expm1_below_1(t), tl.exp(t) - 1.0)
        s0 += tl.where(is_near, near, tl.exp(option * (gap - m)))
    elif OP == "canberra":
        s0 += gap / tl.maximum(tl.abs(x) + tl.abs(w), 1e-37)
    elif OP == "canberra_robust":
        s0 += gap / tl.maximum(tl.abs(x) + tl.abs(w), option)
    elif OP == "canberra_weighted" or OP == "canberra_weighted_root":
        size = tl.abs(x) + tl.abs(w)
        weight = _weight(size * m, option, OP)
        s0 += weight * (gap / tl.maximum(size, 1e-37))
        s1 += weight
    elif OP == "bray_curtis_signed":
        s0 += gap
        s1 += tl.abs(x + w)
    elif OP == "rest_of_bray_curtis":
        s0 += _overlap(x, w)
        s1 += tl.abs(x) + tl.abs(w)
    elif OP == "rest_of_bray_curtis_signed":
        s0 += _overlap(x, w) - _overlap(x, -w)
        s1 += tl.abs(x + w)
    elif OP == "rest_of_canberra_weighted" or OP == "rest_of_canberra_weighted_root":
        size = tl.abs(x) + tl.abs(w)
        weight = _weight(size * m, option, OP)
        s0 += weight * (_overlap(x, w) / tl.maximum(size, 1e-37))
        s1 += weight
    else:
        s0 += gap
    return s0, s1


@_jit
def _sums(
    x: tl.tensor,
    w: tl.tensor,
    m: tl.tensor,
    N: tl.tensor,
    option: tl.tensor,
    OP: tl.constexpr,
    BM: tl.constexpr,
    BK: tl.constexpr,
) -> tl.tensor:
    """Both sums of a tile of pairs. x and w point to the first coordinates of their vectors."""
    s0 = tl.zeros([BM, BK], tl.float32)
    s1 = tl.zeros([BM, BK], tl.float32)
    at = tl.arange(0, 4)[None, :]
    next_x = tl.load(x + at, mask=at < N, other=0.0)
    next_w = tl.load(w + at, mask=at < N, other=0.0)
    for j in range(4, N + 4, 4):
        x0, x1, x2, x3 = _columns(next_x, BM)
        w0, w1, w2, w3 = _columns(next_w, BK)
        # The next four are under way while these are used.
        next_x = tl.load(x + at + j, mask=at + j < N, other=0.0)
        next_w = tl.load(w + at + j, mask=at + j < N, other=0.0)
        s0, s1 = _add(s0, s1, x0[:, None], w0[None, :], m, option, OP)
        s0, s1 = _add(s0, s1, x1[:, None], w1[None, :], m, option, OP)
        s0, s1 = _add(s0, s1, x2[:, None], w2[None, :], m, option, OP)
        s0, s1 = _add(s0, s1, x3[:, None], w3[None, :], m, option, OP)
    return s0, s1


@_jit
def _finish(
    s0: tl.tensor, s1: tl.tensor, m: tl.tensor, total: tl.tensor, N: tl.tensor, option: tl.tensor, OP: tl.constexpr
) -> tl.tensor:
    """Distances from sums, and the second number per pair that `_slope` reads. total is sum |x| + sum |w|."""
    d = s0
    aux = s1
    if OP == "mean_absolute":
        d = s0 / N
    elif OP == "bray_curtis":
        d = tl.where(total == 0.0, 0.0, s0 / total)
    elif OP == "bray_curtis_signed":
        d = tl.where(s0 == 0.0, 0.0, s0 / s1)  # infinite where x = -w
    elif OP == "minkowski_1.5":
        root = _cube_root(s0)
        d = tl.where(s0 == 0.0, 0.0, m * (root * root))
    elif OP == "euclidean":
        d = m * tl.sqrt(s0)
    elif OP == "minkowski_3":
        d = tl.where(s0 == 0.0, 0.0, m * _cube_root(s0))
    elif OP == "minkowski":
        d = tl.where(s0 == 0.0, 0.0, m * _power(s0, 1.0 / option))
    elif OP == "smooth_chebyshev":
        # Coordinates past the end, |0 - 0|, have each added exp(-alpha m) where m is far.
        past = ((N + 3) // 4 * 4 - N) * 1.0
        far = s0 - past * tl.exp(-option * m)
        is_near = option * m < 50.0
        aux = tl.where(is_near, (s0 + N) * tl.exp(-option * m), far)
        d = tl.where(is_near, _log1p(s0 / N) / option, m + tl.log(far / N) / option)
    elif (
        OP == "canberra_weighted"
        or OP == "canberra_weighted_root"
        or OP == "rest_of_canberra_weighted"
        or OP == "rest_of_canberra_weighted_root"
        or OP == "rest_of_bray_curtis"
        or OP == "rest_of_bray_curtis_signed"
    ):
        d = tl.where(s1 == 0.0, 0.0, s0 / s1)
    return d, aux


@_jit
def _forward(
    x_ptr: tl.tensor,
    w_ptr: tl.tensor,
    x_size_ptr: tl.tensor,
    w_size_ptr: tl.tensor,
    given_ptr: tl.tensor,
    d_ptr: tl.tensor,
    aux_ptr: tl.tensor,
    B: tl.tensor,
    K: tl.tensor,
    N: tl.tensor,
    option: tl.tensor,
    low: tl.tensor,
    high: tl.tensor,
    OP: tl.constexpr,
    FIRST: tl.constexpr,
    HAS_AUX: tl.constexpr,
    PARTIAL: tl.constexpr,
    BM: tl.constexpr,
    BK: tl.constexpr,
) -> None:
    """Distances d and aux of a tile of pairs.

    x_size, w_size: sums of |.| of each vector. FIRST: the operator whose sum of the pair is m, or 1 / m if it is
    divided out. Without it, m is given. PARTIAL: only the pairs whose given number is not between low and high.
    """
    rows = tl.program_id(1) * BM + tl.arange(0, BM)
    columns = tl.program_id(0) * BK + tl.arange(0, BK)
    stored = (rows[:, None] < B) & (columns[None, :] < K)
    pairs = rows[:, None].to(tl.int64) * K + columns[None, :]
    if PARTIAL:
        given = tl.load(given_ptr + pairs, mask=stored, other=0.0)
        stored = stored & ~((given > low) & (given < high))
        if tl.sum(stored.to(tl.int32)) == 0:
            return
    # Past the end stands the last vector once more; it is not stored.
    rows = tl.minimum(rows, B - 1)
    columns = tl.minimum(columns, K - 1)
    x = x_ptr + rows[:, None].to(tl.int64) * N
    w = w_ptr + columns[:, None].to(tl.int64) * N
    m = tl.full([BM, BK], 1.0, tl.float32)  # a product by it is compiled to nothing
    scale = m
    total = m
    if OP == "ties":
        m = tl.load(given_ptr + pairs, mask=stored, other=0.0)
    elif OP == "bray_curtis":
        total = tl.load(x_size_ptr + rows)[:, None] + tl.load(w_size_ptr + columns)[None, :]
    if FIRST != "":
        scale, _ = _sums(x, w, m, N, option, FIRST, BM, BK)
        m = scale if OP == "smooth_chebyshev" else tl.where(scale == 0.0, 0.0, 1.0 / scale)
    s0, s1 = _sums(x, w, m, N, option, OP, BM, BK)
    d, aux = _finish(s0, s1, scale, total, N, option, OP)
    tl.store(d_ptr + pairs, d, mask=stored)
    if HAS_AUX:
        tl.store(aux_ptr + pairs, aux, mask=stored)


# ---- backward -------------------------------------------------------------------------------------------------


@_jit
def _slope(a: tl.tensor, b: tl.tensor, c1: tl.tensor, c2: tl.tensor, option: tl.tensor, OP: tl.constexpr) -> tl.tensor:
    """Gradient by a of one coordinate's part of d(a, b). c1 and c2 are the pair's, from `_coefficients`.

    A ratio of sums has the gradient sign(a - b) - d sign(a), which cancels where d is near 1: with 1 - d at hand, it is
    sign(a - b) - sign(a) + (1 - d) sign(a).
    """
    delta = a - b
    gap = tl.abs(delta)
    if OP == "minkowski_1.5":
        t = _sign_of(c1 * tl.sqrt(gap), a, b)
    elif OP == "euclidean":
        t = c1 * delta
    elif OP == "minkowski_3":
        ratio = delta * c2
        t = c1 * (ratio * tl.abs(ratio))
    elif OP == "minkowski":
        t = _sign_of(c1 * _power(gap * c2, option - 1.0), a, b)
    elif OP == "chebyshev":
        t = tl.where(delta == c2, c1, tl.where(delta == -c2, -c1, 0.0))
    elif OP == "smooth_chebyshev":
        # c2 is the largest gap. The distance itself would not do: far from 0 it has lost what it is short of that.
        t = _sign_of(c1 * tl.exp(tl.minimum(option * (gap - c2), 0.0)), a, b)  # above 0 only past the end
    elif OP == "canberra":
        inverse = 1.0 / tl.maximum(tl.abs(a) + tl.abs(b), 1e-37)
        t = _sign_of(c1 * inverse, a, b) * ((tl.abs(b) + _sign_of(b, a, 0.0)) * inverse)  # nothing cancels
    elif OP == "canberra_robust":
        size = tl.abs(a) + tl.abs(b)
        inverse = 1.0 / tl.maximum(size, option)
        of_size = tl.where(size < option, 1.0, (tl.abs(b) + _sign_of(b, a, 0.0)) * inverse)
        t = _sign_of(c1 * inverse, a, b) * of_size
    elif OP == "canberra_weighted" or OP == "canberra_weighted_root":
        size = tl.abs(a) + tl.abs(b)
        inverse = 1.0 / tl.maximum(size, 1e-37)
        scaled = c1 * _weight(size, option, OP) * inverse
        share = (1.0 - option) * (_overlap(a, b) * inverse) + option * c2
        t = (_sign_of(scaled, a, b) - _sign_of(scaled, a, 0.0)) + _sign_of(scaled * share, a, 0.0)
    elif OP == "bray_curtis":
        t = _sign_of(c1, a, b) - _sign_of(c1, a, 0.0)
    elif OP == "bray_curtis_signed":
        t = (_sign_of(c1, a, b) - _sign_of(c1, a, -b)) + _sign_of(c2, a, -b)
    else:
        t = _sign_of(c1, a, b)
    return t


@_jit
def _backward(
    own_ptr: tl.tensor,
    other_ptr: tl.tensor,
    c1_ptr: tl.tensor,
    c2_ptr: tl.tensor,
    size_ptr: tl.tensor,
    out_ptr: tl.tensor,
    OWN: tl.tensor,
    OTHER: tl.tensor,
    N: tl.tensor,
    own_stride: tl.tensor,
    other_stride: tl.tensor,
    option: tl.tensor,
    OP: tl.constexpr,
    HAS_C2: tl.constexpr,
    BM: tl.constexpr,
    BF: tl.constexpr,
) -> None:
    """Adds to a tile of the gradient of one side, `own`, what its pairs with all vectors of the other side give.

    c1, c2: numbers of each pair, own_stride apart for neighbors on one side and other_stride on the other. size: what
    the gradient of sum |own| is multiplied by, of each vector.
    """
    rows = tl.program_id(0) * BM + tl.arange(0, BM)
    features = tl.program_id(1) * BF + tl.arange(0, BF)
    is_own = (rows[:, None] < OWN) & (features[None, :] < N)
    at_own = rows[:, None].to(tl.int64) * N + features[None, :]
    own = tl.load(own_ptr + at_own, mask=is_own, other=0.0)
    gradient = tl.zeros([BM, BF], tl.float32)
    four = tl.arange(0, 4)[None, :]
    pairs = tl.minimum(rows, OWN - 1)[:, None].to(tl.int64) * own_stride + four.to(tl.int64) * other_stride
    c1 = c1_ptr + pairs
    c2 = c2_ptr + pairs
    other = other_ptr + features[:, None] + four.to(tl.int64) * N
    is_feature = features[:, None] < N
    next_b = tl.load(other, mask=is_feature & (four < OTHER), other=0.0)
    next_1 = tl.load(c1, mask=four < OTHER, other=0.0)
    next_2 = next_1
    if HAS_C2:
        next_2 = tl.load(c2, mask=four < OTHER, other=0.0)
    for k in range(4, OTHER + 4, 4):
        b0, b1, b2, b3 = _columns(next_b, BF)
        p0, p1, p2, p3 = _columns(next_1, BM)
        q0, q1, q2, q3 = _columns(next_2, BM)
        # The next four are under way while these are used. Past the end c1 = c2 = 0, and so is the slope.
        is_left = four + k < OTHER
        other += 4 * N
        c1 += 4 * other_stride
        next_b = tl.load(other, mask=is_feature & is_left, other=0.0)
        next_1 = tl.load(c1, mask=is_left, other=0.0)
        next_2 = next_1
        if HAS_C2:
            c2 += 4 * other_stride
            next_2 = tl.load(c2, mask=is_left, other=0.0)
        gradient += _slope(own, b0[None, :], p0[:, None], q0[:, None], option, OP)
        gradient += _slope(own, b1[None, :], p1[:, None], q1[:, None], option, OP)
        gradient += _slope(own, b2[None, :], p2[:, None], q2[:, None], option, OP)
        gradient += _slope(own, b3[None, :], p3[:, None], q3[:, None], option, OP)
    if OP == "bray_curtis":
        size = tl.load(size_ptr + tl.minimum(rows, OWN - 1))
        gradient += _sign_of(size[:, None], own, 0.0)
    before = tl.load(out_ptr + at_own, mask=is_own, other=0.0)
    tl.store(out_ptr + at_own, before + gradient, mask=is_own)


# ---- harmonic -------------------------------------------------------------------------------------------------


@_jit
def _share(v: tl.tensor, nearest: tl.tensor, n: tl.tensor, floor: tl.tensor, is_other: tl.tensor) -> tl.tensor:
    """(nearest / v)^n, 0 where the class does not take part, and the logarithm of its base."""
    ratio = nearest / tl.maximum(v, floor)
    counts = is_other & (ratio > 0.0)
    log_ratio = tl.where(counts, tl.log(tl.where(counts, ratio, 1.0)), 0.0)
    return tl.where(counts, tl.exp(n * log_ratio), 0.0), log_ratio


@_jit
def _harmonic(
    d_ptr: tl.tensor,
    g_ptr: tl.tensor,
    targets_ptr: tl.tensor,
    n_ptr: tl.tensor,
    factors_ptr: tl.tensor,
    weights_ptr: tl.tensor,
    all_weights_ptr: tl.tensor,
    losses_ptr: tl.tensor,
    by_n_ptr: tl.tensor,
    K: tl.tensor,
    smoothing: tl.tensor,
    floor: tl.tensor,
    HAS_WEIGHTS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Loss of one row of distances d, its gradient g by them and by_n by the exponent, both times the row's factor."""
    row = tl.program_id(0).to(tl.int64)
    target = tl.load(targets_ptr + row)
    factor = tl.load(factors_ptr + row)
    n = tl.load(n_ptr)
    d_ptr += row * K
    g_ptr += row * K
    lanes = tl.arange(0, BLOCK)
    if target < 0:
        for k in range(0, K, BLOCK):
            tl.store(g_ptr + k + lanes, tl.zeros([BLOCK], tl.float32), mask=k + lanes < K)
        tl.store(losses_ptr + row, 0.0)
        tl.store(by_n_ptr + row, 0.0)
    else:
        given = tl.load(d_ptr + target)
        own = tl.maximum(given, floor)
        # The nearest other class; NaN anywhere is NaN everywhere.
        least = tl.full([BLOCK], float("inf"), tl.float32)
        broken = tl.zeros([BLOCK], tl.int32)
        for k in range(0, K, BLOCK):
            at = k + lanes
            v = tl.load(d_ptr + at, mask=at < K, other=float("inf"))
            least = tl.minimum(least, tl.where(at == target, float("inf"), v))
            broken += (v != v).to(tl.int32)  # NaN alone differs from itself
        nearest = tl.maximum(tl.min(least, 0), floor)
        alone = nearest == float("inf")
        base = tl.where(alone, 0.0, nearest)
        nan = tl.where(tl.sum(broken, 0) > 0, float("nan"), 0.0)
        # Shares (nearest / d)^n of the others, their sum, and the sums that the exponent and smoothing want.
        shares = tl.zeros([BLOCK], tl.float32)
        share_logs = tl.zeros([BLOCK], tl.float32)
        weight_logs = tl.zeros([BLOCK], tl.float32)
        for k in range(0, K, BLOCK):
            at = k + lanes
            v = tl.load(d_ptr + at, mask=at < K, other=float("inf"))
            share, log_ratio = _share(v, nearest, n, floor, (at < K) & (at != target))
            shares += share
            share_logs += share * log_ratio
            if HAS_WEIGHTS:
                log_ratio *= tl.load(weights_ptr + at, mask=at < K, other=0.0)
            weight_logs -= log_ratio
        total = tl.sum(shares, 0).to(tl.float64)
        # Numbers of the row in double precision: the loss may be 1e-10, and n large.
        one = tl.full((), 1.0, tl.float64)
        order = one * n
        own_log = tl.where(alone, 0.0, tl.log(own.to(tl.float64) / tl.where(alone, 1.0, nearest).to(tl.float64)))
        margin = order * own_log + tl.log(tl.where(alone, 1.0, total))  # log of (others / target)
        t = tl.where(alone, 0.0, tl.exp(-tl.abs(margin)))
        log1p_t = tl.where(1.0 + t == 1.0, t, tl.log(1.0 + t) * (t / tl.where(1.0 + t == 1.0, 1.0, (1.0 + t) - 1.0)))
        nll = tl.where(alone, 0.0, tl.maximum(margin, 0.0)) + log1p_t
        others = tl.where(margin > 0.0, 1.0, t) / (1.0 + t)
        others = tl.where(alone, 0.0, others)
        all_weights = tl.load(all_weights_ptr)
        weight = one
        if HAS_WEIGHTS:
            weight = tl.load(weights_ptr + target).to(tl.float64)
        each = one * smoothing / K
        scale = (one - smoothing) * weight + each * all_weights
        spread = tl.sum(weight_logs, 0).to(tl.float64) - (all_weights - weight) * own_log
        mean_log = tl.where(alone, 0.0, tl.sum(share_logs, 0).to(tl.float64) / tl.where(alone, 1.0, total) + own_log)
        tl.store(losses_ptr + row, (scale * nll + each * order * spread).to(tl.float32) + nan)
        tl.store(by_n_ptr + row, (factor * (scale * others * mean_log + each * spread)).to(tl.float32) + nan)
        push = factor * n
        of_share = (scale * others / tl.where(alone, 1.0, total)).to(tl.float32)
        of_class = each.to(tl.float32)
        pull = push * (scale * others - each * (all_weights - weight)).to(tl.float32) / own
        for k in range(0, K, BLOCK):
            at = k + lanes
            v = tl.load(d_ptr + at, mask=at < K, other=float("inf"))
            share, _ = _share(v, base, n, floor, (at < K) & (at != target))
            if HAS_WEIGHTS:
                share = share * of_share - of_class * tl.load(weights_ptr + at, mask=at < K, other=0.0)
            else:
                share = share * of_share - of_class
            slope = tl.where(at == target, pull, tl.where(alone, 0.0, -push * share / tl.maximum(v, floor)))
            tl.store(g_ptr + at, tl.where(v < floor, 0.0, slope) + nan, mask=at < K)


# ---- for tensors ----------------------------------------------------------------------------------------------


def is_interpreted() -> bool:
    """Whether the kernels run in Triton's interpreter, on the CPU."""
    return IS_INSTALLED and not isinstance(_forward, triton.runtime.JITFunction)


@functools.cache
def problem() -> str:
    """Reason why the kernels cannot run on this GPU, or an empty text. They are tried once in a process."""
    if not IS_INSTALLED:
        return "no elementwise kernel for cuda: pip install triton"
    try:
        x, w = torch.tensor([[1.0, 2.0, 4.0]], device="cuda"), torch.zeros(1, 3, device="cuda")
        total = float(forward(Operator("elementwise", "manhattan"), x, w)[0])
    except Exception as error:  # noqa: BLE001 - a driver, a compiler, a linker: what matters is the reason
        lines = str(error).strip().splitlines() or [repr(error)]
        return f"Triton cannot run here: {lines[0]}"
    return "" if total == 7 else f"Triton is wrong here: 1 + 2 + 4 = {total:g}"


def _kernel(operator: Operator) -> TritonKernel:
    kernel = operator.kernels.triton
    assert kernel is not None, f"{operator} has no Triton kernel"
    return kernel


def _option(operator: Operator) -> float:
    return 2.0 if operator.name == "euclidean" else float(operator.option)


def tile(down: int, across: int, is_heavy: bool = False) -> tuple[int, int]:
    """Edges of the tiles that cover down x across, for a kernel of this operator.

    64 x 64 with 8 warps: 16 sums a thread, for which it reads 8 numbers a coordinate, and two blocks on a
    multiprocessor. 32 for operators whose arithmetic alone fills the registers, and where 64 would leave most of a
    GPU's 100 to 150 multiprocessors idle. 16 where there is no more.

    >>> tile(8192, 50257), tile(256, 100), tile(8192, 10)
    ((64, 64), (32, 32), (32, 16))
    """
    most = 64 if not is_heavy and -(-down // 64) * -(-across // 64) >= 256 else 32
    if is_heavy and across <= 16:
        return 16, 16
    return (most if down > 16 else 16), (most if across > 16 else 16)


def warps(down: int, across: int) -> int:
    """Warps for a tile."""
    return 8 if down * across == 64 * 64 else 4


def _run(kernel: Any, grid: tuple[int, ...], like: Tensor, *arguments: Any, warps: int, **constants: Any) -> None:
    with torch.cuda.device_of(like):  # type: ignore[no-untyped-call]
        kernel[grid](*arguments, **constants, num_warps=warps, enable_fp_fusion=True)


def _pairs(
    kernel: TritonKernel,
    option: float,
    x: Tensor,
    w: Tensor,
    d: Tensor,
    aux: Tensor | None = None,
    given: Tensor | None = None,
    between: tuple[float, float] | None = None,
) -> None:
    """Fill d and aux as `_forward` does. With `between`, only pairs whose given number is not between these."""
    down, across = tile(len(x), len(w), kernel.is_heavy)
    sizes = (_lengths(x), _lengths(w)) if kernel.name == "bray_curtis" else (x, w)
    low, high = between or (0.0, 0.0)
    _run(
        _forward,
        (triton.cdiv(len(w), across), triton.cdiv(len(x), down)),
        x,
        *(x, w, *sizes, d if given is None else given, d, d if aux is None else aux),
        *(len(x), len(w), x.shape[1], option, low, high),
        OP=kernel.name,
        FIRST=kernel.first if between is None else kernel.again,
        HAS_AUX=aux is not None,
        PARTIAL=between is not None,
        BM=down,
        BK=across,
        warps=warps(down, across),
    )


def _lengths(v: Tensor) -> Tensor:
    lengths: Tensor = torch.linalg.vector_norm(v, ord=1, dim=1)
    return lengths


def forward(operator: Operator, x: Tensor, w: Tensor) -> tuple[Tensor, Tensor | None]:
    """Distances (B, K), and the second number per pair (B, K) that the gradient of some operators wants."""
    kernel, option = _kernel(operator), _option(operator)
    d = x.new_empty(len(x), len(w))
    aux = torch.empty_like(d) if kernel.has_aux else None
    _pairs(kernel, option, x, w, d, aux)
    if kernel.again is not None:
        given, power = (d, 1 / option) if aux is None else (aux, 1.0)
        _pairs(kernel, option, x, w, d, given=given, between=(1e-28**power, 1e30**power))
    return d, aux


def backward(
    operator: Operator, x: Tensor, w: Tensor, d: Tensor, aux: Tensor | None, g: Tensor, dx: Tensor, dw: Tensor
) -> None:
    """Add the gradients to dx and dw. Overwrites g = dl/dd and d."""
    kernel, option = _kernel(operator), _option(operator)
    x_size, w_size = _coefficients(kernel, option, x, w, d, aux, g)
    # Rows of x see the pairs of one row side by side, rows of w those of one column.
    for own, other, size, out, strides in ((x, w, x_size, dx, (len(w), 1)), (w, x, w_size, dw, (1, len(w)))):
        down, across = tile(len(own), own.shape[1], kernel.is_heavy)
        _run(
            _backward,
            (triton.cdiv(len(own), down), triton.cdiv(own.shape[1], across)),
            own,
            own,
            other,
            g,
            d,
            g if size is None else size,
            out,
            len(own),
            len(other),
            own.shape[1],
            *strides,
            option,
            OP=kernel.name,
            HAS_C2=kernel.has_c2,
            BM=down,
            BF=across,
            warps=warps(down, across),
        )


def _coefficients(
    kernel: TritonKernel, option: float, x: Tensor, w: Tensor, d: Tensor, aux: Tensor | None, g: Tensor
) -> tuple[Tensor | None, Tensor | None]:
    """Turn g and d into c1 and c2 of `_slope`, in place. Returns the factors of the gradients of sum |x|, sum |w|."""
    name = kernel.name
    if name == "mean_absolute":
        g.div_(x.shape[1])
    elif name == "euclidean":
        g.div_(d.masked_fill_(d == 0, math.inf))
    elif name == "minkowski_1.5":
        g.div_(d.masked_fill_(d == 0, math.inf).sqrt_())
    elif name in ("minkowski_3", "minkowski"):
        d.masked_fill_(d == 0, math.inf).reciprocal_()
    elif name == "chebyshev":  # those that attain the maximum share the gradient
        ties = torch.empty_like(d)
        _pairs(TIES, option, x, w, ties, given=d)
        g.div_(ties.clamp_min_(1)).masked_fill_(d == 0, 0)
    elif name == "smooth_chebyshev":
        assert aux is not None
        _pairs(CHEBYSHEV, option, x, w, d)
        g.div_(aux)
    elif name in ("canberra_weighted", "canberra_weighted_root"):
        assert aux is not None
        g.div_(aux).masked_fill_(aux <= 1e-34, 0)
        _to_rest(kernel, option, x, w, d)
    elif name == "bray_curtis_signed":
        assert aux is not None
        g.div_(aux).masked_fill_(d == 0, 0)
        _to_rest(kernel, option, x, w, d)
        d.mul_(g)
    elif name == "bray_curtis":
        total = _lengths(x)[:, None] + _lengths(w)
        g.div_(total).masked_fill_(total == 0, 0)
        _to_rest(kernel, option, x, w, d)
        d.mul_(g)
        return d.sum(1), d.sum(0)
    return None, None


def _to_rest(kernel: TritonKernel, option: float, x: Tensor, w: Tensor, d: Tensor) -> None:
    """d becomes 1 - d, with all digits."""
    d.neg_().add_(1)
    _pairs(kernel.rest, option, x, w, d, between=(1 / 16, math.inf))


def harmonic(
    d: Tensor, targets: Tensor, n: Tensor, factors: Tensor, weights: Tensor | None, smoothing: float, floor: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss of each row (R,), dl/dd (R, K) and dl/dn of each row (R,), the gradients times the row's factor."""
    rows, classes = d.shape
    g, losses, by_n = torch.empty_like(d), d.new_empty(rows), d.new_empty(rows)
    all_weights = d.new_full((1,), classes) if weights is None else weights.sum().reshape(1)
    block = min(2048, triton.next_power_of_2(classes))
    _run(
        _harmonic,
        (rows,),
        d,
        d,
        g,
        targets,
        n.reshape(1),
        factors,
        d if weights is None else weights,
        all_weights.double(),
        losses,
        by_n,
        classes,
        smoothing,
        floor,
        HAS_WEIGHTS=weights is not None,
        BLOCK=block,
        warps=8 if block > 1024 else 4,
    )
    return losses, g, by_n
