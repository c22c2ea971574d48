"""Bray-Curtis dissimilarity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from harmbench._torch import torch
from harmbench.nn.distances._base import Distance, Facts
from harmbench.nn.distances._functions import differences, overlap, ratio, upper_half
from harmbench.nn.kernels import Map, Mapped, Operator

if TYPE_CHECKING:
    from torch import Tensor


class BrayCurtis(Distance):
    """Bray-Curtis dissimilarity, sum_i |x_i - w_i| / sum_i (|x_i| + |w_i|), with 0/0 = 0.

    `variant=abs` is that: on non-negative vectors, where Bray-Curtis is defined, it is SciPy's `braycurtis`, and it
    stays between 0 and 1 on signed ones.
    `variant=signed` is SciPy's formula on signed vectors, with sum_i |x_i + w_i| below: infinite at x = -w.
    `variant=normalized` compares the profiles |x| / sum|x| and |w| / sum|w|: half their Manhattan distance, which
    ignores sign and scale. Variants of arXiv 2603.10225, whose "standard" divides by |sum_i (x_i + w_i)|.

    >>> import torch
    >>> BrayCurtis()(torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 0.0], [0.0, 2.0]]))
    tensor([[0.5000, 1.0000]])
    """

    name: ClassVar[str] = "bray_curtis"
    family: ClassVar[str] = "sums of absolute values"
    variants: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"variant": "signed"}, {"variant": "normalized"})
    in_papers: ClassVar[bool] = True

    variant: Literal["abs", "signed", "normalized"] = "abs"

    @property
    def facts(self) -> Facts:
        return Facts(
            is_metric=False,
            is_symmetric=True,
            is_scale_invariant=True,
            domain="opposite-free" if self.variant == "signed" else "real",
        )

    def pairwise(self, x: Tensor, centers: Tensor, parameters: Mapping[str, Tensor], training: bool) -> Tensor:
        if self.variant == "normalized":
            x, centers = _profile(x), _profile(centers)
        gap, shared = differences(x, centers).abs().sum(-1), overlap(x, centers)
        if self.variant == "signed":
            total = differences(x, -centers).abs().sum(-1)
            near = torch.where(gap == 0, 0.0, gap / torch.where(gap == 0, 1.0, total))
            return upper_half(near, (shared - overlap(x, -centers)).sum(-1), total)
        total = x.abs().sum(-1)[:, None] + centers.abs().sum(-1)[None, :]
        return upper_half(ratio(gap, total), shared.sum(-1), total)

    @property
    def map_cost(self) -> float:
        return 40.0 if self.variant == "normalized" else 0.0

    @property
    def operator(self) -> Operator:
        return Operator("elementwise", "bray_curtis_signed" if self.variant == "signed" else "bray_curtis")

    def mapped(self, x: Tensor, centers: Tensor, parameters: Mapping[str, Tensor], training: bool) -> Mapped:
        return Mapped(_profile(x), _profile(centers)) if self.variant == "normalized" else Mapped(x, centers)

    def map(self, centers: Tensor, parameters: Mapping[str, Tensor], training: bool) -> Map | None:
        return Map("profile") if self.variant == "normalized" else None

    def between(self, x: Tensor, centers: Tensor, *option: Tensor) -> Tensor:
        same = BrayCurtis() if self.variant == "normalized" else self
        return same.pairwise(x, centers, {}, False)


def _profile(vectors: Tensor) -> Tensor:
    """|v| / sum|v|: (..., N) of sum 1. The zero vector stays zero."""
    size = vectors.abs()
    return ratio(size, size.sum(-1, keepdim=True).expand_as(size))
