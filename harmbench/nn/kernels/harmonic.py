"""The harmonic loss in blocks of rows: distances -> loss -> gradients, each block while it is at hand.

Nothing of size (B, K) is kept, let alone (B, K, N): memory is that of the gradients and of one block. If
the compiled kernel supports the whole step, a block is one call (`OneCall`), so that small problems cost what their
arithmetic costs. Otherwise it is a form's forward, the loss, and the form's backward (`ByForm`). Loss and gradient of
a row keep their digits if the class is nearly certain:

    loss = log(1 + sum over k != c of (d_c / d_k)^n)

with logarithms of ratios of distances, and the target c split off: its probability is never subtracted from 1.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from harmbench.nn.kernels import build, forms, in_memory, native
from harmbench.nn.kernels.derivatives import first_only
from harmbench.nn.kernels.operators import Map, Operator
from harmbench.nn.kernels.pairs import Pairs
from harmbench.nn.kernels.precision import without_autocast

# Coordinates of all pairs up to which the kernel's own products beat those of torch, between which every number goes
# through memory: measured on two cores.
DIRECT = {"avx512": 1 << 27, "avx2": 1 << 25, "portable": 1 << 22}


def floor_of(dtype: torch.dtype) -> float:
    """The least distance that counts: a feature on its center has p = 1, in finite numbers, and gradient 0."""
    return float(torch.finfo(dtype).tiny) * 1e8


class Task(NamedTuple):
    """The inputs of a loss that are not differentiable.

    Attributes:
        targets: class of each row (B,), int64; -1, unless `factors` is a number, where the row does not count.
        factors: what each row's loss counts in the scalar, (B,) or one number for all; None for a loss per row.
        weights: of the classes (K,), or None.
        smoothing: label smoothing, in [0, 1].
    """

    targets: Tensor
    factors: Tensor | float | None
    weights: Tensor | None = None
    smoothing: float = 0.0


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
        losses, by_n = native.harmonic(d, g, task.targets[rows], float(n), factors, task.weights, task.smoothing, floor)
        return losses, g, by_n
    if _is_for_triton(d):
        from harmbench.nn.kernels import gpu

        floor = floor_of(d.dtype)
        return gpu.harmonic(d, task.targets[rows], n, factors, task.weights, task.smoothing, floor)
    with torch.enable_grad():
        d, n = d.detach().requires_grad_(), n.detach().requires_grad_()
        losses = row_losses(d, n, task.targets[rows], task.weights, task.smoothing)
    g, by_n = torch.autograd.grad(losses, (d, n), factors)
    return losses.detach(), g, by_n


def _is_for_triton(d: Tensor) -> bool:
    if d.device.type != "cuda" or d.dtype != torch.float32:
        return False
    from harmbench.nn.kernels import gpu

    return not gpu.problem()


def loss(pairs: Pairs, n: float | Tensor, task: Task) -> Tensor:
    """The loss of distances that are still to be computed: a scalar, or (B,) where the task has no factors."""
    with without_autocast(pairs.x):
        if not is_fused(pairs, n, task.targets):
            losses = row_losses(pairs.distances(), n, task.targets, task.weights, task.smoothing)
            if task.factors is None:
                return losses
            return losses @ task.factors if isinstance(task.factors, Tensor) else losses.sum() * task.factors
        pairs, n = _without_power(pairs, n)
        known = _known(pairs)
        if known and (vectors := pairs.map()) is not None:
            x, w = pairs.x, pairs.centers
            if vectors.name == "centered":  # which may be done to scaled vectors as well
                x, w = _rescaled(pairs.operator, x, w)
            return _apply(OneCall(known, vectors), x, w, n, task, vectors.values)
        if (factors := _factors(pairs)) is not None:
            return _apply(ByForm(forms.ScaledForm(factors)), pairs.x, pairs.centers, n, task, factors)
        mapped = pairs.mapped()
        x, w = _rescaled(pairs.operator, mapped.x, mapped.centers)
        if known and mapped.difference is None:
            if known.finish is not None and known.finish.size is None and known.finish.base.degree == 0:
                x, w = _rescaled(known.finish.base, x, w)  # what is made of directions is blind to lengths too
            return _apply(OneCall(known), x, w, n, task)
        form = forms.form_for(pairs.chosen, pairs.operator, mapped, pairs.between)
        return _apply(ByForm(form), x, w, n, task, mapped.option)


def _without_power(pairs: Pairs, n: float | Tensor) -> tuple[Pairs, float | Tensor]:
    """Another distance's power as that distance, with so many times the exponent: to HarMax they are one."""
    finish = None if pairs.operator is None else pairs.operator.finish
    if finish is None or finish.power is None:
        return pairs, n
    return pairs._replace(operator=finish.base), n * finish.power


def _rescaled(operator: Operator | None, x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors whose powers stay within float32. HarMax does not depend on the scale of distances."""
    scale = forms.rescale(operator, x, w)
    return (x, w) if scale == 1 else (x * scale, w * scale)


def is_fused(pairs: Pairs, *others: float | Tensor) -> bool:
    """Whether the loss is computed along with the distances, block by block, and not from the formula's."""
    return pairs.chosen.form != "reference" and in_memory(*(v for v in others if isinstance(v, Tensor)))


def one_call(pairs: Pairs) -> tuple[native.WholeStep, bool] | None:
    """The single kernel call for the loss of these pairs, and whether its numbers must be near 1.

    Returns None if the loss needs more than one call, or if more than features and centers is learned.
    """
    known = _known(pairs) if is_fused(pairs) else None
    if known is None:
        return None
    if (vectors := pairs.map()) is not None:
        return (native.WholeStep(known, vectors), False) if vectors.values is None else None
    mapped = pairs.mapped()
    if mapped.x is not pairs.x or mapped.centers is not pairs.centers or mapped.difference is not None:
        return None
    return native.WholeStep(known, None), pairs.operator is not None and pairs.operator.degree is not None


def how(pairs: Pairs) -> str:
    """Text that names how the loss of these pairs is computed."""
    chosen = pairs.chosen
    if not is_fused(pairs):
        return f"{chosen.form} ({chosen.reason})"
    pairs, _ = _without_power(pairs, 1.0)
    if _known(pairs) and (chosen.form == "native" or pairs.map() is not None or pairs.mapped().difference is None):
        return f"native (one call for distances, loss and gradients, {build.library().isa})"
    return f"{chosen.form} ({chosen.reason}), block by block"


def _known(pairs: Pairs) -> Operator | None:
    """The operator for a single kernel call, or None if there is none or torch's products are faster."""
    x, operator = pairs.x, pairs.operator
    if operator is None or x.device.type != "cpu" or x.dtype != torch.float32 or not native.is_available():
        return None
    one_call = operator.record.one_call
    if pairs.chosen.form not in ("native", "matmul") or one_call == "never":
        return None
    # Of a kernel with a finish, any size: torch would pass over all distances a dozen times more.
    is_direct = x.numel() * pairs.centers.shape[0] <= DIRECT[build.library().isa]
    if pairs.chosen.form == "matmul" and one_call == "small" and not is_direct:
        return None
    return Operator(operator.kind, operator.record.step_as) if operator.record.step_as else operator


def _factors(pairs: Pairs) -> Tensor | None:
    """Those of a map that only scales, where a matrix product follows that needs no scaled copies of the centers."""
    x, w, operator = pairs.x, pairs.centers, pairs.operator
    if pairs.chosen.form != "matmul" or operator is None or not operator.record.step_as:
        return None
    if x.device.type != "cpu" or x.dtype != torch.float32 or not native.is_available():
        return None
    vectors = pairs.map()
    if vectors is None or vectors.name != "scale" or vectors.values is None:
        return None
    x, w, factors = (v.detach().contiguous() for v in (x, w, vectors.values))
    reach = max(native.largest(x), native.largest(w)) * native.largest(factors)
    return vectors.values if 1e-5 < reach < 1e5 else None  # else the powers of it may leave float32


def _apply(way: Way, x: Tensor, w: Tensor, n: float | Tensor, task: Task, learned: Tensor | None = None) -> Tensor:
    result: Tensor = _Harmonic.apply(x, w, n, learned, way, task)  # type: ignore[no-untyped-call]
    return result


class Gradients(NamedTuple):
    """Tensors to which gradients are added: by x (B, N), by w (K, N), and by the learned numbers, if there are any."""

    x: Tensor
    w: Tensor
    learned: Tensor | None


class Block(NamedTuple):
    """Loss of each row (R,), their sum times the rows' factors, and its gradient by n. Both numbers are tensors ()."""

    losses: Tensor
    total: Tensor
    by_n: Tensor


class Way(ABC):
    """A way to compute losses and gradients of a block of rows from vectors.

    Attributes:
        arrays: numbers per pair that a block holds.
    """

    arrays = 2

    def begin(self, w: Tensor) -> None:  # noqa: B027 - nothing to do in one call
        """Look at the centers (K, N) once, before the first block."""

    @abstractmethod
    def block(
        self, x: Tensor, w: Tensor, rows: slice, n: float | Tensor, task: Task, factors: Any, to: Gradients | None
    ) -> Block:
        """Losses of these rows of x (B, N). Adds their gradients to `to`, if given."""

    def end(self, w: Tensor, to: Gradients) -> None:  # noqa: B027 - nothing to do in one call
        """Add what the blocks left for the end."""


class OneCall(Way):
    """The compiled kernel, from the vectors before their map to the gradients."""

    def __init__(self, operator: Operator, vectors: Map | None = None) -> None:
        self._step = native.WholeStep(operator, vectors)
        self.arrays = native.arrays(operator)

    def block(
        self, x: Tensor, w: Tensor, rows: slice, n: float | Tensor, task: Task, factors: Any, to: Gradients | None
    ) -> Block:
        targets = task.targets
        if rows.stop - rows.start < x.shape[0]:
            x, targets = x[rows], targets[rows]
            factors = factors[rows] if isinstance(factors, Tensor) else factors
            to = None if to is None else to._replace(x=to.x[rows])
        floor = floor_of(torch.float32)
        nowhere = (None, None, None)
        return Block(*self._step(x, w, float(n), targets, factors, task.weights, task.smoothing, floor, to or nowhere))


class ByForm(Way):
    """Distances, loss and gradients one after the other."""

    def __init__(self, form: forms.Form) -> None:
        self._form = form
        self.arrays = form.arrays

    def begin(self, w: Tensor) -> None:
        self._form.begin(w)

    def block(
        self, x: Tensor, w: Tensor, rows: slice, n: float | Tensor, task: Task, factors: Any, to: Gradients | None
    ) -> Block:
        d, aux = self._form.forward(x, w, rows)
        n = torch.as_tensor(n, dtype=d.dtype, device=d.device)
        factors = factors[rows] if isinstance(factors, Tensor) else d.new_full((len(d),), factors)
        if to is None and not _is_for_triton(d):
            losses = row_losses(d, n, task.targets[rows], task.weights, task.smoothing)
            return Block(losses, losses @ factors, torch.zeros_like(n))
        losses, g, by_n = _row_gradients(d, n, task, rows, factors)
        if to is not None:
            self._form.backward(x, w, rows, d, aux, g, to.x, to.w)
        return Block(losses, losses @ factors, by_n.sum())

    def end(self, w: Tensor, to: Gradients) -> None:
        self._form.end(w, to.w)
        if to.learned is not None and self._form.of_option is not None:
            to.learned.copy_(self._form.of_option)


def _run(
    way: Way, x: Tensor, w: Tensor, n: float | Tensor, learned: Tensor | None, task: Task, factors: Any, *, learn: bool
) -> tuple[Block, Gradients | None]:
    """One pass over all blocks, forward only unless it is to `learn`."""
    way.begin(w)
    to = None
    if learn:
        to = Gradients(torch.zeros_like(x), torch.zeros_like(w), None if learned is None else torch.zeros_like(learned))
    # A block keeps nothing but its losses: else two blocks' distances would be in memory.
    rows = forms.row_blocks(x.shape[0], w.shape[0], x.device.type, way.arrays)
    blocks = [way.block(x, w, some, n, task, factors, to) for some in rows]
    if to is not None:
        way.end(w, to)
    if len(blocks) == 1:
        return blocks[0], to
    losses, totals, by_n = zip(*blocks, strict=True)
    return Block(torch.cat(losses), torch.stack(totals).sum(), torch.stack(by_n).sum()), to


class _Harmonic(torch.autograd.Function):
    """Gradients come with the loss where the rows' factors are known by then, else in a second pass."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, w: Tensor, n: float | Tensor, learned: Tensor | None, way: Way, task: Task
    ) -> Tensor:
        x, w = x.contiguous(), w.contiguous()
        ctx.way, ctx.task, ctx.done = way, task, None
        ctx.n = n.detach() if isinstance(n, Tensor) else n
        ctx.save_for_backward(x, w, learned)
        learn = task.factors is not None and any(ctx.needs_input_grad)
        factors = x.new_ones(len(x)) if task.factors is None else task.factors
        block, to = _run(way, x, w, ctx.n, learned, task, factors, learn=learn)
        if to is not None:
            ctx.done = block.by_n, to
        return block.losses if task.factors is None else block.total

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        x, w, learned = ctx.saved_tensors
        return (*first_only(_gradients, x, w, learned, upstream, ctx), None, None)


def _gradients(x: Tensor, w: Tensor, learned: Tensor | None, upstream: Tensor, owner: Any) -> tuple[Tensor | None, ...]:
    """By x, w, n and what else is learned."""
    done, owner.done = owner.done, None  # given away: the caller may keep or change them
    n, task = owner.n, owner.task
    if done is None:
        factors = upstream if task.factors is None else task.factors * upstream
        factors = factors.expand(len(x)).contiguous()
        block, to = _run(owner.way, x, w, n, learned, task, factors, learn=True)
        done = block.by_n, to
    elif upstream.device.type != "cpu" or float(upstream) != 1:
        for gradient in (done[0], *done[1]):
            if gradient is not None:
                gradient.mul_(upstream)
    by_n, to = done
    return to.x, to.w, by_n.reshape(n.shape) if isinstance(n, Tensor) else None, to.learned
