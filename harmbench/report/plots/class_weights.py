"""Class weights as images."""

from __future__ import annotations

from typing import ClassVar, Final, cast

from pydantic import Field

from harmbench.analysis.cells import Cell
from harmbench.report.charts import Images, Strip
from harmbench.report.formats import Figure
from harmbench.report.plots._base import Plot, cells_by_condition, file_name, kept, label_of, lacking, not_kept, percent
from harmbench.results.artifacts import Arrays
from harmbench.results.records import TrialRecord
from harmbench.results.store import RunData

KIND: Final = "class_weights"
FACTS = {  # of a head, beside its images
    "test accuracy": "test_accuracy",
    "share near zero": "near_zero_pixel_share",
    "share near zero at the border": "near_zero_border_share",
}


class ClassWeights(Plot):
    """Class weights, or centers, of heads right on the pixels, as images side by side: linear and every distance.

    The plot shows one seed of each head: `seed`, or the first with stored weights. Needs `artifacts:
    [class_weights]` and the backbone `pixels`, as in the suite of that name.
    """

    name: ClassVar[str] = "class_weights"
    place: ClassVar[int] = 4

    seed: int | None = Field(default=None, ge=0)

    def applies(self, run: RunData) -> str | None:
        if reason := not_kept(run, KIND, "class weights"):
            return reason
        if not any("image_shape" in arrays for arrays in kept(run, KIND).values()):
            return "no head reads pixels; the backbone pixels lets it"
        return None if any(self._strips(run).values()) else f"no class weights on pixels of seed {self.seed}"

    def figures(self, run: RunData) -> tuple[Figure, ...]:
        found, strips = kept(run, KIND), self._strips(run)
        conditions = {condition: cells for condition, cells in cells_by_condition(run).items() if strips.get(condition)}
        return tuple(
            Images(
                name=file_name(self.name, condition, conditions),
                caption=f"Class weights of {condition}, an image for each class, one seed of each head: blue above 0, "
                "white at 0, red below (with three channels gray is 0), each head on a scale of its own. Of a distance "
                "head they are the class centers. Test accuracy, and the share of weights near 0, of the whole image "
                "and of its border, are means over seeds." + lacking(cells, found, "weights"),
                names=tuple(f"class {number}" for number in range(len(strips[condition][0].images))),
                strips=strips[condition],
            )
            for condition, cells in conditions.items()
        )

    def _strips(self, run: RunData) -> dict[str, tuple[Strip, ...]]:
        found = {trial: arrays for trial, arrays in kept(run, KIND).items() if "image_shape" in arrays}
        strips: dict[str, tuple[Strip, ...]] = {}
        for condition, cells in cells_by_condition(run).items():
            chosen = [(cell, self._trial(cell, found)) for cell in cells]
            strips[condition] = tuple(
                _strip(label_of(cell, cells), cell, found[trial.id]) for cell, trial in chosen if trial
            )
        return strips

    def _trial(self, cell: Cell, found: dict[str, Arrays]) -> TrialRecord | None:
        ranked = sorted((t for t in cell.trials if t.id in found), key=lambda trial: trial.spec.seed)
        return next((t for t in ranked if self.seed is None or t.spec.seed == self.seed), None)


def _strip(label: str, cell: Cell, arrays: Arrays) -> Strip:
    facts = {text: cell.interval(measure) for text, measure in FACTS.items()}
    accuracy, total, border = (percent(interval) for interval in facts.values())
    near_zero = "" if total == "n/a" else f", near 0: {total}, border {border}"
    return Strip(
        title=f"{label}: {accuracy}{near_zero}",
        head=cell.head,
        loss=cell.loss,
        shape=cast("tuple[int, int, int]", tuple(map(int, arrays["image_shape"]))),
        images=tuple(tuple(map(float, row)) for row in arrays["class_weights"]),
        facts=tuple((text, interval.mean if interval else None) for text, interval in facts.items()),
    )
