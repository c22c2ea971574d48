"""How far float32 may be from float64: the measure of the kernels' contract and of `benchmarks/accuracy.md`.

Inputs are float32 numbers, the same for both, so float64 knows the true answer, and nothing is excused but arithmetic.
With u = 2^-24, the rounding of one operation, the errors are, in units of u,

    distances       |found - d| / d                                                     of each pair
    gradient of x   max_j |found - sum_k g_k dd_k/dx_j| / max_j sum_k |g_k dd_k/dx_j|   of each row
    gradient of w   the same with rows and classes exchanged

The denominator of a gradient is the sum of the sizes of its addends, one for each pair, as in the analysis of a sum:
what cancels between pairs is the problem's, what is lost within a pair is the form's. A row of a matrix product carries
the error of its largest entry, hence the largest of a row.

`C u` is allowed, C = 16, about 1e-6, times the condition of what is computed (`condition`): 1 for most,

    smooth Chebyshev    1 + alpha d     the exponent's error is that of alpha |x - w|
    Minkowski           p               a power's relative error is p times that of its base
    |x|^2 + |w|^2 - 2xw (|x|^2 + |w|^2) / d^2, at most 10: beyond, the form takes the difference
    ratios near 1       1 / 8 (1 - d), at most 8: the compiled kernels of Bray-Curtis and of weighted Canberra find the
                        small gradient of a far larger vector in 1 - d; beyond, they sum that up for itself

The harmonic loss is l = log(1 + sum over k != c of (d_c / d_k)^n). An error e in a distance is one of n e in the power:
the condition of the loss is n, and with q = 1 - p_c, C u is allowed of

    loss                l + n q                                   mean over rows, as the loss itself
    gradient of x, w    (1 + n) sum_k |dl/dd_k dd_k/dx_j|         the largest of a row, as above
    gradient of n       q (1 + (1 + n) mean |log (d_c / d_k)|)    a logarithm's error is e where its argument's is

each distance with its own condition, and of 2^-126 in each power: below, float32 has no numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from harmbench.nn.distances import DISTANCES, Distance
from harmbench.nn.kernels import Mapped, choice, forms

UNIT = 2.0**-24
C = 16.0
RATIOS = ("bray_curtis", "bray_curtis_signed", "canberra_weighted")
B, K, N = 37, 23, 75  # no multiple of any vector or tile


def _inputs() -> dict[str, tuple[Tensor, Tensor]]:
    rng = torch.Generator().manual_seed(0)
    x, w = torch.randn(B, N, generator=rng), torch.randn(K, N, generator=rng)
    on_centers = w[torch.arange(B) % K]
    steps = torch.arange(1.0, B + 1)[:, None]
    return {
        "ordinary": (x, w),
        "tiny": (x * 1e-30, w * 1e-30),
        "huge": (x * 1e30, w * 1e30),
        "far larger": (x * 100, w),
        "of mixed size": (x * 10.0 ** ((steps - 19) / 2), w),
        "equal": (on_centers.clone(), w),
        "near": (on_centers + 1e-4 * x, w),
        "clustered": (5 + 1e-3 * x, 5 + 1e-3 * w),
        "nearly collinear": ((on_centers + 1e-3 * x) * steps, w),
        "collinear": (x[:1] * steps, 1.5 * x[:1] * steps[:K]),
        "behind a ReLU": (x.relu(), w.relu()),
        "zero": (torch.zeros(B, N), torch.zeros(K, N)),
        "long": (torch.randn(B, 2000, generator=rng).relu(), torch.randn(K, 2000, generator=rng)),
    }


INPUTS = _inputs()
UPSTREAM = torch.randn(B, K, generator=torch.Generator().manual_seed(2))


MakeForm = Callable[[Mapped], forms.Form]
Answers = dict[str, Tensor]  # by what they are: distances (B, K), gradients of x, w and the learned option; in float64


def results(distance: Distance, form: forms.Form | None, leaves: Mapping[str, Tensor]) -> Answers:
    """Of mapped vectors, and the learned option, by a form; of the formula where there is no form."""
    leaves = {name: v.detach().clone().requires_grad_() for name, v in leaves.items()}
    inputs = list(leaves.values())
    d = distance.between(*inputs) if form is None else forms.apply(form, distance.operator, *inputs)
    gradients = torch.autograd.grad(d, inputs, UPSTREAM.to(d.dtype))
    return {"distances": d.detach().double(), **{n: g.double() for n, g in zip(leaves, gradients, strict=True)}}


def mapped(distance: Distance, kind: str) -> Mapped:
    """Inputs of a kind as the form reads them, with learned parameters a little off their start."""
    rng = torch.Generator().manual_seed(1)
    x, w = INPUTS[kind]
    parameters = {
        name: start + 0.1 * torch.randn(start.shape, generator=rng)
        for name, start in distance.initial_parameters(x.shape[1]).items()
    }
    return distance.mapped(x, w, parameters, False)._replace(difference=None)


def leaves_of(vectors: Mapped) -> dict[str, Tensor]:
    """What a form differentiates by."""
    x, w, _, option = vectors
    return {"gradient of x": x, "gradient of w": w, **({} if option is None else {"gradient of option": option})}


def pair_gradients(between: Callable[..., Tensor], x: Tensor, w: Tensor, *option: Tensor) -> list[Tensor]:
    """dd_bk/dx_b and dd_bk/dw_k of every pair, (B, K, N) both, and by the option, (B, K)."""
    rows, classes = len(x), len(w)
    some = [x.detach().repeat_interleave(classes, 0), w.detach().repeat(rows, 1)]
    some += [learned.detach().expand(rows * classes) for learned in option]
    leaves = [v.clone().requires_grad_() for v in some]
    d = torch.vmap(lambda a, b, *p: between(a[None], b[None], *p))(*leaves)
    return [g.reshape(rows, classes, *g.shape[1:]) for g in torch.autograd.grad(d.sum(), leaves)]


@cache
def truth(address: str, kind: str) -> tuple[Answers, dict[str, Tensor]]:
    """What float64 says, and the sizes of the gradients' addends: (B, K, N), by the option (B, K)."""
    distance = DISTANCES.parse(address)
    leaves = {name: v.detach().double() for name, v in leaves_of(mapped(distance, kind)).items()}
    pairs = dict(zip(leaves, pair_gradients(distance.between, *leaves.values()), strict=True))
    size = UPSTREAM.double().abs()
    return results(distance, None, leaves), {
        name: (size[..., None] if v.ndim == 3 else size) * v.abs() for name, v in pairs.items()
    }


def condition(distance: Distance, form: forms.Form | None, vectors: Mapped, d: Tensor) -> Tensor:
    """How much larger an error than rounding's own is to be expected, of each pair (B, K)."""
    base = form.base if isinstance(form, forms.FinishedForm) else form
    if isinstance(base, forms.MatmulForm) and not base.is_cosine:
        lost = lost_in_expansion(vectors)
        return lost if base is form else 2 * lost  # a square has twice the error
    if isinstance(form, forms.NativeForm) and form.operator.name in RATIOS:
        return (1 / (8 * (1 - d).abs())).clamp(1, 8)
    if distance.name == "minkowski":
        return torch.full_like(d, float(dict(distance)["p"] if vectors.option is None else vectors.option))
    if str(distance).startswith("chebyshev[variant=smooth"):
        return 1 + float(dict(distance)["alpha"]) * d
    return torch.ones_like(d)


def lost_in_expansion(vectors: Mapped) -> Tensor:
    """(|x|^2 + |w|^2) / |x - w|^2, at most 10."""
    x, w = (v.detach().double() for v in vectors[:2])
    squares = x.square().sum(1)[:, None] + w.square().sum(1)
    between = torch.cdist(x, w, compute_mode="donot_use_mm_for_euclid_dist").square()
    return torch.where(between == 0, 1.0, squares / between).clamp(1, 0.5 / forms.NEAR)


def errors(address: str, make: MakeForm | None, kind: str, over_condition: bool = True) -> dict[str, float]:
    """Worst errors in units of u: of the distances and of the gradients, over the condition or not."""
    distance = DISTANCES.parse(address)
    vectors = mapped(distance, kind)
    form = None if make is None else make(vectors)
    right, sizes = truth(address, kind)
    found = results(distance, form, leaves_of(vectors))
    amplified = condition(distance, form, vectors, right["distances"])
    amplified = amplified if over_condition else torch.ones_like(amplified)
    scale = {"distances": amplified * right["distances"]}
    for name, size in sizes.items():
        if size.ndim == 2:
            scale[name] = (amplified * size).sum()
        else:
            along = 0 if name == "gradient of w" else 1
            scale[name] = (amplified[..., None] * size).sum(along).amax(-1, keepdim=True)
    return {name: worst(found[name], right[name], scale[name]) for name in right}


def worst(found: Tensor, right: Tensor, scale: Tensor) -> float:
    """Largest |found - right| / scale in units of u; infinite where `found` is off and scale 0, or NaN.

    What float32 cannot hold is right as infinity, or as 0.
    """
    gap = (found - right).abs()
    range_of = torch.finfo(torch.float32)
    is_beyond = (right.abs() < range_of.tiny) | (right.abs() > range_of.max)
    of_each = torch.where((found == right) | is_beyond & (found == right.float()), 0.0, gap / scale / UNIT)
    return float(of_each.nan_to_num(nan=float("inf")).amax())


class Loss(NamedTuple):
    """A harmonic loss (mean over rows) and its gradients, in float64."""

    loss: Tensor
    of_x: Tensor
    of_w: Tensor
    of_n: Tensor


@cache
def _loss_pairs(address: str, kind: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Distances (B, K), their gradients by x and by w, (B, K, N) both, in float64; and their condition (B, K)."""
    distance, (x, w, _) = DISTANCES.parse(address), LOSS_INPUTS[kind]
    parameters = {name: value.double() for name, value in distance.initial_parameters(x.shape[1]).items()}

    def formula(a: Tensor, b: Tensor) -> Tensor:
        return distance.pairwise(a, b, parameters, False)

    of_x, of_w = pair_gradients(formula, x.double(), w.double())
    operator, d = distance.operator, formula(x.double(), w.double())
    start = distance.initial_parameters(x.shape[1])
    is_expanded = operator is not None and operator.kind == "gemm" and "cosine" not in str(operator)
    condition_of_d = lost_in_expansion(distance.mapped(x, w, start, False)) if is_expanded else torch.ones_like(d)
    return d, of_x, of_w, condition_of_d


def loss_truth(address: str, kind: str, n: float) -> tuple[Loss, Loss]:
    """The loss in float64, by its definition, and the scale of each part's error."""
    d, pairs_x, pairs_w, of_d = _loss_pairs(address, kind)
    y = LOSS_INPUTS[kind][2][:, None]
    d = d.detach().clone().requires_grad_()
    exponent = torch.tensor(n, dtype=torch.float64, requires_grad=True)
    logs = (d.gather(1, y) / d).log()  # of d_c / d_k
    others = (exponent * logs).scatter(1, y, -torch.inf)
    margin = others.logsumexp(1)
    losses = torch.nn.functional.softplus(margin, threshold=80.0)
    by_d, by_n = torch.autograd.grad(losses.mean(), (d, exponent))
    d, logs, losses, margin, others = (v.detach() for v in (d, logs, losses, margin, others))
    of_x, of_w = by_d[..., None] * pairs_x, by_d[..., None] * pairs_w
    shares = others.softmax(1)  # the target's is 0
    q, mean_log, mean_condition = margin.sigmoid(), (shares * logs.abs()).sum(1), (shares * of_d).sum(1)
    mean_condition = (mean_condition + of_d.gather(1, y).squeeze(1)) / 2
    underflow = torch.finfo(torch.float32).tiny / UNIT  # of (d_c / d_k)^n, and of dl/dd
    steepest = max(float((pairs.abs().amax(-1) * (n / d).clamp_min(1)).amax()) for pairs in (pairs_x, pairs_w))
    scale = Loss(
        (losses + n * q * mean_condition).mean() + underflow,
        (1 + n) * (of_d[..., None] * of_x.abs()).sum(1).amax(-1, keepdim=True) + underflow * steepest,
        (1 + n) * (of_d[..., None] * of_w.abs()).sum(0).amax(-1, keepdim=True) + underflow * steepest,
        (q * (mean_condition + (1 + n) * mean_log)).mean() + underflow * logs.abs().amax(),
    )
    return Loss(losses.mean(), of_x.sum(1), of_w.sum(0), by_n), scale


LossFunction = Callable[[Tensor, Tensor, Tensor, Distance, Tensor], Tensor]
"""Features, centers, targets, distance, exponent -> mean loss."""


def _loss_inputs() -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    rng = torch.Generator().manual_seed(0)
    x, w = torch.randn(40, 48, generator=rng), torch.randn(50, 48, generator=rng)
    y = torch.randint(0, 50, (40,), generator=rng)
    return {
        "ordinary": (x, w, y),
        "tiny": (1e-6 * x, 1e-6 * w, y),
        "huge": (1e6 * x, 1e6 * w, y),
        "behind a ReLU": (x.relu(), w.relu(), y),
        "confident": (w[y] + 0.1 * x, w, y),
        "bfloat16": (x.bfloat16().float(), w.bfloat16().float(), y),
    }


LOSS_INPUTS = _loss_inputs()
EXPONENTS = {"1": 1.0, "sqrt d": 48**0.5, "d": 48.0, "1536": 1536.0}


LOSS_UNDEFINED = {  # the target's distance is 0
    ("hamming[variant=hard]", "confident"),  # all bits agree
    ("hellinger", "huge"),  # softmax is one of N corners
}


def loss_kinds(address: str) -> list[str]:
    """The kinds of input at which the loss is defined."""
    return [kind for kind in LOSS_INPUTS if (address, kind) not in LOSS_UNDEFINED]


def loss_errors(address: str, kind: str, n: float, function: LossFunction) -> dict[str, float]:
    """Worst errors of the loss and its gradients in units of u, over the condition."""
    distance = DISTANCES.parse(address)
    x, w, y = LOSS_INPUTS[kind]
    leaves = [v.clone().requires_grad_() for v in (x, w, torch.tensor(n))]
    loss = function(leaves[0], leaves[1], y, distance, leaves[2])
    found = Loss(loss.detach().double(), *(g.double() for g in torch.autograd.grad(loss, leaves)))
    right, scale = loss_truth(address, kind, float(leaves[2].detach()))
    names = ("loss", "gradient of x", "gradient of w", "gradient of n")
    return {name: worst(one, other, size) for name, one, other, size in zip(names, found, right, scale, strict=True)}


def form_of(kind: str, distance: Distance) -> MakeForm | None:
    """What makes the form of a kind, `native`, `matmul` or `chunked`; None where the distance has no such form."""
    operator = distance.operator
    fits = {
        "chunked": True,
        "matmul": operator is not None and operator.kind == "gemm",
        "native": operator is not None and operator.kernels.native is not None,
    }
    if not fits[kind]:
        return None
    chosen = choice.Choice(kind, "to be measured")  # type: ignore[arg-type]
    return lambda vectors: forms.form_for(chosen, operator, vectors, distance.between)
