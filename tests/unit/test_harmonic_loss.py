"""The fused harmonic loss: against float64 cross-entropy of -n log d, in value and in every gradient."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

import harmbench
from harmbench import HarmonicHead, harmonic_loss
from harmbench.errors import HarmbenchError, OptionError, UnknownNameError
from harmbench.nn.distances import DISTANCES, Distance
from harmbench.nn.kernels import build, harmonic
from tests.support import accuracy

ADDRESSES = [str(distance) for distance in DISTANCES.every_variant()]


def _problem(rows: int = 40, features: int = 48, classes: int = 50) -> tuple[Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    x, w = torch.randn(rows, features, generator=rng), torch.randn(classes, features, generator=rng)
    return x, w, torch.randint(0, classes, (rows,), generator=rng)


def _plain(x: Tensor, w: Tensor, y: Tensor, distance: str, n: Tensor, **options: Any) -> Tensor:
    """The definition, in whatever precision comes in: cross-entropy on -n log d."""
    chosen = DISTANCES.parse(distance)
    parameters = {k: v.to(x.dtype) for k, v in chosen.initial_parameters(x.shape[1]).items()}
    d = chosen.pairwise(x, w, parameters, False)
    return F.cross_entropy(-n * d.log(), y, **options)


def _fused(x: Tensor, w: Tensor, y: Tensor, distance: str, n: Tensor, **options: Any) -> Tensor:
    return harmonic_loss(x, w, y, distance=distance, n=n, training=False, **options)


def _loss_and_gradients(function: Any, x: Tensor, w: Tensor, n: float, dtype: torch.dtype) -> list[Tensor]:
    leaves = [v.detach().to(dtype).requires_grad_() for v in (x, w, torch.tensor(n))]
    loss = function(*leaves)
    weights = torch.linspace(1, 2, loss.numel(), dtype=dtype).reshape(loss.shape)  # unequal, for reduction="none"
    return [loss.detach().double(), *(g.double() for g in torch.autograd.grad((loss * weights).sum(), leaves))]


def _worst(found: list[Tensor], true: list[Tensor]) -> float:
    """Worst error of loss and gradients by x and w, each by its largest entry."""
    return max(float((f - t).abs().max() / t.abs().max().clamp_min(1e-300)) for f, t in zip(found, true, strict=True))


def _mean_loss(x: Tensor, w: Tensor, y: Tensor, distance: Distance, n: Tensor) -> Tensor:
    return harmonic_loss(x, w, y, distance=distance, n=n, training=False)


def _disagreements(address: str, n: float, function: accuracy.LossFunction) -> list[str]:
    """Where loss or gradients are further from float64 than C roundings times the condition (see `accuracy`)."""
    return [
        f"{kind}: {what} off by {error:.3g}"
        for kind in accuracy.loss_kinds(address)
        for what, error in accuracy.loss_errors(address, kind, n, function).items()
        if not error <= accuracy.C
    ]


@pytest.mark.parametrize("n", accuracy.EXPONENTS.values(), ids=accuracy.EXPONENTS)
@pytest.mark.parametrize("address", ADDRESSES)
def test_it_is_cross_entropy_under_harmax(address: str, n: float) -> None:
    assert _disagreements(address, n, _mean_loss) == []


@pytest.mark.parametrize("address", ["euclidean", "manhattan"])
def test_it_is_cross_entropy_under_harmax_without_a_compiler(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harmbench.nn.kernels.native.is_available", lambda: False)
    assert _disagreements(address, 48**0.5, _mean_loss) == []


def _logits_first(x: Tensor, w: Tensor, y: Tensor, distance: Distance, n: Tensor) -> Tensor:
    """Deliberately wrong: the definition in float32, where 1 - p_c is rounded away."""
    return F.cross_entropy(-n * distance.pairwise(x, w, {}, False).log(), y)


def _another_exponent(x: Tensor, w: Tensor, y: Tensor, distance: Distance, n: Tensor) -> Tensor:
    """Deliberately wrong: one part in a hundred thousand."""
    return _mean_loss(x, w, y, distance, n * 1.00001)


@pytest.mark.parametrize(
    ("wrong", "where"), [(_logits_first, "confident: loss"), (_another_exponent, "ordinary: gradient of x")]
)
def test_a_wrong_loss_is_caught(wrong: accuracy.LossFunction, where: str) -> None:
    assert any(line.startswith(where) for line in _disagreements("manhattan", 48**0.5, wrong))


@pytest.mark.parametrize("address", ADDRESSES)
def test_bfloat16_inputs_are_the_same_numbers(address: str) -> None:
    x, w, y = accuracy.LOSS_INPUTS["bfloat16"]

    def run(dtype: torch.dtype) -> list[Tensor]:
        leaves = [v.to(dtype).requires_grad_() for v in (x.clone(), w.clone())]
        loss = harmonic_loss(*leaves, y, distance=address, training=False)
        assert loss.dtype == torch.float32
        return [loss.detach(), *torch.autograd.grad(loss, leaves)]

    for half, single in zip(run(torch.bfloat16), run(torch.float32), strict=True):
        assert torch.equal(half, single.to(half.dtype))


OPTIONS: list[dict[str, Any]] = [
    {"reduction": reduction, "label_smoothing": smoothing, "weight": weight}
    for reduction in ("mean", "sum", "none")
    for smoothing in (0.0, 0.1)
    for weight in (None, "classes")
]


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(map(str, o.values())))
def test_options_mean_what_they_mean_in_cross_entropy(
    options: dict[str, Any], compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not compiled:
        monkeypatch.setattr("harmbench.nn.kernels.native.is_available", lambda: False)
    x, w, y = _problem()
    y[[3, 7]] = -100
    weight = torch.rand(len(w), generator=torch.Generator().manual_seed(1)) if options["weight"] else None

    def run(function: Any, dtype: torch.dtype) -> list[Tensor]:
        chosen = {**options, "weight": None if weight is None else weight.to(dtype)}
        return _loss_and_gradients(lambda *v: function(v[0], v[1], y, "manhattan", v[2], **chosen), x, w, 8.0, dtype)

    assert _worst(run(_fused, torch.float32), run(_plain, torch.float64)) < 1e-5


@pytest.mark.parametrize("compiled", [True, False])
def test_a_nearly_certain_class_keeps_its_digits(compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not compiled:
        monkeypatch.setattr("harmbench.nn.kernels.native.is_available", lambda: False)
    x, w, y = _problem()
    x = w[y] + 0.1 * x

    def true(a: Tensor, b: Tensor, n: Tensor) -> Tensor:
        return harmonic.row_losses(torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist"), n, y, None, 0).mean()

    right = _loss_and_gradients(true, x, w, 28.0, torch.float64)
    found = _loss_and_gradients(lambda *v: _fused(v[0], v[1], y, "euclidean", v[2]), x, w, 28.0, torch.float32)
    assert 0 < right[0] < 1e-10
    assert _worst(found, right) < 2e-5


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_it_is_blind_to_scale(scale: float) -> None:
    x, w, y = _problem()
    torch.testing.assert_close(harmonic_loss(scale * x, scale * w, y), harmonic_loss(x, w, y), rtol=1e-5, atol=0)


def test_features_on_a_center() -> None:
    x, w, y = _problem()
    x = w[y].clone().requires_grad_()
    loss = harmonic_loss(x, w, y)
    loss.backward()
    assert float(loss.detach()) < 1e-30
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


def test_it_is_the_head_and_cross_entropy() -> None:
    x, _, y = _problem()
    head = HarmonicHead(48, 50, "manhattan")
    torch.testing.assert_close(harmonic_loss(x, head.weight, y, distance="manhattan"), F.cross_entropy(head(x), y))


LEARNED = ("mahalanobis[variant=full]", "mahalanobis[variant=diagonal]", "minkowski[p=learnable]")


@pytest.mark.parametrize("how", ["one call", "products of torch", "torch alone"])
@pytest.mark.parametrize("address", LEARNED)
def test_learnable_distances_learn(address: str, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if how == "torch alone":
        monkeypatch.setattr("harmbench.nn.kernels.native.is_available", lambda: False)
        monkeypatch.setattr("harmbench.nn.kernels.choice.FITS", 1 << 14)  # the formula in blocks
    if how == "products of torch":
        monkeypatch.setattr("harmbench.nn.kernels.harmonic.DIRECT", dict.fromkeys(harmonic.DIRECT, 0))
    x, w, y = _problem()
    distance = DISTANCES.parse(address)
    rng = torch.Generator().manual_seed(1)
    start = {n: v + 0.3 * torch.randn(v.shape, generator=rng) for n, v in distance.initial_parameters(48).items()}

    def gradients(dtype: torch.dtype) -> list[Tensor]:
        parameters = {name: value.to(dtype).requires_grad_() for name, value in start.items()}
        if dtype == torch.float64:
            loss = F.cross_entropy(-8 * distance.pairwise(x.double(), w.double(), parameters, True).log(), y)
        else:
            loss = harmonic_loss(x, w, y, distance=distance, n=8, parameters=parameters)
        return [g.double() for g in torch.autograd.grad(loss, list(parameters.values()))]

    true = gradients(torch.float64)
    assert all(g.abs().sum() > 0 for g in true)
    assert _worst(gradients(torch.float32), true) < 1e-5


@pytest.mark.parametrize("kind", accuracy.loss_kinds("mahalanobis[variant=diagonal]"))
def test_products_that_are_scaled_on_one_side(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As above, of loss and both gradients, with factors of many sizes and two blocks of rows."""
    monkeypatch.setattr("harmbench.nn.kernels.harmonic.DIRECT", dict.fromkeys(harmonic.DIRECT, 0))
    x, w, y = accuracy.LOSS_INPUTS[kind]
    x, y = x.repeat(20, 1), y.repeat(20)
    distance = DISTANCES.parse("mahalanobis[variant=diagonal]")
    logs = {name: value + torch.linspace(-2, 1, 48) for name, value in distance.initial_parameters(48).items()}

    def fused(a: Tensor, b: Tensor, n: Tensor) -> Tensor:
        return harmonic_loss(a, b, y, distance=distance, n=n, parameters=logs)

    def plain(a: Tensor, b: Tensor, n: Tensor) -> Tensor:
        d = distance.pairwise(a, b, {name: value.to(a.dtype) for name, value in logs.items()}, True)
        return harmonic.row_losses(d, n, y, None, 0).mean()

    right = _loss_and_gradients(plain, x, w, 7.0, torch.float64)
    assert _worst(_loss_and_gradients(fused, x, w, 7.0, torch.float32), right) < 1e-5


def test_half_precision_inputs_and_autocast() -> None:
    x, w, y = _problem()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = harmonic_loss(x.bfloat16(), w, y)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, harmonic_loss(x.bfloat16().float(), w, y))


@pytest.mark.parametrize("distance", [address for address in ADDRESSES if address != "hamming[variant=hard]"])
def test_gradcheck_in_float64(distance: str) -> None:
    """Not hard Hamming, whose gradient is an estimate."""
    x, w, y = _problem(4, 5, 6)
    leaves = [v.double().requires_grad_() for v in (x, w, torch.tensor(2.5))]
    assert torch.autograd.gradcheck(lambda a, b, n: _fused(a, b, y, distance, n), leaves)


@pytest.mark.parametrize(
    "distance", ["euclidean", "cosine", "canberra", "bray_curtis", "mahalanobis[variant=diagonal]"]
)
def test_second_derivatives_of_the_formula(distance: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARMBENCH_KERNELS", "reference")
    x, w, y = _problem(3, 4, 5)
    leaves = [v.double().requires_grad_() for v in (x, w, torch.tensor(2.5))]
    assert torch.autograd.gradgradcheck(lambda a, b, n: _fused(a, b, y, distance, n), leaves)


def test_twice_backward_and_a_second_derivative() -> None:
    x, w, y = _problem()
    x.requires_grad_()
    loss = harmonic_loss(x, w, y)
    first, second = (torch.autograd.grad(3 * loss, x, retain_graph=True)[0] for _ in range(2))
    torch.testing.assert_close(first, second)
    (again,) = torch.autograd.grad(loss, x, create_graph=True)
    with pytest.raises(HarmbenchError, match="HARMBENCH_KERNELS=reference"):
        again.sum().backward()


def test_token_shapes_and_rows_that_do_not_count() -> None:
    x, w, y = _problem()
    tokens, targets = x.reshape(5, 8, -1), y.reshape(5, 8).clone()
    targets[0] = -100
    losses = harmonic_loss(tokens, w, targets, reduction="none")
    assert losses.shape == (5, 8)
    assert (losses[0] == 0).all()
    torch.testing.assert_close(harmonic_loss(tokens, w, targets), losses[1:].mean())
    assert harmonic_loss(tokens, w, torch.full_like(targets, -100)).isnan()  # as cross_entropy


def test_nan_is_not_repaired() -> None:
    x, w, y = _problem()
    x[2, 2] = float("nan")
    losses = harmonic_loss(x, w, y, reduction="none")
    assert losses.isnan().nonzero().flatten().tolist() == [2]


def test_what_does_not_fit_is_said() -> None:
    x, w, y = _problem()
    with pytest.raises(ValueError, match=r"targets must be in 0\.\.49"):
        harmonic_loss(x, w, y + 45)
    with pytest.raises(ValueError, match="expected features"):
        harmonic_loss(x, w[:, :3], y)
    with pytest.raises(ValueError, match="reduction must be"):
        harmonic_loss(x, w, y, reduction="median")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="label_smoothing"):
        harmonic_loss(x, w, y, label_smoothing=2)
    with pytest.raises(UnknownNameError, match="euclidean"):
        harmonic_loss(x, w, y, distance="euclidian")
    with pytest.raises(OptionError, match="must be a number"):
        harmonic_loss(x, w, y, n=-1)
    assert "harmonic_loss" in harmbench.__all__


def test_a_large_vocabulary_never_writes_rows_by_classes() -> None:
    if build.library().handle is None:
        pytest.skip("no compiler here")
    x, w, y = _problem(2048, 8, 20_000)  # all distances would be 160 MB
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        harmonic_loss(x.requires_grad_(), w.requires_grad_(), y, distance="manhattan").backward()
    largest = max(event.self_cpu_memory_usage for event in watched.events())
    assert largest < 40e6


@pytest.mark.parametrize("distance", [str(distance) for distance in DISTANCES.every_variant()])
def test_vectors_may_lie_anywhere_in_memory(distance: str) -> None:
    """Expanded features and transposed centers count as their copies do; reading past them met what lay there."""
    rng = torch.Generator().manual_seed(4)
    bias, turned = torch.rand(16, generator=rng), torch.rand(16, 10, generator=rng)
    y = torch.arange(64) % 10

    def results(x: Tensor, w: Tensor) -> list[Tensor]:
        leaves = [x.detach().requires_grad_(), w.detach().requires_grad_()]
        torch.manual_seed(0)  # noisy distances draw
        loss = harmonic_loss(*leaves, y, distance=distance, n=4)
        return [loss.detach(), *torch.autograd.grad(loss, leaves)]

    found, copied = results(bias.expand(64, -1), turned.T), results(bias.repeat(64, 1), turned.T.contiguous())
    for one, other in zip(found, copied, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)
