"""Confusion matrices."""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np

from harmbench.report.charts import Matrix, MatrixPanel
from harmbench.report.formats import Figure
from harmbench.report.plots._base import Plot, cells_by_condition, file_name, kept, label_of, lacking, not_kept, percent
from harmbench.results.store import RunData

KIND: Final = "confusion"


class Confusion(Plot):
    """Confusion matrix of each head: of every true class, the shares of what is predicted, over all seeds.

    Needs `artifacts: [confusion]` in the suite.
    """

    name: ClassVar[str] = "confusion"

    def applies(self, run: RunData) -> str | None:
        return not_kept(run, KIND, "confusion matrices")

    def figures(self, run: RunData) -> tuple[Figure, ...]:
        found = kept(run, KIND)
        conditions = {
            condition: members
            for condition, cells in cells_by_condition(run).items()
            if (members := [cell for cell in cells if any(trial.id in found for trial in cell.trials)])
        }
        return tuple(
            Matrix(
                name=file_name(self.name, condition, conditions),
                caption=f"What {condition} predicts (across) for each true class (down), in % of the class's test "
                "samples, "
                "all seeds together; the darker the more, small shares lifted by a root."
                + lacking(cells, found, "confusion matrices"),
                rows="true class",
                columns="predicted class",
                panels=tuple(
                    MatrixPanel(
                        title=f"{label_of(cell, cells)}: {percent(cell.interval('test_accuracy'))}",
                        head=cell.head,
                        loss=cell.loss,
                        counts=tuple(
                            tuple(map(int, row))
                            for row in np.sum([found[t.id][KIND] for t in cell.trials if t.id in found], axis=0)
                        ),
                    )
                    for cell in cells
                ),
            )
            for condition, cells in conditions.items()
        )
