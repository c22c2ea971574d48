"""The functions of cpp/native.cpp, for float32 CPU tensors, which callers make contiguous."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from harmbench.nn.kernels import build
from harmbench.nn.kernels.operators import Map, Operator

_MAPS = {"scale": 1, "codes": 2, "hard_codes": 3, "profile": 4, "centered": 5}
ALONE = 1 << 20  # coordinates of all pairs


def is_available() -> bool:
    """Whether the library could be built and loaded."""
    return build.library().handle is not None


def arrays(operator: Operator) -> int:
    """Numbers per pair that a block holds: the distance, its gradient, and what else the gradient wants."""
    return 3 if operator.record.native_has_aux or operator.finish is not None else 2


def _functions() -> Any:
    return build.library().handle


def _code(operator: Operator) -> int:
    code = operator.kernels.native
    assert code is not None, f"{operator} has no compiled kernel"
    return code


def _threads(coordinates: int) -> int:
    """Threads for so much work: one where handing it out costs more than it saves.

    Waking them takes some microseconds, and far longer where other processes hold the cores.
    """
    return 1 if coordinates < ALONE else torch.get_num_threads()


def forward(operator: Operator, x: Tensor, w: Tensor) -> tuple[Tensor, Tensor | None]:
    """Distances (B, K), and the second number per pair (B, K) that the gradient of some operators reads.

    Chebyshev's is the place of its largest difference, an integer with a float's size.
    """
    rows, columns = len(x), len(w)
    d = x.new_empty(rows, columns)
    aux = torch.empty_like(d) if operator.record.native_has_aux else None
    _functions().hb_forward(
        _code(operator),
        operator.option,
        x.data_ptr(),
        w.data_ptr(),
        rows,
        columns,
        x.shape[1],
        d.data_ptr(),
        None if aux is None else aux.data_ptr(),
        _threads(rows * columns * x.shape[1]),
    )
    return d, aux


def backward(
    operator: Operator, x: Tensor, w: Tensor, d: Tensor, aux: Tensor | None, g: Tensor, dx: Tensor, dw: Tensor
) -> None:
    """Add the gradients to dx and dw. Overwrites g = dl/dd and d."""
    operator = operator._replace(name=operator.record.gradient_as or operator.name)
    _functions().hb_backward(
        _code(operator),
        operator.option,
        x.data_ptr(),
        w.data_ptr(),
        len(x),
        len(w),
        x.shape[1],
        g.data_ptr(),
        d.data_ptr(),
        None if aux is None else aux.data_ptr(),
        dx.data_ptr(),
        dw.data_ptr(),
        _threads(len(x) * len(w) * x.shape[1]),
    )


def square_sums(v: Tensor) -> Tensor:
    """Sum of squares of each row, (R,)."""
    return _row_stats(2, v)


def inverse_lengths(v: Tensor) -> Tensor:
    """One over the length of each row, (R,), and 0 for the zero vector."""
    return _row_stats(3, v)


def _row_stats(kind: int, v: Tensor) -> Tensor:
    out = v.new_empty(len(v))
    _functions().hb_row_stats(kind, v.data_ptr(), len(v), v.shape[1], out.data_ptr(), _threads(v.numel()))
    return out


def largest(v: Tensor) -> float:
    """Largest |v|. NaN may be missed."""
    v = v.detach().contiguous()  # callers ask before they lay vectors out: those that are expanded lie elsewhere
    return float(_functions().hb_largest(v.data_ptr(), v.numel(), _threads(v.numel())))


def expand(
    is_cosine: bool, x: Tensor, w: Tensor, x_stat: Tensor, w_stat: Tensor, dots: Tensor, factors: Tensor | None = None
) -> None:
    """Dot products (B, K) become distances, in place. `factors` (N,) are in the products and stats already."""
    _functions().hb_expand(
        is_cosine,
        x.data_ptr(),
        w.data_ptr(),
        x_stat.data_ptr(),
        w_stat.data_ptr(),
        len(x),
        len(w),
        x.shape[1],
        None if factors is None else factors.data_ptr(),
        dots.data_ptr(),
        _threads(len(x) * len(w) * x.shape[1]),
    )


def expand_backward(
    is_cosine: bool,
    x: Tensor,
    w: Tensor,
    x_stat: Tensor,
    w_stat: Tensor,
    g: Tensor,
    d: Tensor,
    of_column: Tensor,
    dx: Tensor,
    dw: Tensor,
) -> Tensor:
    """g = dl/dd becomes c with dx = of_row x - c w and dw = of_column w - c^T x. Returns of_row."""
    of_row = x.new_empty(len(x))
    _functions().hb_expand_backward(
        is_cosine,
        x.data_ptr(),
        w.data_ptr(),
        x_stat.data_ptr(),
        w_stat.data_ptr(),
        len(x),
        len(w),
        x.shape[1],
        g.data_ptr(),
        d.data_ptr(),
        of_row.data_ptr(),
        of_column.data_ptr(),
        dx.data_ptr(),
        dw.data_ptr(),
        _threads(len(x) * len(w) * x.shape[1]),
    )
    return of_row


def harmonic(
    d: Tensor,
    g: Tensor | None,
    targets: Tensor,
    n: float,
    factors: Tensor,
    weights: Tensor | None,
    smoothing: float,
    floor: float,
) -> tuple[Tensor, Tensor]:
    """Loss of each row and its gradient by n, (R,) both. Writes dl/dd times the row's factor to g."""
    losses, by_n = d.new_empty(len(d)), d.new_empty(len(d))
    _functions().hb_harmonic(
        d.data_ptr(),
        None if g is None else g.data_ptr(),
        d.shape[0],
        d.shape[1],
        targets.data_ptr(),
        n,
        factors.data_ptr(),
        None if weights is None else weights.data_ptr(),
        smoothing,
        floor,
        losses.data_ptr(),
        by_n.data_ptr(),
        _threads(d.numel() * 16),
    )
    return losses, by_n


class WholeStep:
    """Distances, harmonic loss and gradients of rows in one call. The constant arguments are prepared once.

    Args:
        operator, vectors: the distance, and the map in front of it.
    """

    def __init__(self, operator: Operator, vectors: Map | None) -> None:
        values = None if vectors is None else vectors.values
        self._operator, self._vectors, self._values = operator, vectors, values  # the values must live
        self._front = (
            _code(operator) if operator.record.step is None else operator.record.step,
            operator.option,
            0 if vectors is None else _MAPS[vectors.name],
            0.0 if vectors is None else vectors.option,
            None if values is None else values.data_ptr(),
        )

    def __call__(
        self,
        x: Tensor,
        w: Tensor,
        n: float,
        targets: Tensor,
        factors: Tensor | float,
        weights: Tensor | None,
        smoothing: float,
        floor: float,
        to: tuple[Tensor | None, Tensor | None, Tensor | None],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Loss of each row (R,), their total, and its gradient by n, as tensors ().

        Args:
            x, w: features (R, N) and centers (K, N).
            n, targets, weights, smoothing, floor: as `harmonic` has them.
            factors: what each row's loss counts in the total; one number, or one a row (R,).
            to: where to add the gradients of x (zeros before), w and the map's values; Nones for no gradients.

        Raises:
            IndexError: for a target that is no class.
        """
        (rows, features), columns = x.shape, w.shape[0]
        losses, total, by_n = x.new_empty(rows), x.new_empty(()), x.new_empty(())
        share, each = (factors, None) if isinstance(factors, float) else (1.0, factors.data_ptr())
        dx, dw, of_values = to
        failed = _functions().hb_step(
            *self._front,
            x.data_ptr(),
            w.data_ptr(),
            rows,
            columns,
            features,
            targets.data_ptr(),
            n,
            share,
            each,
            None if weights is None else weights.data_ptr(),
            smoothing,
            floor,
            losses.data_ptr(),
            total.data_ptr(),
            by_n.data_ptr(),
            None if dx is None else dx.data_ptr(),
            None if dw is None else dw.data_ptr(),
            None if of_values is None else of_values.data_ptr(),
            _threads(rows * columns * features),
        )
        if failed == 2:
            raise IndexError(f"targets must be in 0..{columns - 1}")
        if failed:
            raise NotImplementedError(f"no kernel for {self._operator} behind {self._vectors}")
        return losses, total, by_n

    def of_stack(
        self,
        x: Tensor,
        w: Tensor,
        n: Tensor,
        targets: Tensor,
        floor: float,
        *,
        is_scaled: bool,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Mean losses (S,) of a stack of models, their gradients by x, w and n, and which were left out, bool (S,).

        Each is bit for bit what a call of its own would give.

        Args:
            x, w: features (S, R, N) and centers (S, K, N), contiguous.
            n: of each (S,), float32.
            targets: (S, R), contiguous.
            floor: as `harmonic` has it.
            is_scaled: whether to leave out those whose numbers are so large or small that they are to be scaled.

        Raises:
            IndexError: for a target that is no class.
        """
        (count, rows, features), columns = x.shape, w.shape[1]
        assert self._values is None, "what a map learns is not handed on"
        losses, totals, by_n = x.new_empty(count, rows), x.new_zeros(count), x.new_zeros(count)
        dx, dw = torch.zeros_like(x), torch.zeros_like(w)
        left = torch.zeros(count, dtype=torch.uint8)
        code, option, map_kind, map_option, _ = self._front
        failed = _functions().hb_steps(
            code,
            option,
            map_kind,
            map_option,
            is_scaled,
            count,
            x.data_ptr(),
            w.data_ptr(),
            rows,
            columns,
            features,
            targets.data_ptr(),
            n.data_ptr(),
            1.0 / max(rows, 1),
            floor,
            losses.data_ptr(),
            totals.data_ptr(),
            by_n.data_ptr(),
            dx.data_ptr(),
            dw.data_ptr(),
            left.data_ptr(),
            _threads(count * rows * columns * features),
        )
        if failed == 2:
            raise IndexError(f"targets must be in 0..{columns - 1}")
        if failed:
            raise NotImplementedError(f"no kernel for {self._operator} behind {self._vectors}")
        return totals, dx, dw, by_n, left.bool()
