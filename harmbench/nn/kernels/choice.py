"""The form that computes a distance, and the reason for it."""

from __future__ import annotations

import os
from typing import Literal, NamedTuple

import torch

from harmbench.errors import OptionError
from harmbench.nn.kernels import build
from harmbench.nn.kernels.operators import Operator

SMALL = 1 << 12  # coordinates of all pairs: below, nothing is gained by leaving the formula
FITS = 1 << 22  # coordinates of all pairs that the formula may hold in memory at once
DIRECT = 1 << 23  # below, a matrix product costs more in calls than it saves in arithmetic
UNTRIED = "checked by Triton's interpreter and by compiling, not yet run on a GPU"


class Choice(NamedTuple):
    """A form and the reason for it.

    >>> from harmbench.nn.kernels.operators import Operator
    >>> choose(Operator("elementwise", "manhattan"), torch.device("cpu"), torch.float32, 2, 3, 4)
    Choice(form='reference', reason='small enough for the formula itself')
    """

    form: Literal["reference", "chunked", "native", "matmul", "triton"]
    reason: str

    def of_formula(self, reason: str) -> Choice:
        """This choice if it is the formula, or else the formula for this reason."""
        return self if self.form == "reference" else Choice("reference", reason)


def mode() -> str:
    """Value of HARMBENCH_KERNELS: `auto` or `reference`.

    Raises:
        OptionError: for anything else.
    """
    value = os.environ.get("HARMBENCH_KERNELS", "") or "auto"
    if value not in ("auto", "reference"):
        raise OptionError(f"HARMBENCH_KERNELS={value}: write auto or reference")
    return value


def choose(
    operator: Operator | None, device: torch.device, dtype: torch.dtype, rows: int, columns: int, features: int
) -> Choice:
    """The form for distances of `rows` to `columns` vectors of length `features`."""
    volume = rows * columns * features
    if reason := _reason_for_the_formula(volume):
        return Choice("reference", reason)
    if operator is None:
        return _formula(volume, "the distance names no operator")
    if dtype != torch.float32:
        formula = _formula(volume, f"kernels are float32, this is {str(dtype).removeprefix('torch.')}")
        is_product = formula.form == "chunked" and operator.kind == "gemm"
        return Choice("matmul", formula.reason) if is_product else formula
    return _on_cpu(operator, volume) if device.type == "cpu" else _on_accelerator(operator, device.type, volume)


def _reason_for_the_formula(volume: int) -> str:
    """Reason why no kernel is considered, or an empty text."""
    if mode() == "reference":
        return "HARMBENCH_KERNELS=reference"
    if torch.compiler.is_compiling():
        return "torch.compile fuses the formula"
    return "small enough for the formula itself" if volume <= SMALL else ""


def _on_accelerator(operator: Operator, device: str, volume: int) -> Choice:
    """The form for float32 on a device other than the CPU."""
    if operator.kind == "gemm":
        return Choice("matmul", f"matrix product on {device}")
    if device != "cuda":
        return _formula(volume, f"no elementwise kernel for {device}")
    from harmbench.nn.kernels import gpu

    problem = gpu.problem() if operator.kernels.triton else _not_in_triton(operator)
    return _formula(volume, problem) if problem else Choice("triton", f"Triton kernel, {UNTRIED}")


def _on_cpu(operator: Operator, volume: int) -> Choice:
    """The form for float32 on the CPU."""
    library = build.library()
    has_no_kernel = operator.kernels.native is None or library.handle is None
    if operator.kind == "gemm" and (volume > DIRECT or has_no_kernel):
        return Choice("matmul", "matrix product, near pairs from their differences")
    if library.handle is None:
        return _formula(volume, library.problem)
    return Choice("native", f"compiled kernel, {library.isa}")


def _formula(volume: int, reason: str) -> Choice:
    return Choice("reference" if volume <= FITS else "chunked", reason)


def on_cuda(operator: Operator | None) -> str:
    """Text with the form that computes a distance of common size on a CUDA device, which need not be present.

    >>> on_cuda(Operator("gemm", "euclidean"))
    'matmul (matrix product)'
    """
    if operator is None:
        return "chunked (the distance names no operator)"
    if operator.kind == "gemm":
        return "matmul (matrix product)"
    if operator.kernels.triton is None:
        return f"chunked ({_not_in_triton(operator)})"
    return f"triton, where it is installed, else chunked (Triton kernel, {UNTRIED})"


def _not_in_triton(operator: Operator) -> str:
    return f"no Triton kernel for {operator.name}"


def triton_status() -> str:
    """Status of Triton, which is imported only for a CUDA device."""
    if not torch.cuda.is_available():
        return f"for CUDA only, which is not here; {UNTRIED}"
    from harmbench.nn.kernels import gpu

    return gpu.problem() or UNTRIED
