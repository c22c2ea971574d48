"""The forms of a distance, and the function that autograd sees.

A form computes a block of distances and adds a block's gradients. It holds at most (rows, K) numbers, and
never (rows, K, N). `begin` and `end` bracket the blocks of one pass over the same centers. A form whose formula has a
learned number, its `option`, leaves that number's gradient in `of_option`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from harmbench.nn.kernels import choice, native
from harmbench.nn.kernels.derivatives import first_only
from harmbench.nn.kernels.operators import Finish, Mapped, Operator
from harmbench.nn.kernels.precision import full_float32

Between = Callable[..., Tensor]
_SPLIT = 1024  # rows of what is copied in passing
NEAR = 5e-2  # share of |x|^2 + |w|^2 below which the expansion of a square has lost over a digit


class Form(ABC):
    """Base class of the forms.

    Attributes:
        arrays: numbers per pair that a block holds: distances, their gradient, and what else `forward` gives.
    """

    arrays = 2
    option: Tensor | None = None
    of_option: Tensor | None = None

    def begin(self, w: Tensor) -> None:
        """Look at the centers (K, N) once, before the first block."""
        self.of_option = None if self.option is None else torch.zeros_like(self.option)

    @abstractmethod
    def forward(self, x: Tensor, w: Tensor, rows: slice) -> tuple[Tensor, Tensor | None]:
        """Distances (R, K) of these rows of x (B, N), and what else per pair (R, K) the gradient wants."""

    @abstractmethod
    def backward(
        self, x: Tensor, w: Tensor, rows: slice, d: Tensor, aux: Tensor | None, g: Tensor, dx: Tensor, dw: Tensor
    ) -> None:
        """Add the gradients to these rows of dx (B, N) and to dw (K, N). Overwrites g = dl/dd and d (R, K)."""

    def end(self, w: Tensor, dw: Tensor) -> None:  # noqa: B027 - most forms have nothing to do here
        """Add what the blocks left for the end."""


class NativeForm(Form):
    """The compiled kernel: elementwise, float32, CPU."""

    def __init__(self, operator: Operator, option: Tensor | None = None) -> None:
        self.option = None if option is None else option.detach()
        self.operator = operator if self.option is None else operator._replace(option=float(self.option))
        self.arrays = native.arrays(operator)

    def forward(self, x: Tensor, w: Tensor, rows: slice) -> tuple[Tensor, Tensor | None]:
        return native.forward(self.operator, x[rows], w)

    def backward(
        self, x: Tensor, w: Tensor, rows: slice, d: Tensor, aux: Tensor | None, g: Tensor, dx: Tensor, dw: Tensor
    ) -> None:
        if self.of_option is not None and aux is not None:  # aux is dd/doption then
            self.of_option += (g * aux).sum()
        native.backward(self.operator, x[rows], w, d, aux, g, dx[rows], dw)


class TritonForm(Form):
    """The Triton kernel: elementwise, float32, CUDA."""

    def __init__(self, operator: Operator) -> None:
        self.operator = operator

    def forward(self, x: Tensor, w: Tensor, rows: slice) -> tuple[Tensor, Tensor | None]:
        from harmbench.nn.kernels import gpu

        return gpu.forward(self.operator, x[rows], w)

    def backward(
        self, x: Tensor, w: Tensor, rows: slice, d: Tensor, aux: Tensor | None, g: Tensor, dx: Tensor, dw: Tensor
    ) -> None:
        from harmbench.nn.kernels import gpu

        gpu.backward(self.operator, x[rows], w, d, aux, g, dx[rows], dw)


class MatmulForm(Form):
    """sqrt(|x|^2 + |w|^2 - 2 x.w) or 1 - x.w / (|x| |w|) by a matrix product.

    Near pairs, for which that cancels, are computed from their differences.

    With c a number per pair, gradients are of_row x - c w and of_column w - c^T x, again matrix products. Near pairs
    would cancel, and are added separately. A zero vector has no direction: its cosine distance is 1, its gradient 0.
    """

    def __init__(self, operator: Operator, difference: Callable[[Tensor, Tensor], Tensor] | None = None) -> None:
        self.is_cosine = operator.record.is_cosine
        self.difference = difference

    def begin(self, w: Tensor) -> None:
        super().begin(w)
        self.is_native = w.device.type == "cpu" and w.dtype == torch.float32 and native.is_available()
        self.w_stat = self._stat(w)
        self.of_column = torch.zeros_like(self.w_stat)

    @full_float32()
    def forward(self, x: Tensor, w: Tensor, rows: slice) -> tuple[Tensor, Tensor | None]:
        d, x_stat = x[rows] @ w.T, self._stat(x[rows])
        if self.is_native:
            native.expand(self.is_cosine, x[rows], w, x_stat, self.w_stat, d)
            if self.difference is None:  # else what was repaired there is repaired once more, and better
                return d, None
        elif self.is_cosine:
            d = 1 - d * x_stat[:, None] * self.w_stat
        else:
            d = (x_stat[:, None] + self.w_stat - 2 * d).clamp_min(0).sqrt()
        for row, column in _portions(self._near(d, x_stat), x.shape[1]):
            if self.is_cosine:
                d[row, column] = self._angle(x[rows], w, row, column, rows.start).d.to(d.dtype)
                continue
            delta = self._delta(x[rows], w, row, column, rows.start)
            most = delta.abs().amax(-1)
            # The largest entry is divided out: its square may leave the range of float32.
            d[row, column] = (delta / torch.where(most == 0, 1, most)[:, None]).square().sum(-1).sqrt() * most
        return d, None

    @full_float32()
    def backward(
        self, x: Tensor, w: Tensor, rows: slice, d: Tensor, aux: Tensor | None, g: Tensor, dx: Tensor, dw: Tensor
    ) -> None:
        some_x, some_dx = x[rows], dx[rows]
        x_stat = self._stat(some_x)
        if not self.is_native or self.difference is not None:
            self._add_near(some_x, w, x_stat, rows.start, d, g, some_dx, dw)
        if self.is_native:
            of_row = native.expand_backward(
                self.is_cosine, some_x, w, x_stat, self.w_stat, g, d, self.of_column, some_dx, dw
            )
        else:
            of_row = self._coefficients(x_stat, d, g)
        some_dx.addcmul_(some_x, of_row[:, None]).addmm_(g, w, alpha=-1)
        dw.addmm_(g.T, some_x, alpha=-1)

    def end(self, w: Tensor, dw: Tensor) -> None:
        dw.addcmul_(w, self.of_column[:, None])

    def _stat(self, v: Tensor) -> Tensor:
        """Sum of squares of each row. For cosine distance, one over its length, and 0 for the zero vector."""
        if self.is_native:
            return native.inverse_lengths(v) if self.is_cosine else native.square_sums(v)
        lengths: Tensor
        if not self.is_cosine:
            lengths = torch.linalg.vector_norm(v, dim=1)
            return lengths.square()
        most = v.abs().amax(1)
        safe = torch.where(most == 0, math.inf, most)
        lengths = torch.linalg.vector_norm(v / safe[:, None], dim=1) * safe
        return torch.where(most == 0, 0.0, 1 / lengths)

    def _near(self, d: Tensor, x_stat: Tensor) -> Tensor:
        if self.is_cosine:
            return ~(d > NEAR) | (x_stat[:, None] * self.w_stat > 1e25)
        return ~(d.square() > NEAR * (x_stat[:, None] + self.w_stat))

    def _delta(self, x: Tensor, w: Tensor, row: Tensor, column: Tensor, start: int) -> Tensor:
        """x - w of these pairs."""
        return x[row] - w[column] if self.difference is None else self.difference(row + start, column)

    def _angle(self, x: Tensor, w: Tensor, row: Tensor, column: Tensor, start: int) -> _Angle:
        """Between these pairs."""
        return _angle(x[row], w[column], None if self.difference is None else self.difference(row + start, column))

    def _add_near(
        self, x: Tensor, w: Tensor, x_stat: Tensor, start: int, d: Tensor, g: Tensor, dx: Tensor, dw: Tensor
    ) -> None:
        """Add the near pairs' gradients, and take these pairs out of g."""
        near = self._near(d, x_stat)
        for row, column in _portions(near, x.shape[1]):
            some_g, some_d = g[row, column][:, None], d[row, column][:, None]
            if self.is_cosine:
                of_x, of_w = self._angle(x, w, row, column, start).gradients(some_g)
                dx.index_add_(0, row, of_x.to(dx.dtype))
                dw.index_add_(0, column, of_w.to(dw.dtype))
            else:
                delta = self._delta(x, w, row, column, start)
                share = some_g / torch.where(some_d == 0, math.inf, some_d) * delta
                dx.index_add_(0, row, share)
                dw.index_add_(0, column, share, alpha=-1)
        g.masked_fill_(near, 0.0)

    def _coefficients(self, x_stat: Tensor, d: Tensor, g: Tensor) -> Tensor:
        if self.is_cosine:
            along = g * (1 - d)
            g.mul_(x_stat[:, None]).mul_(self.w_stat)
            self.of_column += along.sum(0) * self.w_stat.square()
            return along.sum(1) * x_stat.square()
        g.div_(torch.where(g == 0, 1, d))
        self.of_column += g.sum(0)
        return g.sum(1)


class ScaledForm(MatmulForm):
    """|f (x - w)| for factors f (N,) by a matrix product, without copies f w: compiled kernels, float32, CPU.

    The products are those of f^2 x with w. Gradients are Euclidean distance's u of the same coefficients until the end:
    times f^2 those by the vectors, and summed up f u v over all vectors v, that by f.
    """

    def __init__(self, factors: Tensor) -> None:
        super().__init__(Operator("gemm", "euclidean"))
        self.option: Tensor = factors.detach().contiguous()

    def _stat(self, v: Tensor) -> Tensor:
        """Sum of squares of each row times the factors."""
        sums, room = v.new_empty(len(v)), v.new_empty(min(len(v), _SPLIT), v.shape[1])
        for some, of_some in zip(torch.split(v, _SPLIT), torch.split(sums, _SPLIT), strict=True):
            of_some.copy_(native.square_sums(torch.mul(some, self.option, out=room[: len(some)])))
        return sums

    def forward(self, x: Tensor, w: Tensor, rows: slice) -> tuple[Tensor, Tensor | None]:
        x = x[rows]
        d = (x * self.option * self.option) @ w.T
        native.expand(False, x, w, self._stat(x), self.w_stat, d, self.option)
        return d, None

    def backward(
        self, x: Tensor, w: Tensor, rows: slice, d: Tensor, aux: Tensor | None, g: Tensor, dx: Tensor, dw: Tensor
    ) -> None:
        some = torch.zeros_like(x[rows])
        super().backward(x[rows], w, slice(0, len(some)), d, aux, g, some, dw)
        dx[rows] += self._finished(x[rows], some)

    def end(self, w: Tensor, dw: Tensor) -> None:
        super().end(w, dw)
        for some_w, some_dw in zip(torch.split(w, _SPLIT), torch.split(dw, _SPLIT), strict=True):
            self._finished(some_w, some_dw)

    def _finished(self, v: Tensor, u: Tensor) -> Tensor:
        """u (R, N) times f^2, in place. Adds to the factors' gradient."""
        assert self.of_option is not None
        self.of_option += (v * u.mul_(self.option)).sum(0)
        return u.mul_(self.option)


class ChunkedForm(Form):
    """The formula itself, on blocks that have room for its (rows, columns, N) tensors, and again for the gradient."""

    def __init__(self, between: Between, option: Tensor | None = None) -> None:
        self.between = between
        self.option = None if option is None else option.detach()

    def forward(self, x: Tensor, w: Tensor, rows: slice) -> tuple[Tensor, Tensor | None]:
        x = x[rows]
        d = x.new_empty(len(x), len(w))
        with torch.no_grad():
            for some, columns in _tiles(len(x), len(w), x.shape[1]):
                d[some, columns] = self.between(x[some], w[columns], *self._learned())
        return d, None

    def backward(
        self, x: Tensor, w: Tensor, rows: slice, d: Tensor, aux: Tensor | None, g: Tensor, dx: Tensor, dw: Tensor
    ) -> None:
        x, dx = x[rows], dx[rows]
        for some, columns in _tiles(len(x), len(w), x.shape[1]):
            with torch.enable_grad():
                leaves = [v.detach().requires_grad_() for v in (x[some], w[columns], *self._learned())]
                again = self.between(*leaves)
            of_x, of_w, *of_learned = torch.autograd.grad(again, leaves, g[some, columns])
            dx[some] += of_x
            dw[columns] += of_w
            if self.of_option is not None:
                self.of_option += of_learned[0]

    def _learned(self) -> tuple[Tensor, ...]:
        return () if self.option is None else (self.option,)


class FinishedForm(Form):
    """A function of the distances that another form computes. Doubtful pairs are computed from their vectors.

    `scale` is what the base's vectors are multiplied by, to keep its powers within float32.
    """

    arrays = 3

    def __init__(self, base: Form, finish: Finish, scale: float = 1.0) -> None:
        self.base, self.finish, self.scale = base, finish, scale
        self.base_scale = scale ** (finish.base.degree or 0)

    def begin(self, w: Tensor) -> None:
        super().begin(w)
        self.base.begin(self._scaled(w))
        self.w_size = self._sizes(w.detach(), 0)
        self.of_w_size = [torch.zeros_like(size) for size in self.w_size]

    def forward(self, x: Tensor, w: Tensor, rows: slice) -> tuple[Tensor, Tensor | None]:
        base = self.base.forward(self._scaled(x), self._scaled(w), rows)[0] / self.base_scale
        x = x[rows]
        with torch.no_grad():
            inputs = [base, *self._sizes(x, 1), *self.w_size]
            d = self.finish.of(*inputs)
            for row, column, exact in self._doubtful(inputs, x.shape[1]):
                d[row, column] = exact(x[row], w[column])
        return d, base

    def backward(
        self, x: Tensor, w: Tensor, rows: slice, d: Tensor, aux: Tensor | None, g: Tensor, dx: Tensor, dw: Tensor
    ) -> None:
        assert aux is not None
        some_x, some_dx, smooth = x[rows].detach().requires_grad_(), dx[rows], aux.clone()
        with torch.enable_grad():
            x_size = self._sizes(some_x, 1)
        for row, column, exact in self._doubtful([aux, *x_size, *self.w_size], x.shape[1]):
            of_x, of_w = _vjp(exact, [some_x[row], w[column]], g[row, column])
            some_dx.index_add_(0, row, of_x)
            dw.index_add_(0, column, of_w)
            g[row, column], smooth[row, column] = 0, 1  # or their infinite derivatives would meet the zeros
        of_base, *of_sizes = _vjp(self.finish.of, [smooth, *x_size, *self.w_size], g)
        if of_sizes:
            some_dx += torch.autograd.grad(x_size, some_x, of_sizes[:1])[0]
            self.of_w_size[0] += of_sizes[1]
        base, of_base = aux * self.base_scale, of_base.contiguous()
        x, w = self._scaled(x), self._scaled(w)
        self._add_scaled(lambda *to: self.base.backward(x, w, rows, base, None, of_base, *to), dx, dw)

    def end(self, w: Tensor, dw: Tensor) -> None:
        self._add_scaled(lambda to: self.base.end(self._scaled(w), to), dw)
        if self.finish.size is not None:
            dw += _vjp(self.finish.size, [w], self.of_w_size[0][0])[0]

    def _sizes(self, vectors: Tensor, axis: int) -> list[Tensor]:
        return [] if self.finish.size is None else [self.finish.size(vectors).unsqueeze(axis)]

    def _doubtful(
        self, inputs: list[Tensor], features: int
    ) -> Iterator[tuple[Tensor, Tensor, Callable[[Tensor, Tensor], Tensor]]]:
        """Row and column indices of doubtful pairs, in portions, and the function of their vectors."""
        if self.finish.doubtful is not None and self.finish.exact is not None:
            for row, column in _portions(self.finish.doubtful(*inputs), features):
                yield row, column, self.finish.exact

    def _scaled(self, vectors: Tensor) -> Tensor:
        return vectors if self.scale == 1 else vectors * self.scale

    def _add_scaled(self, add: Callable[..., None], *gradients: Tensor) -> None:
        """Have `add` add gradients of the scaled base by scaled vectors, as those of the base by the vectors."""
        parts = gradients if self.scale == 1 else [torch.zeros_like(gradient) for gradient in gradients]
        add(*parts)
        if self.scale != 1:
            for gradient, part in zip(gradients, parts, strict=True):
                gradient.add_(part, alpha=self.scale / self.base_scale)


def _vjp(function: Callable[..., Tensor], inputs: list[Tensor], g: Tensor) -> list[Tensor]:
    """Gradients of (function(*inputs) * g).sum() by each input."""
    leaves = [v.detach().requires_grad_() for v in inputs]
    with torch.enable_grad():
        result = function(*leaves)
    return list(torch.autograd.grad(result, leaves, g))


class _Angle(NamedTuple):
    """x (P, N) and w (P, N) scaled to its length, in float64, with |x|^2, |x| / |w| (P, 1) and 1 - cos (P,)."""

    x: Tensor
    w: Tensor
    square: Tensor
    ratio: Tensor
    d: Tensor

    def gradients(self, g: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients by x and by w, times g (P, 1). They are 0 if either is the zero vector."""
        delta, d = self.x - self.w, self.d[:, None]
        by_x = torch.where(self.ratio == 0, 0.0, g / self.square)
        return by_x * (delta - d * self.x), -by_x * self.ratio * (delta + d * self.w)


def _angle(x: Tensor, w: Tensor, difference: Tensor | None = None) -> _Angle:
    """Half the squared distance of unit vectors, of which float32 would leave little between almost one direction.

    A difference of the unit vectors that has more digits than they have replaces them.
    """
    x, w = x.double(), w.double()
    square, of_w = x.square().sum(1, keepdim=True), w.square().sum(1, keepdim=True)
    none = (square == 0) | (of_w == 0)
    ratio = torch.where(none, 0.0, (square / torch.where(none, 1.0, of_w)).sqrt())
    w = ratio * w if difference is None else x - square.sqrt() * difference
    d = (x - w).square().sum(1, keepdim=True) / (2 * torch.where(none, 1.0, square))
    return _Angle(x, w, square, ratio, torch.where(none & ~d.isnan(), 1.0, d).squeeze(1))


def _tiles(rows: int, columns: int, features: int) -> Iterator[tuple[slice, slice]]:
    across = max(1, min(columns, choice.FITS // max(features, 1)))
    down = max(1, choice.FITS // max(across * features, 1))
    for row in range(0, rows, down):
        for column in range(0, columns, across):
            yield slice(row, row + down), slice(column, column + across)


def _portions(mask: Tensor, features: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Row and column indices of what is set, as many at a time as have room for their differences."""
    for portion in torch.split(mask.nonzero(), max(1, choice.FITS // max(features, 1))):
        if len(portion):
            yield portion[:, 0], portion[:, 1]


def row_blocks(rows: int, columns: int, device: str = "cpu", arrays: int = 2) -> list[slice]:
    """Even blocks of at most 512 rows, or 256 for many classes, or fewer with more than two numbers per pair.

    On a GPU of at most 16 MiB, in steps of 32 rows.

    >>> row_blocks(600, 10)
    [slice(0, 300, None), slice(300, 600, None)]
    >>> row_blocks(160, 50257, "cuda")
    [slice(0, 54, None), slice(54, 108, None), slice(108, 160, None)]
    """
    most = 512 if columns <= 1 << 14 else 512 // arrays
    if device == "cuda":
        most = max(32, (1 << 22) // columns // 32 * 32)
    size = math.ceil(rows / max(1, math.ceil(rows / most)))
    return [slice(start, min(start + size, rows)) for start in range(0, rows, max(size, 1))]


def form_for(chosen: choice.Choice, operator: Operator | None, mapped: Mapped, between: Between) -> Form:
    """The form that a choice names. The choice `reference` names the formula, not a form."""
    if chosen.form == "chunked" or operator is None:
        return ChunkedForm(between, mapped.option)
    if chosen.form == "native":
        return NativeForm(operator, mapped.option)
    if chosen.form == "triton":
        return TritonForm(operator)
    if operator.finish is None:
        return MatmulForm(operator, mapped.difference)
    base, scale = operator.finish.base, rescale(operator.finish.base, mapped.x, mapped.centers)
    return FinishedForm(MatmulForm(base, mapped.difference), operator.finish, scale)


def rescale(operator: Operator | None, x: Tensor, w: Tensor) -> float:
    """The power of two that brings the largest entry near 1, if powers of it would leave float32. Else 1."""
    if operator is None or operator.degree is None or not x.numel() or not w.numel():
        return 1.0
    if x.device.type == "cpu" and x.dtype == torch.float32 and native.is_available():
        most = max(native.largest(x), native.largest(w))
    else:
        most = max(abs(float(end)) for v in (x, w) for end in torch.aminmax(v.detach()))
    if most == 0 or not math.isfinite(most) or 1e-5 < most < 1e5:
        return 1.0
    return 2.0 ** -round(math.log2(most))


def apply(form: Form, operator: Operator | None, x: Tensor, w: Tensor, option: Tensor | None = None) -> Tensor:
    """Distances (B, K) by this form. `option` is the tensor that the form was made with."""
    x, w = x.contiguous(), w.contiguous()
    scale = rescale(operator, x, w)
    if scale == 1 or operator is None or operator.degree is None:
        d: Tensor = _Distances.apply(x, w, option, form)[0]  # type: ignore[no-untyped-call]
        return d
    return apply(form, None, x * scale, w * scale, option) / scale**operator.degree


class _Distances(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, w: Tensor, _: Tensor | None, form: Form) -> tuple[Tensor, Tensor | None]:
        form.begin(w)
        return form.forward(x, w, slice(0, len(x)))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor | None]) -> None:
        x, w, _, ctx.form = inputs
        d, aux = output
        ctx.save_for_backward(x, w, d, aux)
        if aux is not None:
            ctx.mark_non_differentiable(aux)

    @staticmethod
    def backward(ctx: Any, g: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        return (*first_only(_gradients, *ctx.saved_tensors, g.contiguous(), ctx.form), None)


def _gradients(
    x: Tensor, w: Tensor, d: Tensor, aux: Tensor | None, g: Tensor, form: Form
) -> tuple[Tensor, Tensor, Tensor | None]:
    dx, dw = torch.zeros_like(x), torch.zeros_like(w)
    form.begin(w)
    for rows in row_blocks(len(x), len(w), d.device.type, form.arrays):
        some_aux = None if aux is None else aux[rows]
        form.backward(x, w, rows, d[rows].clone(), some_aux, g[rows].clone(), dx, dw)
    form.end(w, dw)
    return dx, dw, form.of_option
