"""Head and loss of a trial in one call: the same numbers as distances first and the loss after, for every distance."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harmbench import harmonic_loss
from harmbench.nn.distances import DISTANCES
from harmbench.nn.heads import DistanceHead, LinearHead, Objective
from harmbench.nn.kernels import build, native
from harmbench.runner.model import Classifier
from tests.support.samples import job_of, spec
from tests.support.training import run_one

ADDRESSES = [str(distance) for distance in DISTANCES.every_variant()]
MAPPED = ["mahalanobis[variant=diagonal]", "hamming[threshold=0.3]", "hamming[variant=hard]"]
MAPPED += ["bray_curtis[variant=normalized]", "cosine", "euclidean"]
MAPPED += ["correlation", "angular", "poincare", "poincare[curvature=0.1]"]
B, N, K = 45, 41, 10  # no multiple of a vector's width
ONE_CALL = "native (one call for distances, loss and gradients"


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def fresh_library(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    build.library.cache_clear()
    yield monkeypatch
    build.library.cache_clear()


def classifier(distance: str, n: str = "sqrt_d") -> Classifier:
    """A model whose features are its inputs, its learnable numbers off their start."""
    torch.manual_seed(0)
    model = Classifier(nn.Identity(), DistanceHead(N, K, distance, center_std=1.0), Objective(f"harmonic[n={n}]", N))
    with torch.no_grad():
        for parameter in (*model.head.distance_parameters.values(), *model.objective.parameters()):
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def features(kind: str, model: Classifier, rows: int = B) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(1)
    x, y = torch.randn(rows, N, generator=rng), torch.arange(rows) % K
    centers = model.head.weight.detach()
    near = centers[y] + 1e-2 * x  # so near that a product form has lost three digits
    behind_relu = torch.where(x > 0, x, 0.0)
    return {"ordinary": x, "near": near, "behind a ReLU": behind_relu, "huge": 1e6 * x}[kind], y


def loss_and_gradients(model: Classifier, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """In float64, by name, of the loss, the features and every parameter."""
    x = x.clone().requires_grad_()
    model.zero_grad()
    torch.manual_seed(2)  # noise, where there is any
    loss = model.loss(x, y)
    (3 * loss).backward()
    assert x.grad is not None
    found = {"loss": loss.detach(), "features": x.grad}
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        found[name] = parameter.grad
    return {name: tensor.double() for name, tensor in found.items()}


def disagreements(model: Classifier, x: Tensor, y: Tensor, patch: pytest.MonkeyPatch) -> dict[str, float]:
    """What is further from the formula in float64 than 1e-5, and than some times what float32 does to the formula."""
    fast = loss_and_gradients(model, x, y)
    with patch.context() as formula:
        formula.setenv("HARMBENCH_KERNELS", "reference")
        plain = loss_and_gradients(model, x, y)
        true = loss_and_gradients(copy.deepcopy(model).double(), x.double(), y)

    def errors(found: dict[str, Tensor]) -> dict[str, float]:
        return {name: float((found[name] - t).abs().max() / t.abs().max().clamp_min(1e-30)) for name, t in true.items()}

    allowed = {name: max(1e-5, 16 * error) for name, error in errors(plain).items()}
    # The matrix's gradient sums up features' and centers', which cancel by |x| / |x - w|: up to 100, of some roundings.
    allowed |= {name: max(error, 3e-5) for name, error in allowed.items() if name.endswith(".lower")}
    return {name: error for name, error in errors(fast).items() if not error <= allowed[name]}


@pytest.mark.parametrize("n", ["sqrt_d", "learnable"])
@pytest.mark.parametrize("distance", ADDRESSES)
def test_training_is_the_formula(distance: str, n: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if distance == "hamming[variant=gumbel]":
        # One draw serves float32 and float64.
        monkeypatch.setattr("harmbench.nn.distances.hamming._logistic", lambda w: torch.linspace(-1, 1, N).to(w))
    model = classifier(distance, n)
    if distance.startswith(("poincare", "bray_curtis[variant=signed]")):
        with torch.no_grad():
            model.head.weight.abs_()
    for kind in ("ordinary", "near", "behind a ReLU"):
        assert disagreements(model, *features(kind, model), monkeypatch) == {}, kind


@pytest.mark.parametrize("isa", build.available_isas())
@pytest.mark.parametrize("distance", MAPPED)
def test_what_the_call_maps_and_multiplies_itself(distance: str, isa: str, fresh_library: pytest.MonkeyPatch) -> None:
    fresh_library.setenv("HARMBENCH_ISA", isa)
    model = classifier(distance)
    for rows in (B, 700):  # one block, and two
        assert model.how(rows).startswith(ONE_CALL), model.how(rows)
        for kind in ("ordinary", "near", "behind a ReLU", *(["huge"] if distance in ("cosine", "euclidean") else [])):
            assert disagreements(model, *features(kind, model, rows), fresh_library) == {}, kind


def test_a_wrong_call_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    class Doubled(native.WholeStep):
        """Deliberately wrong: the centers' gradient counts twice."""

        def __call__(self, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
            found = super().__call__(*arguments)
            arguments[-1][1].mul_(2)
            return found

    monkeypatch.setattr("harmbench.nn.kernels.native.WholeStep", Doubled)
    model = classifier("manhattan")
    assert disagreements(model, *features("ordinary", model), monkeypatch).keys() == {"head.weight"}


@pytest.mark.parametrize("training", [True, False])
def test_noise_is_drawn_as_before(training: bool) -> None:
    model = classifier("hamming[variant=gumbel]").train(training)
    x, y = features("ordinary", model)
    torch.manual_seed(3)
    fused = model.loss(x, y)
    after = torch.get_rng_state()
    torch.manual_seed(3)
    torch.testing.assert_close(fused, model.objective(model.head(x), y))
    assert torch.equal(torch.get_rng_state(), after)


@pytest.mark.parametrize("distance", ["manhattan", "mahalanobis[variant=diagonal]", "angular"])
def test_autocast_leaves_head_and_loss_in_float32(distance: str) -> None:
    model = classifier(distance)
    x, y = features("ordinary", model)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.loss(x.bfloat16(), y)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, model.loss(x.bfloat16().float(), y))


def test_nan_ends_in_the_loss_and_a_target_that_is_no_class_in_an_error() -> None:
    model = classifier("manhattan")
    x, y = features("ordinary", model)
    for wrong in (K, -1, -100):
        y[3] = wrong
        with pytest.raises(IndexError, match=r"targets must be in 0\.\.9"):
            model.loss(x, y)
    y[3], x[2, 2] = 0, float("nan")
    assert model.loss(x, y).isnan()


HOW = {
    "euclidean": ONE_CALL,
    "cosine": ONE_CALL,
    "hamming[variant=gumbel]": ONE_CALL,
    "mahalanobis[variant=diagonal]": ONE_CALL,
    "mahalanobis[variant=full]": "matmul (",
    "angular": ONE_CALL,
    "correlation": ONE_CALL,
    "poincare": ONE_CALL,
    "squared_euclidean": ONE_CALL,
    "hellinger": "matmul (",
    "minkowski[p=learnable]": "native (compiled kernel",
}


@pytest.mark.parametrize(("distance", "how"), HOW.items(), ids=HOW)
def test_what_ran_is_told(distance: str, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    run = native.WholeStep.__call__
    monkeypatch.setattr(native.WholeStep, "__call__", lambda *arguments: calls.append(1) or run(*arguments))
    model = classifier(distance)
    draws = torch.get_rng_state()
    assert model.how(B).startswith(how), model.how(B)
    assert torch.equal(torch.get_rng_state(), draws), "asking draws noise"
    model.loss(*features("ordinary", model)).backward()
    assert bool(calls) == (how == ONE_CALL)
    monkeypatch.setenv("HARMBENCH_KERNELS", "reference")
    calls.clear()
    model.loss(*features("ordinary", model)).backward()
    assert model.how(B) == "reference (HARMBENCH_KERNELS=reference), then the loss by torch"
    assert calls == []


def test_other_losses_and_heads_say_what_they_run() -> None:
    head = DistanceHead(N, K, "manhattan")
    other = Classifier(nn.Identity(), head, Objective("distance_softmax", N)).how(B)
    assert other.startswith("native (compiled kernel")
    assert other.endswith("then the loss by torch")
    assert Classifier(nn.Identity(), LinearHead(N, K), Objective("cross_entropy", N)).how(B) == "torch"


def test_a_trial_records_what_ran() -> None:
    order = job_of(spec("cosine"))
    assert run_one(order).kernels["head and loss"].startswith(ONE_CALL)


def test_the_benchmark_of_steps_measures_what_it_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks import steps

    out = tmp_path / "steps"
    steps.main(["--heads", "manhattan", "--backbones", "mlp", "--seconds", "0", "--out", str(out)])
    lines = json.loads(out.with_suffix(".json").read_text())["speeds"]
    assert [(line["head"], line["kernels"]) for line in lines] == [
        ("linear", ""),
        ("manhattan", "auto"),
        ("manhattan", "reference"),
    ]
    assert "| mlp | manhattan | auto |" in capsys.readouterr().out


def _special(kind: str) -> tuple[Tensor, Tensor, Tensor]:
    """Features, centers and targets at which a distance made of cosines has its corners."""
    rng = torch.Generator().manual_seed(5)
    x, w, y = torch.randn(B, N, generator=rng), torch.randn(K, N, generator=rng), torch.arange(B) % K
    if kind == "opposite":
        x[:20] = -w[(y[:20] + 1) % K] * torch.arange(1.0, 21)[:, None] * (1 + 1e-4 * x[:20])
    elif kind == "a zero and a constant feature":
        x[3], x[4] = 0, 3.7
    elif kind == "a zero center":
        w[6] = 0
    elif kind == "long":
        x, w = 60 * x, 80 * w
    elif kind == "short":
        x, w = 1e-12 * x, 1e-12 * w
    elif kind == "shifted":
        x, w = 1000 + x, -300 + w
    return x, w, y


CORNERS = [
    (distance, kind)
    for distance in ("cosine", "correlation", "angular", "poincare", "squared_euclidean")
    for kind in ("opposite", "a zero and a constant feature", "a zero center", "long", "short")
]


@pytest.mark.parametrize("isa", build.available_isas())
@pytest.mark.parametrize(
    ("distance", "kind"),
    [*CORNERS, ("correlation", "shifted")],  # shifted, the other distances are nearly equal, and their gradients cancel
)
def test_the_corners_of_what_is_made_of_cosines(
    distance: str, kind: str, isa: str, fresh_library: pytest.MonkeyPatch
) -> None:
    fresh_library.setenv("HARMBENCH_ISA", isa)
    x, w, y = _special(kind)

    def results(dtype: torch.dtype) -> list[Tensor]:
        leaves = [v.to(dtype).requires_grad_() for v in (x, w)]
        loss = harmonic_loss(*leaves, y, distance=distance, n=3.0)
        return [v.double() for v in (loss.detach(), *torch.autograd.grad(loss, leaves))]

    fast = results(torch.float32)
    fresh_library.setenv("HARMBENCH_KERNELS", "reference")
    for found, true in zip(fast, results(torch.float64), strict=True):
        assert float((found - true).abs().max() / true.abs().max()) < 1e-5
