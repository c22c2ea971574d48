"""Top-k accuracy."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from harmbench.meters import Meter, Outcome, Watcher
from harmbench.results.records import Measurement


class TopK(Meter):
    """Share of the test part whose class is among the k most probable ones, by default k = 2."""

    name: ClassVar[str] = "top_k"

    k: int = Field(default=2, ge=1)

    def watcher(self) -> Watcher:
        return _TopKWatcher(self.k)


class _TopKWatcher(Watcher):
    def __init__(self, k: int) -> None:
        self._k = k

    def measurements(self, outcome: Outcome) -> list[Measurement]:
        share, reason = self._share(outcome)
        return [Measurement.of(f"test_top{self._k}_accuracy", share, "1", "higher", reason)]

    def _share(self, outcome: Outcome) -> tuple[float | None, str]:
        """The share, or None and the reason."""
        logits = outcome.test_logits
        if logits is None:
            return None, "a trial on text keeps no logits"
        if not logits.isfinite().all():
            return None, "the logits are not finite"
        if logits.shape[1] <= self._k:
            return None, f"there are {logits.shape[1]} classes, and any of them is among the first {self._k}"
        first = logits.topk(self._k).indices
        return (first == outcome.test_targets[:, None]).any(1).double().mean().item(), ""
