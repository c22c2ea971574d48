"""Fast forms behind the distances and the harmonic loss. Users call a distance or a head instead.

A distance keeps its formula (`Distance.pairwise`) and names it to this package by an `Operator`. Which form computes
it is decided in one file, by device, dtype and size. `status` and `choose` return the decision and its reason:

    operators.py    each operator, declared once: codes, kernels, costs (no torch)
    pairs.py        distances not yet computed, for callers that read them or a loss of them
    choice.py       which form, and the reason; the environment variables
    cpp/            the compiled kernels, by cpp/native.cpp; AVX-512, AVX2, and 4 lanes on any other CPU
    build.py        cpp/ -> a library in the user's cache, once per machine
    native.py       its functions, for tensors
    gpu.py          the same in Triton, for CUDA
    precision.py    float32 products that are float32
    forms.py        the forms: native, triton, matmul, chunked, and the autograd functions around them
    triangular.py   products with a triangular matrix, for full Mahalanobis
    derivatives.py  a clear error for second derivatives
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
    """The form for distances of x (B, N) to w (K, N), and the reason. `others` are further tensors it reads."""
    from harmbench.nn.kernels import choice

    chosen = choice.choose(operator, x.device, x.dtype, x.shape[0], w.shape[0], x.shape[1])
    if chosen.form != "reference" and not in_memory(x, w, *others):
        return choice.Choice("reference", "torch.func transforms the formula")
    return chosen


def in_memory(*tensors: Tensor) -> bool:
    """Whether kernels can read the values of all tensors, which they cannot inside torch.func transforms."""
    try:
        for tensor in tensors:
            tensor.untyped_storage()
    except NotImplementedError:
        return False
    return True


def status() -> dict[str, str]:
    """Status of the kernels on this machine, as texts. Compiles them if necessary.

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
