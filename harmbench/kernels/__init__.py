"""Fast forms behind the distances and the harmonic loss; not for users, who call a distance or a head.

A distance keeps its formula (`Distance.pairwise`) and names it to this package by an `Operator`. Which form computes
it is decided in one place, by device, dtype and size, and `status` and `choose` say what was decided and why:

    operators.py    what a distance tells about itself (no torch)
    choice.py       which form, and the reason; the environment variables
    build.py        native.cpp -> a library in the user's cache, once per machine
    native.py       its functions, for tensors
    maps.py         what is done to vectors before that, fused
    gpu.py          the same in Triton, for CUDA
    precision.py    float32 products that are float32
    forms.py        the forms: native, triton, matmul, chunked; and the autograd functions around them

    HARMBENCH_KERNELS=auto|reference            `reference`: always the formula itself
    HARMBENCH_ISA=avx512|avx2|portable          another instruction set than the best of this CPU
    CXX                                         another C++ compiler than the first found
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from harmbench.kernels.operators import Finish, Mapped, Operator

if TYPE_CHECKING:
    from torch import Tensor

    from harmbench.kernels.choice import Choice

__all__ = ["Finish", "Mapped", "Operator", "choose", "distances", "status"]


def choose(operator: Operator | None, x: Tensor, w: Tensor) -> Choice:
    """The form that suits distances of x (B, N) to w (K, N), and why."""
    from harmbench.kernels import choice

    return choice.choose(operator, x.device, x.dtype, len(x), len(w), x.shape[1])


def distances(chosen: Choice, operator: Operator | None, mapped: Mapped, between: Callable[..., Tensor]) -> Tensor:
    """Distances (B, K) by the chosen form; `between` is the formula on mapped vectors, and on their learnt option."""
    from harmbench.kernels import forms

    form = forms.form_for(chosen, operator, mapped, between)
    return forms.apply(form, operator, mapped.x, mapped.centres, mapped.option)


def status() -> dict[str, str]:
    """What runs here and what is lost, for people to read; compiles the kernels if that is still to be done.

    >>> sorted(status())
    ['compiler', 'instruction set', 'kernels', 'library', 'triton']
    """
    from harmbench.kernels import build, choice

    library = build.library()
    return {
        "kernels": choice.mode(),
        "instruction set": library.isa,
        "compiler": library.compiler or "none",
        "library": str(library.path) if library.handle else library.problem,
        "triton": choice.triton_status(),
    }
