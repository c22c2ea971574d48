"""The precision of matrix products behind distances: float32 in full, whatever the session allows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from harmbench._torch import torch

if TYPE_CHECKING:
    from torch import Tensor


def without_autocast(like: Tensor) -> AbstractContextManager[Any]:
    """A context without autocast on the device of this tensor."""
    kind = like.device.type
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()


@contextmanager
def full_float32() -> Iterator[None]:
    """Matrix products of float32 in float32, not in TF32 or bfloat16, which torch may be told to take instead.

    |x|^2 + |w|^2 - 2 x.w is a small difference of large numbers down to `NEAR`, where a form begins to recompute. Three
    digits in the product would leave one in the distance, and HarMax raises that to a power.

    Under torch.compile the session's own setting holds: a graph cannot change it.

    >>> import torch
    >>> torch.set_float32_matmul_precision("high")
    >>> with full_float32():
    ...     torch.backends.cuda.matmul.fp32_precision
    'ieee'
    >>> torch.backends.cuda.matmul.fp32_precision
    'tf32'
    >>> torch.set_float32_matmul_precision("highest")
    """
    if torch.compiler.is_compiling():
        yield
        return
    # torch before 2.9 has no such setting, and torch 2.4 has no `mkldnn.matmul` at all.
    backends: tuple[Any, ...] = (torch.backends.cuda.matmul, getattr(torch.backends.mkldnn, "matmul", None))
    if not all(hasattr(backend, "fp32_precision") for backend in backends):
        whole = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(whole)
        return
    before = [backend.fp32_precision for backend in backends]
    if set(before) <= {"ieee", "none"}:  # none: the session set nothing, and float32 is float32
        yield
        return
    for backend in backends:
        backend.fp32_precision = "ieee"
    try:
        yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision
