"""Distances that are not yet computed, for callers that read the numbers or only a loss of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from harmbench.nn.kernels.operators import Map, Mapped, Operator
from harmbench.nn.kernels.precision import without_autocast

if TYPE_CHECKING:
    from torch import Tensor

    from harmbench.nn.kernels.choice import Choice


class Pairs(NamedTuple):
    """All pairs of x (B, N) and centers (K, N), in at least float32.

    Attributes:
        x, centers: the vectors as they are given.
        chosen: the form that computes them.
        operator: the formula as the kernels know it, or None.
        map: the map of each vector before pairs are compared, if the kernels have it.
        mapped: the same, by torch.
        between: distances of mapped vectors, and of their learned option.
        formula: the distances by the formula itself.
    """

    x: Tensor
    centers: Tensor
    chosen: Choice
    operator: Operator | None
    map: Callable[[], Map | None]
    mapped: Callable[[], Mapped]
    between: Callable[..., Tensor]
    formula: Callable[[], Tensor]

    def distances(self) -> Tensor:
        """The distances (B, K)."""
        with without_autocast(self.x):
            if self.chosen.form == "reference":
                return self.formula()
            from harmbench.nn.kernels import forms

            mapped = self.mapped()
            form = forms.form_for(self.chosen, self.operator, mapped, self.between)
            return forms.apply(form, self.operator, mapped.x, mapped.centers, mapped.option)
