"""Geometry of a language model's token embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from harmbench._torch import torch
from harmbench.meters._base import Meter, Outcome, Watcher
from harmbench.meters.representation import ScoreOrReason, mean_cosine
from harmbench.results.records import Measurement

if TYPE_CHECKING:
    from torch import Tensor

SHARES = (5, 10)  # numbers of principal components; the meter `structure` has 1 and 2


class EmbeddingGeometry(Meter):
    """Geometry of the token embedding in the selected state: explained variance, effective rank, anisotropy.

    All V rows of the table (V, N) count, even tokens that never occur. s_i are the singular values of the centered
    table.
    - embedding_variance_5, _10: sum of the 5 or 10 largest s_i^2 over the sum of all (the paper's language models are
      described by five).
    - embedding_components_90: least number of components with 90 % of the variance.
    - embedding_effective_rank: exp of the entropy of s_i / sum s, as of `representation`.
    - embedding_anisotropy: mean cosine of two different rows, not centered (Ethayarajh 2019, arXiv 1909.00512).

    None of it is good or bad by itself: an embedding that learned nothing has full rank and no preferred direction, and
    one that collapsed has neither. Read it beside the perplexity.
    """

    name: ClassVar[str] = "embedding"

    def watcher(self) -> Watcher:
        return _EmbeddingWatcher()


class _EmbeddingWatcher(Watcher):
    def measurements(self, outcome: Outcome) -> list[Measurement]:
        table = outcome.embedding
        result = "the backbone embeds no tokens" if table is None else geometry(table.detach().cpu().double())
        values = dict.fromkeys(NAMES, result) if isinstance(result, str) else result
        return [
            Measurement.of(name, None, "1", "neither", value)
            if isinstance(value, str)
            else Measurement.of(name, value, "1", "neither")
            for name, value in values.items()
        ]


NAMES = (
    *(f"embedding_variance_{k}" for k in SHARES),
    "embedding_components_90",
    "embedding_effective_rank",
    "embedding_anisotropy",
)


def geometry(table: Tensor) -> dict[str, ScoreOrReason] | str:
    """Return the measures of an embedding (V, N), float64, by name, or the reason why there are none.

    >>> scores = geometry(torch.eye(3).double() + 1)
    >>> round(scores["embedding_effective_rank"], 6), round(scores["embedding_anisotropy"], 6)
    (2.0, 0.833333)
    """
    if not table.isfinite().all():
        return "the embedding is not finite"
    centered = table - table.mean(0)
    # By the smaller of the two products of the table with itself: a vocabulary is long, and an embedding narrow.
    product = centered.T @ centered if len(table) > table.shape[1] else centered @ centered.T
    squares = torch.linalg.eigvalsh(product).flip(0).clamp(min=0)
    total = squares.sum()
    if total <= (torch.finfo(torch.float32).eps * table.norm()) ** 2:
        return "the embeddings do not differ"
    values = torch.where(squares > torch.finfo(torch.float64).eps * len(squares) * squares[0], squares, 0).sqrt()
    shares = squares / total
    return {
        **{f"embedding_variance_{k}": shares[:k].sum().item() for k in SHARES},
        "embedding_components_90": float((shares.cumsum(0) < 0.9).sum().item() + 1),
        "embedding_effective_rank": float(torch.special.entr(values / values.sum()).sum().exp()),
        "embedding_anisotropy": mean_cosine(table),
    }
