"""Token embeddings on their principal components."""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np
from pydantic import Field

from harmbench.analysis.cells import Cell
from harmbench.report.charts import Plane, PlanePanel, Spot
from harmbench.report.formats import Figure
from harmbench.report.plots._base import Plot, cells_by_condition, file_name, kept, label_of, lacking, not_kept
from harmbench.results.artifacts import Arrays
from harmbench.results.records import TrialRecord
from harmbench.results.store import RunData

KIND: Final = "embedding"


class Embedding(Plot):
    """Token embeddings on two of their principal components, each token with its label: circles, lattices, trees.

    The plot shows one seed of each head: `seed`, or the first with a stored embedding. `first` is the first of the two
    components. Needs `artifacts: [embedding]` in the suite. Lines join neighbors on a lattice, and children with their
    parents. Colors follow the order of the tokens, their class in the equivalence task, and their generation in the
    family tree.
    """

    name: ClassVar[str] = "embedding"
    place: ClassVar[int] = 3

    seed: int | None = Field(default=None, ge=0)
    first: int = Field(default=1, ge=1, description="principal component to the right; the next one goes up")

    def applies(self, run: RunData) -> str | None:
        if reason := not_kept(run, KIND, "embeddings"):
            return reason
        return None if any(panels for panels in self._panels(run).values()) else f"no embedding of seed {self.seed}"

    def figures(self, run: RunData) -> tuple[Figure, ...]:
        found, panels = kept(run, KIND), self._panels(run)
        conditions = {condition: cells for condition, cells in cells_by_condition(run).items() if panels.get(condition)}
        return tuple(
            Plane(
                name=file_name(self.name, condition, conditions),
                caption=f"Token embeddings of {condition} on principal components {self.first} and "
                f"{self.first + 1}, with "
                "the share of the variance that both explain and the test accuracy, in the selected state of one seed "
                "of each head. Panels have scales of their own; signs and directions mean nothing."
                + lacking(cells, found, "embeddings"),
                x=f"component {self.first}",
                y=f"component {self.first + 1}",
                panels=panels[condition],
            )
            for condition, cells in conditions.items()
        )

    def _panels(self, run: RunData) -> dict[str, tuple[PlanePanel, ...]]:
        found = kept(run, KIND)
        panels: dict[str, tuple[PlanePanel, ...]] = {}
        for condition, cells in cells_by_condition(run).items():
            chosen = [(cell, self._trial(cell, found)) for cell in cells]
            panels[condition] = tuple(
                self._panel(label_of(cell, cells), trial, found[trial.id]) for cell, trial in chosen if trial
            )
        return panels

    def _trial(self, cell: Cell, found: dict[str, Arrays]) -> TrialRecord | None:
        ranked = sorted((t for t in cell.trials if t.id in found), key=lambda trial: trial.spec.seed)
        return next((t for t in ranked if self.seed is None or t.spec.seed == self.seed), None)

    def _panel(self, label: str, trial: TrialRecord, arrays: Arrays) -> PlanePanel:
        points, share = components(arrays["embedding"], self.first)
        accuracy = trial.value("test_accuracy")
        told = "" if accuracy is None else f", test accuracy {100 * accuracy:.0f} %"
        labels, shades = arrays["token_labels"], arrays["token_shades"]
        return PlanePanel(
            title=f"{label}, seed {trial.spec.seed}\n{100 * share:.0f} % of variance{told}",
            head=trial.spec.head,
            loss=trial.spec.loss,
            spots=tuple(
                Spot(label=str(text), x=x, y=y, shade=float(shade))
                for text, (x, y), shade in zip(labels, points.tolist(), shades, strict=True)
            ),
            links=tuple((int(one), int(other)) for one, other in arrays["token_links"]),
        )


def components(embedding: np.typing.NDArray[np.float32], first: int) -> tuple[np.typing.NDArray[np.float64], float]:
    """Coordinates (V, 2) on two successive principal components, and the share of the variance that both explain.

    >>> points, share = components(np.array([[0.0, 1.0, 5.0], [2.0, 0.0, 5.0], [4.0, 1.0, 5.0]]), first=1)
    >>> points.shape, round(share, 6)
    ((3, 2), 1.0)
    """
    centered = embedding.astype(np.float64) - embedding.mean(axis=0, dtype=np.float64)
    left, values, _ = np.linalg.svd(centered, full_matrices=False)
    wanted = slice(min(first, max(len(values) - 1, 1)) - 1, min(first, max(len(values) - 1, 1)) + 1)
    points = left[:, wanted] * values[wanted]
    points = np.pad(points, ((0, 0), (0, 2 - points.shape[1])))
    total = float((values**2).sum())
    return points, float((values[wanted] ** 2).sum()) / total if total else 0.0
