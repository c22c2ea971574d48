"""The Triton kernels: interpreted on the CPU against float64, compiled for GPUs that are not here, run where one is.

pip install triton
TRITON_INTERPRET=1 python -m pytest tests/contracts/test_gpu.py      interpreted, and compiled
python -m pytest tests/contracts/test_gpu.py                         compiled, and on the GPU where there is one
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor

from harmbench import harmonic_loss
from harmbench.nn.distances import DISTANCES, Distance
from harmbench.nn.kernels import Operator, choice, forms, gpu, harmonic
from tests.support.paths import ROOT

B, K, N = 37, 18, 23  # no multiple of a tile, or of the four coordinates that are taken at a time
ADDRESSES = (
    *("manhattan", "minkowski[p=1.5]", "minkowski[p=3]", "minkowski[p=10]", "minkowski[p=1.01]"),
    *("chebyshev", "chebyshev[variant=smooth]", "chebyshev[variant=smooth,alpha=0.5]"),
    *("canberra", "canberra[variant=robust]", "canberra[variant=weighted]", "canberra[variant=weighted,gamma=2]"),
    *("bray_curtis", "bray_curtis[variant=signed]", "bray_curtis[variant=normalized]", "hamming"),
)
interpreted = pytest.mark.skipif(
    not gpu.is_interpreted(),
    reason="set TRITON_INTERPRET=1" if gpu.IS_INSTALLED else "Triton is not installed: pip install triton",
)
on_gpu = pytest.mark.skipif(
    not torch.cuda.is_available() or gpu.is_interpreted(),
    reason="TRITON_INTERPRET is set" if gpu.is_interpreted() else "no CUDA device",
)


def _inputs() -> dict[str, tuple[Tensor, Tensor]]:
    rng = torch.Generator().manual_seed(0)
    x, w = torch.randn(B, N, generator=rng), torch.randn(K, N, generator=rng)
    on_centers = w[torch.arange(B) % K]
    steps = torch.arange(1.0, B + 1)[:, None]
    return {
        "ordinary": (x, w),
        "tiny": (x * 1e-30, w * 1e-30),
        "huge": (x * 1e30, w * 1e30),
        "of mixed size": (x * 10.0 ** ((steps - 19) / 2), w),
        "equal": (on_centers.clone(), w),
        "near": (on_centers + 1e-4 * x, w),
        "collinear": (x[:1] * steps, 1.5 * x[:1] * steps[:K]),
        "behind a ReLU": (x.relu(), w.relu()),
        "zero": (torch.zeros(B, N), torch.zeros(K, N)),
    }


def _operator(distance: Distance) -> Operator:
    operator = distance.operator
    assert operator is not None
    return operator


def _results(distance: Distance, form: forms.Form | None, x: Tensor, w: Tensor, g: Tensor) -> list[Tensor]:
    """Distances and both gradients, in float64 on the CPU; of the formula where there is no form."""
    x, w = x.clone().requires_grad_(), w.clone().requires_grad_()
    d = distance.between(x, w) if form is None else forms.apply(form, _operator(distance), x, w)
    return [v.detach().double().cpu() for v in (d, *torch.autograd.grad(d, (x, w), g.to(d)))]


def _error(found: Tensor, true: Tensor, by_entry: bool) -> float:
    scale = true.abs() if by_entry else true.abs().amax(-1, keepdim=True)
    gap = (found - true).abs()
    return float(torch.where(gap == 0, 0.0, gap / scale.clamp_min(1e-300)).amax())


def _disagreements(distance: Distance, form: forms.Form, device: str = "cpu") -> list[str]:
    """Where a form is further from float64 than 1e-5, and than some times what float32 does to the formula itself."""
    g = torch.randn(B, K, generator=torch.Generator().manual_seed(2))
    found = []
    for kind, vectors in _inputs().items():
        x, w = distance.mapped(*vectors, {}, False)[:2]
        true, formula = _results(distance, None, x.double(), w.double(), g), _results(distance, None, x, w, g)
        fast = _results(distance, form, x.to(device), w.to(device), g)
        for what, at in (("distances", 0), ("gradient of x", 1), ("gradient of w", 2)):
            allowed = max(1e-5, 16 * _error(formula[at], true[at], by_entry=at == 0))
            error = _error(fast[at], true[at], by_entry=at == 0)
            if not error <= allowed:
                found.append(f"{kind}: {what} off by {error:.1e}, allowed {allowed:.1e}")
    return found


@interpreted
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of NumPy, in which the interpreter computes
@pytest.mark.parametrize("address", ADDRESSES)
def test_a_kernel_is_the_formula(address: str) -> None:
    distance = DISTANCES.parse(address)
    assert _disagreements(distance, forms.TritonForm(_operator(distance))) == []


@interpreted
def test_the_contract_catches_a_wrong_kernel() -> None:
    wrong = Operator("elementwise", "minkowski", option=3.001, degree=1)
    assert _disagreements(DISTANCES.parse("minkowski[p=3]"), forms.TritonForm(wrong))


@interpreted
@pytest.mark.parametrize("address", ["manhattan", "chebyshev"])
def test_the_largest_tiles(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "tile", lambda down, across, name: (64, 64))
    distance = DISTANCES.parse(address)
    assert _disagreements(distance, forms.TritonForm(_operator(distance))) == []


@interpreted
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("address", ADDRESSES)
def test_nan_is_not_repaired(address: str) -> None:
    distance = DISTANCES.parse(address)
    x, w = _inputs()["ordinary"]
    x[3, 5] = float("nan")
    d, _ = gpu.forward(_operator(distance), *distance.mapped(x, w, {}, False)[:2])
    assert d[3].isnan().all()
    assert d[:3].isfinite().all()
    assert d[4:].isfinite().all()


def _losses(d: Tensor, n: float, task: harmonic.Task) -> list[Tensor]:
    """Losses, dl/dd and dl/dn of each row, in float64."""
    d, exponents = d.double().requires_grad_(), torch.full((len(d), 1), n, dtype=torch.float64, requires_grad=True)
    weights = None if task.weights is None else task.weights.double()
    losses = harmonic.row_losses(d, exponents, task.targets, weights, task.smoothing)
    assert task.factors is not None
    return [losses.detach(), *torch.autograd.grad(losses, (d, exponents), torch.as_tensor(task.factors).double())]


@interpreted
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize("n", [1.0, 28.0, 1536.0])
def test_rows_of_harmonic_loss(n: float, is_weighted: bool, smoothing: float) -> None:
    rng = torch.Generator().manual_seed(0)
    rows, classes = 9, 2100  # more than a block of the kernel
    d = 10 + torch.randn(rows, classes, generator=rng)
    targets = torch.randint(0, classes, (rows,), generator=rng)
    d[0] *= 1e20
    d[1, targets[1]] = 0.5  # almost certain
    d[2, targets[2]] = 0  # on its center
    targets[3] = -1
    weights = 0.5 + torch.rand(classes, generator=rng) if is_weighted else None
    task = harmonic.Task(targets=targets, weights=weights, smoothing=smoothing, factors=torch.rand(rows, generator=rng))
    assert isinstance(task.factors, Tensor)
    true = _losses(d, n, task)
    floor = harmonic.floor_of(d.dtype)
    losses, g, by_n = gpu.harmonic(d, targets, torch.tensor(n), task.factors, weights, smoothing, floor)
    assert g[2, targets[2]] == 0
    for found, right in ((losses[:, None], true[0][:, None]), (g, true[1]), (by_n[:, None], true[2])):
        assert found[2].isfinite().all()  # of which the reference, with another least distance, knows nothing
        for row in (row for row in range(rows) if row != 2):
            assert _error(found[row].double(), right[row], by_entry=False) < max(1e-5, 1e-6 * n), row


@interpreted
def test_a_row_with_nan_and_a_row_of_one_class() -> None:
    d = torch.tensor([[1.0, float("nan"), 2.0], [1.0, 2.0, 3.0]])
    losses, g, _ = gpu.harmonic(d, torch.tensor([0, 1]), torch.tensor(2.0), torch.ones(2), None, 0.0, 1e-30)
    assert losses.isnan().tolist() == [True, False]
    assert g.isnan().all(1).tolist() == [True, False]
    alone = gpu.harmonic(d[1:, :1], torch.tensor([0]), torch.tensor(2.0), torch.ones(1), None, 0.0, 1e-30)
    assert [float(v.sum()) for v in alone] == [0.0, 0.0, 0.0]


@interpreted
@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("address", ["manhattan", "canberra[variant=weighted]"])
def test_the_fused_loss(address: str, reduction: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    x, w = _inputs()["ordinary"]
    y = torch.arange(B) % K

    def results(dtype: torch.dtype) -> list[Tensor]:
        leaves = [v.to(dtype).requires_grad_() for v in (x, w, torch.tensor(5.0))]
        losses = harmonic_loss(leaves[0], leaves[1], y, distance=address, n=leaves[2], reduction=reduction)
        return [losses.detach().double(), *(v.double() for v in torch.autograd.grad(losses.sum(), leaves))]

    true = results(torch.float64)
    monkeypatch.setattr(choice, "choose", lambda *_: choice.Choice("triton", "a test"))
    monkeypatch.setattr(harmonic, "_is_for_triton", lambda d: True)
    for found, right in zip(results(torch.float32), true, strict=True):
        assert float((found - right).abs().max() / right.abs().max()) < 1e-5


def test_without_triton_or_a_gpu_the_choice_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def chosen(name: str = "manhattan") -> choice.Choice:
        return choice.choose(Operator("elementwise", name), torch.device("cuda"), torch.float32, 256, 1000, 512)

    monkeypatch.setattr(gpu, "problem", lambda: "no elementwise kernel for cuda: pip install triton")
    assert chosen() == ("chunked", "no elementwise kernel for cuda: pip install triton")
    monkeypatch.setattr(gpu, "problem", lambda: "")
    assert chosen().form == "triton"
    assert "not yet run on a GPU" in chosen().reason
    assert chosen("minkowski_learned") == ("chunked", "no Triton kernel for minkowski_learned")


@pytest.mark.slow
@pytest.mark.skipif(not gpu.IS_INSTALLED, reason="Triton is not installed: pip install triton")
def test_kernels_compile_for_gpus_without_spilling_registers() -> None:
    program = ROOT / "benchmarks" / "gpu.py"
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    operators = ("manhattan", "canberra_weighted", "minkowski")
    ended = subprocess.run(
        [sys.executable, program, "--quick", *operators], env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert "harmonic" in ended.stdout


@on_gpu
@pytest.mark.gpu
@pytest.mark.parametrize("address", ADDRESSES)
def test_on_the_gpu_a_kernel_is_the_formula(address: str) -> None:
    assert gpu.problem() == ""
    distance = DISTANCES.parse(address)
    assert _disagreements(distance, forms.TritonForm(_operator(distance)), "cuda") == []


@on_gpu
@pytest.mark.gpu
@pytest.mark.parametrize("address", ["manhattan", "chebyshev", "euclidean", "cosine"])
def test_on_the_gpu_the_fused_loss_of_many_rows_and_classes(address: str) -> None:
    rng = torch.Generator().manual_seed(0)
    x, w = torch.randn(700, 68, generator=rng), torch.randn(5000, 68, generator=rng)
    y = torch.randint(0, 5000, (700,), generator=rng)

    def results(device: str, dtype: torch.dtype) -> list[Tensor]:
        leaves = [v.to(device, dtype).requires_grad_() for v in (x, w)]
        loss = harmonic_loss(*leaves, y.to(device), distance=address, n=5)
        return [v.double().cpu() for v in (loss.detach(), *torch.autograd.grad(loss, leaves))]

    for found, right in zip(results("cuda", torch.float32), results("cpu", torch.float64), strict=True):
        assert float((found - right).abs().max() / right.abs().max()) < 1e-4
