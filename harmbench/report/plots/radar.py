"""Many measures at once: a radar chart as in arXiv 2603.10225, and dots in units beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from harmbench.analysis.cells import Cell
from harmbench.report.charts import Dot, DotPanel, Dots, RadarLine, RadarPanel, Spoke
from harmbench.report.charts import Radar as RadarChart
from harmbench.report.formats import Figure
from harmbench.report.plots._base import Plot, cells_by_condition, file_name, half_width, methods_of
from harmbench.results.store import RunData

ALWAYS = (("linear", "cross_entropy"), ("euclidean", "harmonic"), ("cosine", "harmonic"))
MOST_LINES = 6
MOST_CONDITIONS_IN_REPORT = 2


class Axis(NamedTuple):
    """A measure as an axis; `sign` is -1 where less is better."""

    label: str
    measure: str
    sign: int
    factor: float = 1.0
    unit: str = ""


AXES = (
    Axis("accuracy", "test_accuracy", 1, 100, "%"),
    Axis("macro F1", "test_macro_f1", 1, 100, "%"),
    Axis("PCA 90 %", "pca_components_90", -1, 1, "components"),
    Axis("PC2 variance", "pca_variance_2", 1, 100, "%"),
    Axis("step time", "step_seconds_p50", -1, 1000, "ms"),
    Axis("energy", "joules", -1, 1, "J"),
)


class Radar(Plot):
    """Accuracy, F1, PCA, time and energy on a radar, as arXiv 2603.10225 shows them, and the same values in units.

    The radar's scores are relative: 0 is the worst valid head of the condition and 10 the best, so the smallest
    difference fills an axis. It shows the baseline, the Euclidean and the cosine distance, and the most accurate
    others, six in all. The dots show every head, with intervals. Fewer and stronger components count as better, as in
    the paper. Disqualified heads are left out of the radar, since collapse scores best there.
    """

    name: ClassVar[str] = "radar"
    place: ClassVar[int] = 8

    def applies(self, run: RunData) -> str | None:
        if any(_can_be_drawn(cells) for cells in cells_by_condition(run).values()):
            return None
        return "it needs two valid heads with three or more of " + ", ".join(axis.measure for axis in AXES)

    def figures(self, run: RunData) -> tuple[Figure, ...]:
        drawn = {
            condition: panel
            for condition, cells in cells_by_condition(run).items()
            if (panel := _panel(condition, cells))
        }
        chart = RadarChart(
            name=self.name,
            caption="A radar as in arXiv 2603.10225: on each axis 0 is the worst and 10 the best valid head of the "
            "condition, means over seeds, without intervals; only the baseline, Euclidean, cosine and the most "
            "accurate "
            "others. Areas depend on the order of the axes, and the smallest difference fills an axis: decide by the "
            "dots in units." + _modelled(run),
            panels=tuple(drawn.values()),
        )
        cells = {condition: members for condition, members in cells_by_condition(run).items() if condition in drawn}
        return (chart, *(self._in_units(run, condition, members, cells) for condition, members in cells.items()))

    def reported(self, run: RunData) -> tuple[Figure, ...]:
        """Return the figures of a run with few conditions. More would fill pages."""
        return self.figures(run) if len(cells_by_condition(run)) <= MOST_CONDITIONS_IN_REPORT else ()

    def _in_units(self, run: RunData, condition: str, cells: list[Cell], conditions: dict[str, list[Cell]]) -> Figure:
        ranked = sorted(cells, key=_rank)
        return Dots(
            name=file_name("radar_in_units", condition, conditions),
            caption=f"What the radar is about, in units, {condition}: every head's mean over seeds with its 95 % t "
            "interval, ticks for the seeds; the dashed line is the baseline. Numbers at the left edge are means "
            "below the axis." + _modelled(run),
            axis="",
            panels=tuple(_dots(axis, ranked) for axis in _shared(cells)),
        )


def _shared(cells: Sequence[Cell]) -> list[Axis]:
    """Return the axes with a value of any cell."""
    return [axis for axis in AXES if any(cell.interval(axis.measure) for cell in cells)]


def _can_be_drawn(cells: Sequence[Cell]) -> bool:
    without_collapsed = [cell for cell in cells if not cell.disqualified]
    return len(without_collapsed) >= 2 and len(_shared(without_collapsed)) >= 3


def _rank(cell: Cell) -> tuple[bool, float]:
    accuracy = cell.interval("test_accuracy")
    return bool(cell.disqualified), -accuracy.mean if accuracy else 0.0


def _panel(condition: str, cells: list[Cell]) -> RadarPanel | None:
    if not _can_be_drawn(cells):
        return None
    without_collapsed = [cell for cell in cells if not cell.disqualified]
    axes = _shared(without_collapsed)
    ranked = sorted(without_collapsed, key=_rank)
    always = [cell for cell in ranked if (cell.head, cell.loss) in ALWAYS]
    chosen = [*always, *(cell for cell in ranked if cell not in always)][:MOST_LINES]
    return RadarPanel(
        title=condition,
        lines=tuple(
            RadarLine(
                head=cell.head, loss=cell.loss, spokes=tuple(_spoke(axis, cell, without_collapsed) for axis in axes)
            )
            for cell in chosen
        ),
    )


def _spoke(axis: Axis, cell: Cell, without_collapsed: Sequence[Cell]) -> Spoke:
    intervals = [interval for other in without_collapsed if (interval := other.interval(axis.measure))]
    values = [axis.sign * interval.mean for interval in intervals]
    own = cell.interval(axis.measure)
    if own is None:
        return Spoke(axis=axis.label, score=None, value=None)
    worst, best = min(values), max(values)
    score = 10 * (axis.sign * own.mean - worst) / (best - worst) if best > worst else 10.0
    return Spoke(axis=axis.label, score=score, value=axis.factor * own.mean)


def _dots(axis: Axis, cells: Sequence[Cell]) -> DotPanel:
    baseline = next((i for cell in cells if cell.is_baseline and (i := cell.interval(axis.measure))), None)
    dots = []
    for cell in cells:
        if interval := cell.interval(axis.measure):
            dots.append(
                Dot(
                    head=cell.head,
                    loss=cell.loss,
                    mean=axis.factor * interval.mean,
                    half_width=half_width(interval, axis.factor),
                    values=tuple(axis.factor * value for value in cell.values(axis.measure)),
                )
            )
    return DotPanel(
        title=f"{axis.label} ({'more' if axis.sign > 0 else 'less'} is better)",
        dots=tuple(dots),
        reference=axis.factor * baseline.mean if baseline else None,
        axis=axis.unit,
    )


def _modelled(run: RunData) -> str:
    return " Energy is modelled here, not measured: it follows time." if "model" in methods_of(run) else ""
