"""The contract of a distance.

    values      at least 0, exactly 0 at the center, NaN passes through, the fast form is the formula
    gradients   finite everywhere, and those of the values
    facts       each declared fact holds, and no other
    interface   float32 at least, empty batches, shapes that do not fit, learnable parameters that learn

`check_distance` runs all of them; each is also a function of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from harmbench.errors import ContractError
from harmbench.nn.distances import Distance, Facts
from harmbench.testing._contract import (
    Contract,
    Result,
    Skipped,
    components_of,
    enforce,
    is_written_as_it_is_read,
    judge,
    require,
)
from harmbench.testing._vectors import INPUTS, Array

PRECISIONS = (torch.float32, torch.float64)
DRAWS = 200  # of random vectors, for the facts
_RNG = np.random.default_rng(1)
X, W = (torch.tensor(_RNG.normal(size=size)) for size in ((6, 8), (4, 8)))


def learned_parameters(distance: Distance, in_features: int) -> dict[str, Tensor]:
    """Learnable parameters as training might leave them, away from their start.

    Args:
        distance: whose parameters.
        in_features: N, the length of the feature vectors.
    """
    rng = torch.Generator().manual_seed(0)
    start = distance.initial_parameters(in_features)
    return {name: value + 0.5 * torch.randn(value.shape, generator=rng) for name, value in start.items()}


def apply(distance: Distance, x: Tensor | Array, centers: Tensor | Array, *, training: bool = False) -> Tensor:
    """Distances (B, K) of features (B, N) to centers (K, N), with learned parameters."""
    x, centers = torch.as_tensor(x), torch.as_tensor(centers)
    return distance(x, centers, learned_parameters(distance, x.shape[1]), training=training)


def formula(distance: Distance, x: Tensor, centers: Tensor, *, training: bool = False) -> Tensor:
    """The distance's own formula, `pairwise`, in float64, with the parameters that `apply` takes."""
    parameters = {name: p.double() for name, p in learned_parameters(distance, x.shape[1]).items()}
    return distance.pairwise(x.double(), centers.double(), parameters, training)


# Values.


def is_not_negative(distance: Distance) -> None:
    """No distance is below 0."""
    for kind, (x, w) in INPUTS.items():
        for dtype in PRECISIONS:
            d = apply(distance, torch.tensor(x, dtype=dtype), torch.tensor(w, dtype=dtype), training=True)
            require((d >= 0).all(), f"negative on {kind} inputs in {dtype}: the least distance is {d.min():.4g}")


def is_zero_at_the_center(distance: Distance) -> None:
    """A feature on its center has distance 0 exactly."""
    for kind in ("ordinary", "tiny", "huge", "mixed"):
        for dtype in PRECISIONS:
            w = torch.tensor(INPUTS[kind][1], dtype=dtype)
            for rows in (w, w[1:3], w[4:]):  # matrix products round by shape
                nearest = apply(distance, rows, w, training=True).amin(1)
                require(
                    (nearest == 0).all(),
                    f"not zero at the center on {kind} inputs in {dtype}: {nearest.abs().max():.4g}",
                )


def lets_nan_through(distance: Distance) -> None:
    """NaN in a vector makes that vector's distances NaN, and no other."""
    x, w = X.clone(), W.clone()
    w[0] = 0
    x[1, 2] = w[3, 5] = torch.nan
    expected = torch.zeros(len(x), len(w), dtype=torch.bool)
    expected[1, :] = expected[:, 3] = True
    require(torch.equal(apply(distance, x, w).isnan(), expected), "NaN is hidden, or spreads")


def _rounding(distance: Distance, x: Tensor, w: Tensor, exact: Tensor, eps: float) -> Tensor:
    """Error (B, K) that rounding excuses: as much as the distance moves when its inputs move by a few eps."""
    rng = torch.Generator().manual_seed(2)
    moved = torch.zeros_like(exact)
    for _ in range(4):
        near = [v * (1 + 8 * eps * (2 * torch.rand(v.shape, generator=rng, dtype=v.dtype) - 1)) for v in (x, w)]
        moved = torch.maximum(moved, (formula(distance, near[0], near[1]) - exact).abs().nan_to_num(0.0))
    return (x.shape[1] + 16) * eps * exact.abs() + 8 * moved


def _is_formula(distance: Distance, kind: str, x: Tensor, w: Tensor) -> None:
    exact = formula(distance, x, w)
    for dtype in PRECISIONS:
        values = apply(distance, x.to(dtype), w.to(dtype)).double()
        limits = torch.finfo(dtype)
        allowed = _rounding(distance, x.double(), w.double(), exact, limits.eps) + limits.tiny
        off = torch.where(values == exact, 0.0, (values - exact).abs())
        if not (off <= allowed).all():
            worst = int((off - allowed).nan_to_num(torch.inf).argmax())
            form = distance.pairs(x.to(dtype), w.to(dtype)).chosen.form
            numbers = f"gives {values.flatten()[worst]:.6g}, its formula {exact.flatten()[worst]:.6g}"
            raise ContractError(f"{numbers} on {kind} inputs in {dtype} (computed by {form})")


def is_its_formula_in_float64(distance: Distance) -> None:
    """Distances of difficult vectors equal its own `pairwise` in float64, up to the rounding of the inputs."""
    for kind, (x, w) in INPUTS.items():
        _is_formula(distance, kind, torch.tensor(x), torch.tensor(w))


def is_its_formula_in_every_form(distance: Distance) -> None:
    """The fast form of a large batch is the formula. A wrong or unknown `operator` fails here."""
    rng = torch.Generator().manual_seed(3)
    x, w = torch.randn(96, 64, generator=rng), torch.randn(160, 64, generator=rng)
    _is_formula(distance, "96 x 160 x 64 normal", x, w)


# Gradients.


def has_finite_gradients(distance: Distance) -> None:
    """Gradients are finite everywhere, at the center and at zero too."""
    for kind, (x, w) in INPUTS.items():
        for dtype in PRECISIONS:
            features, centers = (torch.tensor(v, dtype=dtype, requires_grad=True) for v in (x, w))
            parameters = {n: p.requires_grad_() for n, p in learned_parameters(distance, x.shape[1]).items()}
            distance(features, centers, parameters).sum().backward()  # type: ignore[no-untyped-call]
            for leaf in [features, centers, *parameters.values()]:
                reached = leaf.grad is not None and leaf.grad.isfinite().all()
                require(reached, f"gradient not finite on {kind} inputs in {dtype}")


def has_the_gradients_of_its_values(distance: Distance) -> None:
    """Gradients are those of the values, by finite differences in float64."""
    parameters = learned_parameters(distance, 4)
    names = list(parameters)

    def values(x: Tensor, w: Tensor, *learned: Tensor) -> Tensor:
        torch.manual_seed(0)
        return distance(x, w, dict(zip(names, learned, strict=True)), training=True)

    leaves = [v.double().clone().requires_grad_() for v in (X[:3, :4], W[:2, :4], *parameters.values())]
    rng = torch.Generator().manual_seed(5)
    with torch.no_grad():
        here = values(*leaves)
        is_flat = all(torch.equal(values(*_nudged(leaves, i, rng)), here) for i in (0, 1))
    if is_flat:
        raise Skipped("its values are constant between steps, so its gradient is a surrogate's")
    is_right = torch.autograd.gradcheck(values, leaves, raise_exception=False)
    require(is_right, "gradient is not that of the values (torch.autograd.gradcheck)")


def _nudged(leaves: Sequence[Tensor], index: int, rng: torch.Generator) -> list[Tensor]:
    """The tensors, of which one is moved by about 1e-4, each entry on its own."""
    shift = 1e-4 * torch.randn(leaves[index].shape, generator=rng, dtype=torch.float64)
    return [leaf + shift if place == index else leaf for place, leaf in enumerate(leaves)]


def has_the_gradients_of_its_formula(distance: Distance) -> None:
    """The fast form of a large batch has the gradients of the formula."""
    rng = torch.Generator().manual_seed(3)
    x, w = torch.randn(96, 64, generator=rng), torch.randn(160, 64, generator=rng)
    weights = torch.rand(96, 160, generator=rng)
    fast = [v.clone().requires_grad_() for v in (x, w)]
    plain = [v.double().requires_grad_() for v in (x, w)]
    (apply(distance, *fast) * weights).sum().backward()  # type: ignore[no-untyped-call]
    (formula(distance, *plain) * weights.double()).sum().backward()  # type: ignore[no-untyped-call]
    for name, one, other in zip(("features", "centers"), fast, plain, strict=True):
        if one.grad is None or other.grad is None:
            raise ContractError(f"no gradient reaches the {name}")
        off = (one.grad.double() - other.grad).abs().max() / other.grad.abs().max().clamp_min(1e-30)
        form = distance.pairs(x, w).chosen.form
        require(off <= 1e-3, f"gradient of the {name} by {form} is off by {off:.2g} of the formula's largest")


# Facts.


def _grid(facts: Facts) -> Array:
    """Plane vectors, ordinary and small, within the domain: full of ties, zeros and opposites."""
    numbers = [0, 1, 2, 0.005, 0.01] + ([] if facts.domain == "opposite-free" else [-1, -2, -0.005])
    grid = np.array([(a, b) for a in numbers for b in numbers], dtype=float)
    return grid[grid.any(1)] if facts.domain == "nonzero" else grid


def _why_not_metric(d: Array) -> str:
    """The axiom of a metric that distances (M, M) break, with numbers, or an empty text."""
    if not np.allclose(d, d.T):
        return "it is not symmetric"
    same = (d <= 0) & ~np.eye(len(d), dtype=bool)
    if same.any():
        return "two different vectors are at distance 0"
    excess = d[:, None, :] - (d[:, :, None] + d[None, :, :])  # excess[i, j, k] = d(i, k) - d(i, j) - d(j, k)
    if (excess > 1e-12).any():
        i, j, k = np.unravel_index(excess.argmax(), excess.shape)
        return f"the triangle inequality fails: {d[i, k]:.4g} > {d[i, j]:.4g} + {d[j, k]:.4g}"
    return ""


def has_exactly_its_facts(distance: Distance) -> None:
    """Each declared fact holds on a grid of plane vectors, and each that is denied fails there."""
    facts, grid = distance.facts, _grid(distance.facts)
    d = apply(distance, grid, grid).numpy()
    broken = _why_not_metric(d)
    require(
        facts.is_metric == (not broken),
        f"is_metric is wrong: {facts.is_metric} is declared, and {broken or 'it is one on the plane'}",
    )
    _require_fact("is_symmetric", facts.is_symmetric, np.allclose(d, d.T))
    scaled = apply(distance, 3 * grid, 3 * grid)
    _require_fact("is_scale_invariant", facts.is_scale_invariant, np.allclose(d, scaled))
    zero, one = np.zeros((1, 2)), np.ones((1, 2))
    at_zero = apply(distance, zero, zero).item()
    require(
        (facts.domain == "nonzero") == (at_zero != 0), f"domain is wrong at zero: {facts.domain}, d(0, 0) = {at_zero}"
    )
    at_opposite = apply(distance, one, -one)
    require(
        (facts.domain == "opposite-free") == bool(at_opposite.isinf()),
        f"domain is wrong at -x: {facts.domain}, d(x, -x) = {at_opposite.item()}",
    )


def _require_fact(name: str, declared: bool, holds: bool) -> None:
    require(declared == holds, f"{name} is wrong: {declared} is declared, and it {'holds' if holds else 'fails'}")


def has_its_facts_everywhere(distance: Distance) -> None:
    """Each declared fact holds on random vectors of three coordinates, and under random scales."""
    facts, rng = distance.facts, np.random.default_rng(4)
    for _ in range(DRAWS):
        vectors = rng.uniform(-4, 4, size=(3, 3)).round(3) * (rng.random((3, 3)) < 0.9)
        if facts.domain != "real":
            vectors = np.abs(vectors) + 1e-3
        d = apply(distance, vectors, vectors).numpy()
        scale = 10 ** rng.uniform(-2, 2)
        scaled = apply(distance, scale * vectors, scale * vectors).numpy()
        require(not facts.is_symmetric or np.allclose(d, d.T), f"not symmetric on {vectors.tolist()}")
        is_triangle = d[0, 1] <= d[0, 2] + d[2, 1] + 1e-12
        numbers = f"{d[0, 1]:.4g} > {d[0, 2]:.4g} + {d[2, 1]:.4g}"
        require(not facts.is_metric or is_triangle, f"triangle inequality fails: {numbers}")
        is_free = np.allclose(d, scaled, atol=1e-7)
        require(not facts.is_scale_invariant or is_free, f"not scale invariant: by {scale:.3g} on {vectors.tolist()}")


# Interface.


def is_float32_under_autocast(distance: Distance) -> None:
    """Distances are float32 at least: of half-precision inputs, and under autocast, where nothing changes."""
    x, w = X.float(), W.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        require(torch.equal(apply(distance, x, w), apply(distance, x, w)), "changes from call to call")
        under_autocast = apply(distance, x, w)
    require(torch.equal(under_autocast, apply(distance, x, w)), "autocast changes the distance")
    for half in (torch.bfloat16, torch.float16):
        d = apply(distance, x.to(half), w.to(half))
        require(d.dtype == torch.float32, f"{half} inputs give {d.dtype}")
        rounded = apply(distance, x.to(half).float(), w.to(half).float())
        require(torch.equal(d, rounded), f"computes in {half}")


def learns_with_all_its_parameters(distance: Distance) -> None:
    """Each learnable parameter gets a gradient, and changes the distance when it moves along it."""
    start = learned_parameters(distance, 8)
    if not start:
        raise Skipped("it has no learnable parameters")
    for name, value in start.items():
        parameter = value.clone().requires_grad_()
        d = distance(X, W, {**start, name: parameter})
        d[0, 0].backward()  # type: ignore[no-untyped-call]
        gradient = torch.zeros_like(value) if parameter.grad is None else parameter.grad
        require(gradient.any(), f"{name} gets no gradient")
        moved = {**start, name: value - gradient}
        require(not torch.allclose(distance(X, W, moved), d), f"{name} does not change the distance")


def refuses_shapes_that_do_not_fit(distance: Distance) -> None:
    """Shapes other than (B, N) and (K, N) are a ValueError that shows them."""
    shapes: Sequence[tuple[tuple[int, ...], tuple[int, ...]]]
    shapes = (((2, 3), (4, 5)), ((3,), (4, 3)), ((2, 7, 3), (4, 3)), ((2, 3), (3,)))
    for x, w in shapes:
        try:
            distance(torch.zeros(x), torch.zeros(w))
        except ValueError as error:
            wanted = "expected features (B, N) and centers (K, N), got ("
            require(wanted in str(error), f"the error does not show the shapes: {error}")
        else:
            raise ContractError(f"takes features {x} with centers {w}")


def takes_empty_batches(distance: Distance) -> None:
    """A batch of no features gives distances of shape (0, K)."""
    shape = tuple(apply(distance, X[:0], W, training=True).shape)
    require(shape == (0, 4), f"an empty batch and 4 centers give the shape {shape}")


CONTRACTS: tuple[Contract, ...] = (
    is_not_negative,
    is_zero_at_the_center,
    lets_nan_through,
    is_its_formula_in_float64,
    is_its_formula_in_every_form,
    has_finite_gradients,
    has_the_gradients_of_its_values,
    has_the_gradients_of_its_formula,
    has_exactly_its_facts,
    has_its_facts_everywhere,
    is_float32_under_autocast,
    learns_with_all_its_parameters,
    refuses_shapes_that_do_not_fit,
    takes_empty_batches,
    is_written_as_it_is_read,
)


def judge_distance(distance: Distance | type[Distance]) -> tuple[Result, ...]:
    """The result of each contract on a distance, or on all named variants of a class.

    >>> from harmbench.nn.distances import DISTANCES
    >>> {result.status for result in judge_distance(DISTANCES.parse("manhattan"))} <= {"passed", "skipped"}
    True
    """
    return tuple(result for each in components_of(distance) for result in judge(each, CONTRACTS))


def check_distance(distance: Distance | type[Distance]) -> tuple[Result, ...]:
    """Check a distance, or all named variants of a class, against the contract.

    Args:
        distance: an instance, or a class.

    Returns:
        One result for each variant and contract.

    Raises:
        ContractError: naming every broken contract, with numbers.

    >>> from harmbench.nn.distances import DISTANCES
    >>> results = check_distance(DISTANCES.members["euclidean"])
    >>> results[0].contract, results[0].status
    ('is_not_negative', 'passed')
    """
    return enforce(judge_distance(distance))
