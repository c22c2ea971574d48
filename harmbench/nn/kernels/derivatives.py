"""Gradients that are computed by hand, and a clear error for second derivatives, which they do not have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from harmbench.errors import HarmbenchError


def first_only(function: Callable[..., tuple[Tensor | None, ...]], *arguments: Any) -> tuple[Tensor | None, ...]:
    """`function(*arguments)`, in the backward pass of an autograd function.

    Raises:
        HarmbenchError: later, when somebody differentiates by the tensors among the arguments.
    """
    if not torch.is_grad_enabled():
        return function(*arguments)
    results: tuple[Tensor | None, ...] = _First.apply(function, *arguments)  # type: ignore[no-untyped-call]
    return results


class _First(torch.autograd.Function):
    @staticmethod
    def forward(function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Nothing is kept."""

    @staticmethod
    def backward(*_: Any) -> None:
        raise HarmbenchError(
            "fast forms of distances have no second derivative; set HARMBENCH_KERNELS=reference, whose formulas have"
        )
