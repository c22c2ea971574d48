"""Every fast form of every distance is its formula: against float64, forward and backward, on inputs of all kinds."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from harmbench.errors import HarmbenchError, OptionError
from harmbench.nn import kernels
from harmbench.nn.distances import DISTANCES, Distance
from harmbench.nn.distances._functions import differences, unit
from harmbench.nn.kernels import build, choice, forms
from tests.support import accuracy
from tests.support.accuracy import B, K, N

EXTRA = (
    "minkowski[p=1]",
    "minkowski[p=2]",
    "minkowski[p=4]",
    "minkowski[p=10]",
    "chebyshev[variant=smooth,alpha=0.5]",
    "canberra[variant=weighted,gamma=2]",
)
ADDRESSES = [str(distance) for distance in DISTANCES.every_variant()] + list(EXTRA)
ISAS = build.available_isas()
FORMS = [*(f"native-{isa}" for isa in ISAS), *(f"matmul-{isa}" for isa in ISAS), "matmul-torch", "chunked"]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Small problems on a busy machine: threads would wait for each other most of the time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def fresh_library(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The environment's variables are read again in the test, and once more after it."""
    build.library.cache_clear()
    yield monkeypatch
    build.library.cache_clear()


def _form(name: str, distance: Distance, patch: pytest.MonkeyPatch) -> accuracy.MakeForm:
    """What makes the form for mapped vectors."""
    kind, _, how = name.partition("-")
    if how == "torch":
        patch.setattr("harmbench.nn.kernels.native.is_available", lambda: False)
    elif how:
        patch.setenv("HARMBENCH_ISA", how)
        assert build.library().isa == how, build.library().problem
    make = accuracy.form_of(kind, distance)
    if make is None:
        pytest.skip("no such form of this distance")
    return make


def _error(found: Tensor, true: Tensor, by_entry: bool) -> float:
    scale = true.abs() if by_entry or not true.ndim else true.abs().amax(-1, keepdim=True)
    gap = (found - true).abs()
    return float(torch.where(gap == 0, 0.0, gap / scale.clamp_min(1e-300)).amax())


def _disagreements(address: str, make: accuracy.MakeForm) -> list[str]:
    """Where a form is further from float64 than C roundings times the condition (see `accuracy`)."""
    return [
        f"{kind}: {what} off by {error:.3g} roundings, allowed {accuracy.C:g}"
        for kind in accuracy.INPUTS
        for what, error in accuracy.errors(address, make, kind).items()
        if not error <= accuracy.C
    ]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("address", ADDRESSES)
def test_a_fast_form_is_the_formula(address: str, form: str, fresh_library: pytest.MonkeyPatch) -> None:
    """Distances and gradients within 16 roundings, about 1e-6, times the condition; `accuracy` derives the measure."""
    assert _disagreements(address, _form(form, DISTANCES.parse(address), fresh_library)) == []


class _WithoutRepair(forms.MatmulForm):
    """Deliberately wrong: near pairs keep what cancellation left of them."""

    def forward(self, x: Tensor, w: Tensor, rows: slice) -> tuple[Tensor, Tensor | None]:
        x = x[rows]
        square = x.square().sum(1)[:, None] + w.square().sum(1) - 2 * x @ w.T
        return square.clamp_min(0).sqrt(), None


class _OneSided(forms.NativeForm):
    """Deliberately wrong: the centers' gradient has the features' sign."""

    def backward(
        self, x: Tensor, w: Tensor, rows: slice, d: Tensor, aux: Tensor | None, g: Tensor, dx: Tensor, dw: Tensor
    ) -> None:
        super().backward(x, w, rows, d, aux, g, dx, dw)
        dw.neg_()


class _SlightlyOff(forms.NativeForm):
    """Deliberately wrong: one part in a hundred thousand, which training would never show."""

    def forward(self, x: Tensor, w: Tensor, rows: slice) -> tuple[Tensor, Tensor | None]:
        d, aux = super().forward(x, w, rows)
        return d * 1.00001, aux


def _quotient_of_sums(x: Tensor, w: Tensor) -> Tensor:
    """Deliberately wrong: Bray-Curtis as it is written, whose gradient cancels where one vector is far larger."""
    return differences(x, w).abs().sum(-1) / (x.abs().sum(-1)[:, None] + w.abs().sum(-1)).clamp_min(1e-38)


def _rounded_unit_vectors(x: Tensor, w: Tensor) -> Tensor:
    """Deliberately wrong: cosine from float32 unit vectors, noise between vectors of almost one direction."""
    return differences(unit(x), unit(w)).square().sum(-1) / 2


class _OtherOrder(forms.NativeForm):
    """Deliberately wrong: the order is told to move the other way."""

    def backward(
        self, x: Tensor, w: Tensor, rows: slice, d: Tensor, aux: Tensor | None, g: Tensor, dx: Tensor, dw: Tensor
    ) -> None:
        assert aux is not None
        super().backward(x, w, rows, d, -aux, g, dx, dw)


def _undoubting(operator: kernels.Operator, _: kernels.Mapped) -> forms.Form:
    """Deliberately wrong: near pairs from a base distance that has lost them."""
    assert operator.finish is not None
    return forms.FinishedForm(forms.MatmulForm(operator.finish.base), operator.finish._replace(doubtful=None))


def _unsized(operator: kernels.Operator, _: kernels.Mapped) -> forms.Form:
    """Deliberately wrong: lengths pass no gradient."""
    finish = operator.finish
    assert finish is not None
    unsized = finish._replace(size=lambda v: finish.size(v).detach() + 0 * v.sum(-1))  # type: ignore[misc]
    return forms.FinishedForm(forms.MatmulForm(finish.base), unsized)


WRONG = [
    ("euclidean", lambda o, _: _WithoutRepair(o), "near: distances"),
    ("euclidean", lambda o, _: _OneSided(o), "ordinary: gradient of w"),
    ("manhattan", lambda o, _: _SlightlyOff(o), "ordinary: distances"),
    ("bray_curtis", lambda *_: forms.ChunkedForm(_quotient_of_sums), "of mixed size: gradient of x"),
    ("bray_curtis", lambda *_: forms.ChunkedForm(_quotient_of_sums), "far larger: gradient of x"),
    ("cosine", lambda *_: forms.ChunkedForm(_rounded_unit_vectors), "collinear: gradient of x"),
    ("cosine", lambda *_: forms.ChunkedForm(_rounded_unit_vectors), "near: distances"),
    ("poincare", _undoubting, "near: gradient of x"),
    ("poincare", _unsized, "ordinary: gradient of w"),
    ("minkowski[p=learnable]", lambda o, mapped: _OtherOrder(o, mapped.option), "ordinary: gradient of option"),
]


@pytest.mark.parametrize(("address", "wrong", "where"), WRONG, ids=[f"{a}, {where}" for a, _, where in WRONG])
def test_the_contract_catches_a_wrong_kernel(address: str, wrong: Callable[..., forms.Form], where: str) -> None:
    operator = DISTANCES.parse(address).operator
    found = _disagreements(address, lambda mapped: wrong(operator, mapped))
    assert any(line.startswith(where) for line in found), found


@pytest.mark.parametrize("address", ADDRESSES)
def test_nan_is_not_repaired(address: str) -> None:
    distance = DISTANCES.parse(address)
    x, w = (v.clone() for v in accuracy.INPUTS["ordinary"])
    x[3, 5] = float("nan")
    d = distance(x, w)
    if address == "hamming[variant=hard]":  # a comparison with NaN is false, the surrogate's NaN stays
        return
    assert d[3].isnan().all(), address
    assert d[[0, 1, 2, 4]].isfinite().all(), address


@pytest.mark.parametrize("address", ["euclidean", "cosine", "manhattan", "canberra[variant=weighted]"])
def test_more_rows_and_columns_than_one_block_or_tile(address: str) -> None:
    torch.set_num_threads(3)
    distance = DISTANCES.parse(address)
    rng = torch.Generator().manual_seed(3)
    x, w, g = (torch.randn(shape, generator=rng) for shape in ((700, 33), (1300, 33), (700, 1300)))
    x64, w64 = x.double().requires_grad_(), w.double().requires_grad_()
    truth = forms.ChunkedForm(distance.between)
    true = torch.autograd.grad(forms.apply(truth, None, x64, w64), (x64, w64), g.double())
    x.requires_grad_(), w.requires_grad_()
    for found, right in zip(torch.autograd.grad(distance(x, w), (x, w), g), true, strict=True):
        assert _error(found.double(), right, by_entry=False) < 1e-5


MAPPED = (
    "angular",
    "correlation",
    "hellinger",
    "mahalanobis[variant=diagonal]",
    "mahalanobis[variant=full]",
    "minkowski[p=learnable]",
    "poincare",
    "poincare[curvature=0.1]",
)


@pytest.mark.parametrize("address", MAPPED)
@pytest.mark.parametrize("compiled", [True, False])
def test_a_distance_of_several_steps_is_exact_near_and_at_a_center(
    address: str, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not compiled:
        monkeypatch.setattr("harmbench.nn.kernels.native.is_available", lambda: False)
    distance = DISTANCES.parse(address)
    rng = torch.Generator().manual_seed(4)
    parameters = {
        name: start + 0.3 * torch.randn(start.shape, generator=rng)
        for name, start in distance.initial_parameters(N).items()
    }
    x, w = (v.clone() for v in accuracy.INPUTS["near"])
    x[5] = w[5]
    g = torch.randn(B, K, generator=rng)

    def results(dtype: torch.dtype, call: object) -> list[Tensor]:
        leaves = [v.to(dtype).requires_grad_() for v in (x, w, *parameters.values())]
        learned = dict(zip(parameters, leaves[2:], strict=True))
        d = call(leaves[0], leaves[1], learned)  # type: ignore[operator]
        return [d.detach().double(), *(v.double() for v in torch.autograd.grad(d, leaves, g.to(dtype)))]

    true = results(torch.float64, lambda a, b, p: distance.pairwise(a, b, p, False))
    found = results(torch.float32, distance)
    assert found[0][5, 5] == 0
    assert _error(found[0], true[0], by_entry=True) < 1e-5
    for one, other in zip(found[1:], true[1:], strict=True):
        assert float((one - other).abs().max() / other.abs().max()) < 1e-5


def _worst_of_products(n: int, scale: float, dtype: torch.dtype) -> float:
    """Products with Mahalanobis' matrix and their gradients, by panels against the formula in float64."""
    rng = torch.Generator().manual_seed(6)
    distance = DISTANCES.parse("mahalanobis[variant=full]")
    shapes = {"log_diagonal": (n,), "lower": (n, n), "x": (7, n), "centers": (3, n)}
    leaves = {name: torch.randn(shape, generator=rng) for name, shape in shapes.items()}
    leaves["lower"] *= scale

    def results(dtype: torch.dtype, by_panels: bool) -> list[Tensor]:
        learned = {name: v.to(dtype).requires_grad_() for name, v in leaves.items()}
        x, w = learned["x"], learned["centers"]
        if by_panels:
            x, w = distance.mapped(x, w, learned, True)[:2]
        else:
            factor = distance.factor(learned)  # type: ignore[attr-defined]
            x, w = x @ factor, w @ factor
        gradients = torch.autograd.grad(x.sin().sum() + w.square().sum(), list(learned.values()))
        return [v.detach().double() for v in (x, w, *gradients)]

    true = results(torch.float64, by_panels=False)
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(results(dtype, True), true, strict=True))


@pytest.mark.parametrize(("n", "scale"), [(5, 1.0), (128, 1.0), (300, 1.0), (130, 1e25), (130, 1e-25)])
def test_products_by_panels_are_those_of_the_matrix(n: int, scale: float) -> None:
    assert _worst_of_products(n, scale, torch.float32) < 5e-6
    assert _worst_of_products(n, scale, torch.float64) < 1e-13


def test_a_matrix_whose_size_is_taken_as_fixed_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    vecdot = torch.linalg.vecdot
    monkeypatch.setattr("torch.linalg.vecdot", lambda a, b: 0 * vecdot(a, b))  # deliberately wrong
    assert _worst_of_products(130, 1.0, torch.float64) > 1e-3


def test_the_choice_and_its_reason(fresh_library: pytest.MonkeyPatch) -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    euclidean, manhattan = DISTANCES.parse("euclidean").operator, DISTANCES.parse("manhattan").operator

    def chosen(operator: kernels.Operator | None, device: torch.device, dtype: torch.dtype, *shape: int) -> str:
        return choice.choose(operator, device, dtype, *shape).form

    big, small = (256, 1000, 512), (2, 3, 4)
    assert chosen(manhattan, cpu, torch.float32, *small) == "reference"
    assert chosen(manhattan, cpu, torch.float32, *big) == "native"
    assert chosen(euclidean, cpu, torch.float32, *big) == "matmul"
    assert chosen(euclidean, cpu, torch.float32, 256, 10, 512) == "native"
    assert chosen(euclidean, gpu, torch.float32, *big) == "matmul"
    fresh_library.setattr("harmbench.nn.kernels.gpu.problem", lambda: "no Triton")
    assert chosen(manhattan, gpu, torch.float32, *big) == "chunked"
    assert chosen(manhattan, cpu, torch.float64, *big) == "chunked"
    assert chosen(None, cpu, torch.float32, *big) == "chunked"
    assert "float64" in choice.choose(manhattan, cpu, torch.float64, *big).reason
    fresh_library.setenv("HARMBENCH_KERNELS", "reference")
    assert chosen(manhattan, cpu, torch.float32, *big) == "reference"
    fresh_library.setenv("HARMBENCH_KERNELS", "fast")
    with pytest.raises(OptionError, match="auto or reference"):
        chosen(manhattan, cpu, torch.float32, *big)


def test_an_instruction_set_that_is_not_there(fresh_library: pytest.MonkeyPatch) -> None:
    fresh_library.setenv("HARMBENCH_ISA", "neon9")
    with pytest.raises(OptionError, match="HARMBENCH_ISA=neon9: this CPU has"):
        build.library()


@pytest.mark.parametrize("address", ["manhattan", "mahalanobis[variant=full]"])
def test_a_second_derivative_is_refused_in_words(address: str) -> None:
    x, w = (v.clone().requires_grad_() for v in accuracy.INPUTS["ordinary"])
    (of_x,) = torch.autograd.grad(DISTANCES.parse(address)(x, w).sum(), x, create_graph=True)
    with pytest.raises(HarmbenchError, match="HARMBENCH_KERNELS=reference"):
        of_x.sum().backward()


def test_without_a_compiler_everything_works_and_the_reason_is_told(
    fresh_library: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    fresh_library.setenv("CXX", "no-such-compiler")
    x, w = accuracy.INPUTS["ordinary"]
    for address in ("manhattan", "euclidean"):
        distance = DISTANCES.parse(address)
        torch.testing.assert_close(distance(x, w), distance.between(x, w))
    assert capfd.readouterr().err.count("no C++ compiler found") == 1
    assert "no C++ compiler found" in kernels.status()["library"]


def test_a_compiler_that_fails_is_told_in_one_line(fresh_library: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "c++"
    broken.write_text("#!/bin/sh\n[ \"$1\" = --version ] && echo broken 1.0 && exit 0\necho 'error: no' >&2\nexit 1\n")
    broken.chmod(broken.stat().st_mode | stat.S_IXUSR)
    fresh_library.setenv("CXX", str(broken))
    fresh_library.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert build.library().problem == "native.cpp does not compile: error: no"


def test_a_cache_folder_that_cannot_be_written(
    fresh_library: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    fresh_library.setenv("XDG_CACHE_HOME", str(in_the_way))  # holds for every user, root included
    x, w = accuracy.INPUTS["ordinary"]
    manhattan = DISTANCES.parse("manhattan")
    torch.testing.assert_close(manhattan(x, w), manhattan.between(x, w))
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "cannot be written (Not a directory); set XDG_CACHE_HOME" in lines[0]


@pytest.mark.slow
def test_two_processes_at_first_use(tmp_path: Path) -> None:
    program = (
        "from harmbench.nn.kernels import build; import torch; from harmbench.nn.distances import DISTANCES;"
        "assert build.library().handle, build.library().problem;"
        "print(DISTANCES.parse('manhattan')(torch.ones(40, 30), torch.zeros(20, 30)).sum().item())"
    )
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "HARMBENCH_ISA": "portable", "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=300) for process in running]
    assert [out.strip() for out, _ in said] == ["24000.0", "24000.0"], said
    assert sum(err.count("compiling CPU kernels") for _, err in said) == 1
    assert len(list((tmp_path / "harmbench").glob("*.so"))) == 1
