"""Many measures at once: a radar chart as in arXiv 2603.10225, and dots in units beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from harmbench.analysis.cells import Cell
from harmbench.report.charts import Dot, DotPanel, Dots, RadarLine, RadarPanel, Spoke
from harmbench.report.charts import Radar as RadarChart
from harmbench.report.formats import Figure
from harmbench.report.plots._base import Plot, file_name, half_width, methods_of, places_of
from harmbench.results.store import RunData

ALWAYS = (("linear", "cross_entropy"), ("euclidean", "harmonic"), ("cosine", "harmonic"))
MOST_LINES = 6
MOST_PLACES_IN_REPORT = 2


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
    """Accuracy, F1, PCA, time and energy on a radar, as arXiv 2603.10225 shows them; and beside it the same in units.

    The radar's scores are relative: 0 is the worst sound head of the place and 10 the best, so the smallest difference
    fills an axis. It shows the baseline, the Euclidean and the cosine distance, and the most accurate others, six in
    all. The dots show every head, with intervals. Fewer and stronger components count as better, as in the paper; heads
    of which a trial ended badly or collapsed are left out of the radar, since collapse scores best there.
    """

    name: ClassVar[str] = "radar"
    place: ClassVar[int] = 8

    def applies(self, run: RunData) -> str | None:
        if any(_can_be_drawn(cells) for cells in places_of(run).values()):
            return None
        return "it needs two sound heads with three or more of " + ", ".join(axis.measure for axis in AXES)

    def figures(self, run: RunData) -> tuple[Figure, ...]:
        drawn = {place: panel for place, cells in places_of(run).items() if (panel := _panel(place, cells))}
        chart = RadarChart(
            name=self.name,
            caption="A radar as in arXiv 2603.10225: on each axis 0 is the worst and 10 the best sound head of the "
            "place, means over seeds, without intervals; only the baseline, Euclidean, cosine and the most accurate "
            "others. Areas depend on the order of the axes, and the smallest difference fills an axis: decide by the "
            "dots in units." + _modelled(run),
            panels=tuple(drawn.values()),
        )
        cells = {place: members for place, members in places_of(run).items() if place in drawn}
        return (chart, *(self._in_units(run, place, members, cells) for place, members in cells.items()))

    def reported(self, run: RunData) -> tuple[Figure, ...]:
        """Of a run of few places: the rest would fill pages."""
        return self.figures(run) if len(places_of(run)) <= MOST_PLACES_IN_REPORT else ()

    def _in_units(self, run: RunData, place: str, cells: list[Cell], places: dict[str, list[Cell]]) -> Figure:
        ranked = sorted(cells, key=_rank)
        return Dots(
            name=file_name("radar_in_units", place, places),
            caption=f"What the radar is about, in units, {place}: every head's mean over seeds with its 95 % t "
            "interval, ticks for the seeds; the dashed line is the baseline. Numbers at the left edge are means "
            "below the axis." + _modelled(run),
            axis="",
            panels=tuple(_dots(axis, ranked) for axis in _shared(cells)),
        )


def _shared(cells: Sequence[Cell]) -> list[Axis]:
    """The axes that any of the cells has a value on."""
    return [axis for axis in AXES if any(cell.interval(axis.measure) for cell in cells)]


def _can_be_drawn(cells: Sequence[Cell]) -> bool:
    sound = [cell for cell in cells if not cell.unsound]
    return len(sound) >= 2 and len(_shared(sound)) >= 3


def _rank(cell: Cell) -> tuple[bool, float]:
    accuracy = cell.interval("test_accuracy")
    return bool(cell.unsound), -accuracy.mean if accuracy else 0.0


def _panel(place: str, cells: list[Cell]) -> RadarPanel | None:
    if not _can_be_drawn(cells):
        return None
    sound = [cell for cell in cells if not cell.unsound]
    axes = _shared(sound)
    ranked = sorted(sound, key=_rank)
    always = [cell for cell in ranked if (cell.head, cell.loss) in ALWAYS]
    chosen = [*always, *(cell for cell in ranked if cell not in always)][:MOST_LINES]
    return RadarPanel(
        title=place,
        lines=tuple(
            RadarLine(head=cell.head, loss=cell.loss, spokes=tuple(_spoke(axis, cell, sound) for axis in axes))
            for cell in chosen
        ),
    )


def _spoke(axis: Axis, cell: Cell, sound: Sequence[Cell]) -> Spoke:
    intervals = [interval for other in sound if (interval := other.interval(axis.measure))]
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
