"""Feature vectors and centers on which distances go wrong, as float64 arrays that float32 holds exactly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def _inputs() -> dict[str, tuple[Array, Array]]:
    rng = np.random.default_rng(0)
    X, W = rng.normal(size=(7, 16)), rng.normal(size=(5, 16))  # noqa: N806 - matrices
    zero_x, zero_w = np.maximum(X, 0), W * (rng.random(W.shape) < 0.5)
    zero_x[0], zero_w[0] = 0, 0
    half_equal = np.where(np.arange(16) % 2, W[:2], X[:2])
    mixed = [V * 10 ** rng.uniform(-30, 18, size=V.shape) for V in (X, W)]
    steps = np.arange(1, 8)[:, None]
    inputs = {
        "ordinary": (X, W),
        "tiny": (X * 1e-30, W * 1e-30),
        "huge": (X * 1e18, W * 1e18),
        "zero": (zero_x, zero_w),
        "equal": (np.concatenate([W, half_equal]), W),
        "near": (W + 1e-3 * X[:5], W),
        "opposite": (1e-3 * X[:5] - W, W),
        "collinear": (steps * W[:1], 1.5 * steps[:5] * W[:1]),
        "mixed": (mixed[0], mixed[1]),
    }
    # float32 numbers, so that every precision gets the same ones.
    return {
        kind: (x.astype(np.float32).astype(float), w.astype(np.float32).astype(float))
        for kind, (x, w) in inputs.items()
    }


INPUTS = _inputs()
