"""Spectra of features."""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np

from harmbench.analysis.cells import Cell
from harmbench.report.charts import Line, LinePanel, Lines
from harmbench.report.charts.lines import Stroke
from harmbench.report.formats import Figure
from harmbench.report.plots._base import Plot, cells_by_condition, file_name, kept, label_of, lacking, not_kept
from harmbench.results.artifacts import Arrays
from harmbench.results.store import RunData

KIND: Final = "spectrum"
LEAST = 1e-6  # of the largest value, about the rounding of float32 features


class Spectrum(Plot):
    """Singular values of the held-out features, over the largest of them: how many directions a model uses.

    Needs `artifacts: [spectrum]` in the suite.
    """

    name: ClassVar[str] = "spectrum"

    def applies(self, run: RunData) -> str | None:
        return not_kept(run, KIND, "spectra")

    def figures(self, run: RunData) -> tuple[Figure, ...]:
        found = kept(run, KIND)
        conditions = {
            condition: members
            for condition, cells in cells_by_condition(run).items()
            if (members := [cell for cell in cells if any(trial.id in found for trial in cell.trials)])
        }
        return tuple(
            Lines(
                name=file_name(self.name, condition, conditions),
                caption=f"Singular values of the centered held-out features of {condition}, over the largest, by "
                "rank; a "
                "line for each seed, the baseline in thin black. A steep fall means few directions; one of a model "
                "that collapsed falls at once." + lacking(cells, found, "spectra"),
                x="rank",
                y="singular value, relative to the largest",
                log="y",
                panels=tuple(_panel(cell, cells, found) for cell in cells),
            )
            for condition, cells in conditions.items()
        )


def _panel(cell: Cell, cells: list[Cell], found: dict[str, Arrays]) -> LinePanel:
    baseline = (
        [] if cell.is_baseline else [line for c in cells if c.is_baseline for line in _lines(c, found, "background")]
    )
    return LinePanel(title=label_of(cell, cells), lines=(*baseline, *_lines(cell, found, "plain")))


def _lines(cell: Cell, found: dict[str, Arrays], stroke: Stroke) -> list[Line]:
    lines = []
    for trial in cell.trials:
        values = found.get(trial.id, {}).get(KIND)
        if values is None or not len(values) or not np.isfinite(values).all() or values[0] <= 0:
            continue
        shares = [float(value) for value in values / values[0]]
        shares = [share for share in shares if share >= LEAST]
        ranks = tuple(map(float, range(1, len(shares) + 1)))
        what = f"seed {trial.spec.seed}"
        lines.append(Line(head=cell.head, loss=cell.loss, what=what, x=ranks, y=tuple(shares), stroke=stroke))
    return lines
