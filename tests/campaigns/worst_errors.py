"""Prints the worst errors of every distance in every form: `python -m tests.campaigns.worst_errors`.

The measure is that of `tests/contracts/accuracy.py`; the printed text is `benchmarks/accuracy.md`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import torch
from torch import Tensor

from harmbench import harmonic_loss
from harmbench.nn.distances import DISTANCES, Distance
from harmbench.nn.kernels import build
from harmbench.runner.head_benchmark import machine
from tests.support import accuracy

INTRODUCTION = f"""\
# How far float32 is from float64

Worst errors in units of 1e-7 (half of float32's last place is 0.6), on {accuracy.B} rows, {accuracy.K} classes and
{accuracy.N} features (2,000 in the last column). The measure and what is allowed are defined in
`tests/contracts/accuracy.py`: a distance's error is relative to it; a gradient's, to the sum of the sizes of its
addends, the largest of a row. Tests hold each below {accuracy.C * accuracy.UNIT * 1e7:.1f} times the condition of what
is computed. That is 1, but 1 + alpha d for smooth Chebyshev, p for Minkowski, up to 8 for compiled Bray-Curtis and
weighted Canberra near 1, and up to 10 for the matrix product of euclidean distances, 20 where they are squared, just
before it gives way to differences (collinear inputs).

`reference` is the formula, whole or in blocks; `native` the compiled kernel; `matmul` the matrix product with compiled
or torch's epilogue. Vectors are given as the form reads them: soft codes, profiles and rotated vectors are rounded
before."""

LOSS = """\
## The harmonic loss

`harmonic_loss` through the form that is chosen here, against float64 on the same numbers: 40 rows, 50 classes, 48
features; ordinary inputs, times 1e-6 and 1e6, behind a ReLU, in bfloat16, and confident ones, whose loss falls to 1e-10
and, at large n, out of float32. An error e in a distance is one of n e in the loss, so errors are over that condition:
loss over l + n q with q = 1 - p of the target, gradients by x and w over 1 + n times the sizes of their addends, that
by n over q (1 + (1 + n) mean |log (d_target / d_k)|). The worst of all inputs, in units of 1e-7: loss / gradient of x /
of w / of n."""


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(errors: Iterator[float]) -> str:
    return " / ".join(f"{error * accuracy.UNIT * 1e7:.2g}" for error in errors)


@contextmanager
def _isa(name: str) -> Iterator[None]:
    with mock.patch.dict(os.environ, {"HARMBENCH_ISA": name} if name else {}):
        build.library.cache_clear()
        yield
    build.library.cache_clear()


def _forms(distance: Distance) -> Iterator[tuple[str, str]]:
    """Names of the distance's forms, each with its kind; the environment is that of the form."""
    yield "reference", "chunked"
    for kind in ("native", "matmul"):
        if accuracy.form_of(kind, distance) is None:
            continue
        for isa in build.available_isas():
            with _isa(isa):
                yield f"{kind}, {isa}", kind
        if kind == "matmul":
            with mock.patch("harmbench.nn.kernels.native.is_available", return_value=False):
                yield "matmul, torch", kind


def _distances() -> Iterator[str]:
    yield "Distances / gradient of x / of w / of the learned order:\n"
    yield _row("distance", "form", *accuracy.INPUTS)
    yield "|---|---|" + "---|" * len(accuracy.INPUTS)
    for distance in DISTANCES.every_variant():
        for name, form_kind in _forms(distance):
            form = accuracy.form_of(form_kind, distance)
            of_kinds = [accuracy.errors(str(distance), form, kind, over_condition=False) for kind in accuracy.INPUTS]
            yield _row(str(distance), name, *(_cell(iter(errors.values())) for errors in of_kinds))


def _loss(x: Tensor, w: Tensor, y: Tensor, distance: Distance, n: Tensor) -> Tensor:
    return harmonic_loss(x, w, y, distance=distance, n=n, training=False)


def _losses() -> Iterator[str]:
    yield _row("distance", *(f"n = {name}" for name in accuracy.EXPONENTS))
    yield "|---|" + "---|" * len(accuracy.EXPONENTS)
    for address in map(str, DISTANCES.every_variant()):
        cells = []
        for n in accuracy.EXPONENTS.values():
            of_kinds = [accuracy.loss_errors(address, kind, n, _loss) for kind in accuracy.loss_kinds(address)]
            cells.append(_cell(max(errors[what] for errors in of_kinds) for what in of_kinds[0]))
        yield _row(address, *cells)


def main() -> None:
    torch.set_num_threads(1)
    about = {**machine(), "command": "python -m tests.campaigns.worst_errors > benchmarks/accuracy.md"}
    lines = [f"- {name}: {value}" for name, value in about.items()]
    for line in (INTRODUCTION, "", *_distances(), "", LOSS, "", *_losses(), "", *lines):
        print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
