"""The harmonic loss in blocks of rows: distances -> loss -> gradients, each block while it is at hand.

Nothing of size (B, K) is kept, let alone (B, K, N): memory is that of the gradients and of one block. Loss and
gradient of a row keep their digits where the class is nearly certain:

    loss = log(1 + sum over k != c of (d_c / d_k)^n)

with logarithms of ratios of distances, and the target c split off: its probability is never subtracted from 1.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from harmbench.kernels import choice, forms, native
from harmbench.kernels.operators import Mapped, Operator


def floor_of(dtype: torch.dtype) -> float:
    """The least distance that counts: a feature on its centre has p = 1, in finite numbers, and gradient 0."""
    return float(torch.finfo(dtype).tiny) * 1e8


class Task(NamedTuple):
    """What a loss is asked for, besides its differentiable inputs.

    Attributes:
        targets: class of each row (B,), int64; -1 where the row does not count.
        weights: of the classes (K,), or None.
        smoothing: label smoothing, in [0, 1].
        factors: (B,) what each row's loss counts in the scalar; None for a loss per row.
    """

    targets: Tensor
    weights: Tensor | None
    smoothing: float
    factors: Tensor | None


def row_losses(d: Tensor, n: float | Tensor, targets: Tensor, weights: Tensor | None, smoothing: float) -> Tensor:
    """Loss of each row (R,) from distances (R, K), in torch: the reference, differentiable as often as one likes."""
    counts = targets >= 0
    own_class = targets.clamp_min(0)[:, None]
    logs = -n * d.clamp_min(floor_of(d.dtype)).log()
    own = logs.gather(1, own_class)
    margins = logs - own
    others = margins.scatter(1, own_class, -math.inf).logsumexp(1)
    nll = torch.nn.functional.softplus(others, threshold=80.0)
    weight = torch.ones_like(nll) if weights is None else weights[own_class.squeeze(1)]
    losses = weight * nll
    if smoothing:
        every = nll[:, None] - margins
        mean = every.mean(1) if weights is None else (every * weights).mean(1)
        losses = (1 - smoothing) * losses + smoothing * mean
    return torch.where(counts, losses, 0.0)


def _row_gradients(d: Tensor, n: Tensor, task: Task, rows: slice, factors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Losses (R,), dl/dd (R, K) and dl/dn (R,), the gradients times the rows' factors."""
    if d.device.type == "cpu" and d.dtype == torch.float32 and native.is_available():
        g = torch.empty_like(d)
        floor = floor_of(d.dtype)
        losses, by_n = native.harmonic(
            d, g, task.targets[rows], float(n), factors[rows], task.weights, task.smoothing, floor
        )
        return losses, g, by_n
    if _is_for_triton(d):
        from harmbench.kernels import gpu

        floor = floor_of(d.dtype)
        return gpu.harmonic(d, task.targets[rows], n, factors[rows], task.weights, task.smoothing, floor)
    with torch.enable_grad():
        d, n = d.detach().requires_grad_(), n.detach().requires_grad_()
        losses = row_losses(d, n, task.targets[rows], task.weights, task.smoothing)
    g, by_n = torch.autograd.grad(losses, (d, n), factors[rows])
    return losses.detach(), g, by_n


def _is_for_triton(d: Tensor) -> bool:
    if d.device.type != "cuda" or d.dtype != torch.float32:
        return False
    from harmbench.kernels import gpu

    return not gpu.problem()


def loss(
    chosen: choice.Choice, operator: Operator | None, mapped: Mapped, between: forms.Between, n: Tensor, task: Task
) -> Tensor:
    """Loss of mapped vectors by the chosen form: a scalar, or (B,) where the task has no factors."""
    form = forms.form_for(chosen, operator, mapped, between)
    return apply(form, operator, mapped.x, mapped.centres, n, task, mapped.option)


def of_distances(d: Tensor, n: Tensor, task: Task) -> Tensor:
    """The same of distances (B, K) that are at hand."""
    losses = row_losses(d, n, task.targets, task.weights, task.smoothing)
    return losses if task.factors is None else losses @ task.factors


def apply(
    form: forms.Form,
    operator: Operator | None,
    x: Tensor,
    w: Tensor,
    n: Tensor,
    task: Task,
    option: Tensor | None = None,
) -> Tensor:
    """`loss` by this form, of mapped x (B, N) and w (K, N), and the option that the form was made with."""
    x, w = x.contiguous(), w.contiguous()
    scale = forms.rescale(operator, x, w)  # HarMax does not see it: it is blind to the scale of distances
    if scale != 1:
        x, w = x * scale, w * scale
    result: Tensor = _Harmonic.apply(x, w, n, option, form, task)  # type: ignore[no-untyped-call]
    return result


class _Pass(NamedTuple):
    losses: Tensor
    dx: Tensor
    dw: Tensor
    dn: Tensor
    of_option: Tensor | None


def _run(form: forms.Form, x: Tensor, w: Tensor, n: Tensor, task: Task, factors: Tensor) -> _Pass:
    """One pass over all blocks, forward and backward."""
    form.begin(w)
    dx, dw, losses, by_n = torch.zeros_like(x), torch.zeros_like(w), [], []
    for rows in forms.row_blocks(len(x), len(w), form.arrays, x.device.type):
        d, aux = form.forward(x, w, rows)
        some, g, of_n = _row_gradients(d, n, task, rows, factors)
        form.backward(x, w, rows, d, aux, g, dx, dw)
        losses.append(some)
        by_n.append(of_n.sum())
        del d, aux, g  # or the next block's would stand beside them
    form.end(w, dw)
    return _Pass(torch.cat(losses), dx, dw, torch.stack(by_n).sum(), form.of_option)


def _losses(form: forms.Form, x: Tensor, w: Tensor, n: Tensor, task: Task) -> Tensor:
    """One pass over all blocks, forward only."""
    form.begin(w)
    parts = []
    for rows in forms.row_blocks(len(x), len(w), form.arrays, x.device.type):
        d, _ = form.forward(x, w, rows)
        if _is_for_triton(d):
            some, _, _ = _row_gradients(d, n, task, rows, torch.ones_like(task.targets, dtype=d.dtype))
            parts.append(some)
        else:
            parts.append(row_losses(d, n, task.targets[rows], task.weights, task.smoothing))
    return torch.cat(parts)


class _Harmonic(torch.autograd.Function):
    """Gradients come with the loss where the rows' factors are known by then, else in a second pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, n: Tensor, _: Tensor | None, form: forms.Form, task: Task) -> Tensor:
        ctx.form, ctx.task, ctx.done = form, task, None
        ctx.save_for_backward(x, w, n)
        if task.factors is None or not any(ctx.needs_input_grad):
            losses = _losses(form, x, w, n, task)
        else:
            ctx.done = _run(form, x, w, n, task, task.factors)
            losses = ctx.done.losses
        return losses if task.factors is None else losses @ task.factors

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        gradients = _Gradients.apply(*ctx.saved_tensors, upstream, ctx)  # type: ignore[no-untyped-call]
        return (*gradients, None, None)


class _Gradients(torch.autograd.Function):
    """A function of its own, so that asking for a second derivative meets a clear error."""

    @staticmethod
    def forward(_: Any, x: Tensor, w: Tensor, n: Tensor, upstream: Tensor, owner: Any) -> tuple[Tensor | None, ...]:
        done, owner.done = owner.done, None  # given away: the caller may keep or change them
        if done is None:
            factors = upstream if owner.task.factors is None else owner.task.factors * upstream
            done = _run(owner.form, x, w, n, owner.task, factors.contiguous())
        elif upstream != 1:
            for gradient in done[1:]:
                if gradient is not None:
                    gradient.mul_(upstream)
        return done.dx, done.dw, done.dn.reshape(n.shape), done.of_option

    @staticmethod
    def backward(*_: Any) -> None:
        raise forms.no_second_derivative()
