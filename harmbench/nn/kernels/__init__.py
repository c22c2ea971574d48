"""Fast forms behind the distances and the harmonic loss; not for users, who call a distance or a head.

A distance keeps its formula (`Distance.pairwise`) and names it to this package by an `Operator`. Which form computes
it is decided in one place, by device, dtype and size, and `status` and `choose` say what was decided and why:

    operators.py    what a distance tells about itself (no torch)
    pairs.py        distances still to be computed, for those who want them or a loss of them
    choice.py       which form, and the reason; the environment variables
    cpp/            the compiled kernels, by cpp/native.cpp; AVX-512, AVX2, and 4 lanes on any other CPU
    build.py        cpp/ -> a library in the user's cache, once per machine
    native.py       its functions, for tensors
    gpu.py          the same in Triton, for CUDA
    precision.py    float32 products that are float32
    forms.py        the forms: native, triton, matmul, chunked; and the autograd functions around them
    triangular.py   products with a triangular matrix, for full Mahalanobis
    derivatives.py  no second derivatives, in words
    harmonic.py     the harmonic loss of pairs: in one call where the compiled kernel can, else by a form

    HARMBENCH_KERNELS=auto|reference            `reference`: always the formula itself
    HARMBENCH_ISA=avx512|avx2|portable          another instruction set than the best of this CPU
    CXX                                         another C++ compiler than the first found
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harmbench.nn.kernels.operators import Finish, Map, Mapped, Operator
from harmbench.nn.kernels.pairs import Pairs

if TYPE_CHECKING:
    from torch import Tensor

    from harmbench.nn.kernels.choice import Choice

__all__ = ["Finish", "Map", "Mapped", "Operator", "Pairs", "choose", "in_memory", "status"]


def choose(operator: Operator | None, x: Tensor, w: Tensor, *others: Tensor) -> Choice:
    """The form that suits distances of x (B, N) to w (K, N), and why; `others` take part in what follows."""
    from harmbench.nn.kernels import choice

    chosen = choice.choose(operator, x.device, x.dtype, x.shape[0], w.shape[0], x.shape[1])
    if chosen.form != "reference" and not in_memory(x, w, *others):
        return choice.Choice("reference", "torch.func transforms the formula")
    return chosen


def in_memory(*tensors: Tensor) -> bool:
    """Whether all have values in memory, for kernels to read; what torch.func's transforms hand on has not."""
    try:
        for tensor in tensors:
            tensor.untyped_storage()
    except NotImplementedError:
        return False
    return True


def status() -> dict[str, str]:
    """What runs here and what is lost, for people to read; compiles the kernels if that is still to be done.

    >>> sorted(status())
    ['compiler', 'instruction set', 'kernels', 'library', 'triton']
    """
    from harmbench.nn.kernels import build, choice

    library = build.library()
    return {
        "kernels": choice.mode(),
        "instruction set": library.isa,
        "compiler": library.compiler or "none",
        "library": str(library.path) if library.handle else library.problem,
        "triton": choice.triton_status(),
    }
