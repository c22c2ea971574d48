"""Accuracy against what it costs."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from harmbench.analysis.cells import Cell
from harmbench.analysis.measures import find_measure
from harmbench.analysis.stats import Interval, mean_interval
from harmbench.report.charts import Mark, Tradeoff, TradeoffPanel
from harmbench.report.formats import Figure
from harmbench.report.plots._base import Plot, cells_by_condition, ended_well, half_width, methods_of
from harmbench.results.store import RunData

QUALITY = "test_accuracy"


class Pareto(Plot):
    """Test accuracy against energy or time, with the front: heads that no other beats in both means.

    `cost` is a measure where less is better, such as `joules` (processor plus accelerator), `peak_memory` or
    `steps_to_target`, or `seconds`, the time of the phase `train`. The default is joules if they were measured, and
    otherwise seconds, since modelled joules follow time. Heads with failed, diverged or collapsed trials are pale and
    not on the front.
    """

    name: ClassVar[str] = "pareto"
    place: ClassVar[int] = 2

    cost: str = Field(default="", description="a measure's name, `joules` or `seconds`")

    def applies(self, run: RunData) -> str | None:
        cost = self._cost(run)
        cells = (cell for cells in cells_by_condition(run).values() for cell in cells)
        if any(cell.interval(QUALITY) and _cost_of(cell, cost) for cell in cells):
            return None
        return f"no head has both {QUALITY} and {cost}; choose another, as pareto[cost=seconds]"

    def figures(self, run: RunData) -> tuple[Figure, ...]:
        cost = self._cost(run)
        panels = (_panel(condition, cells, cost) for condition, cells in cells_by_condition(run).items())
        model = _modelled(run) if cost.startswith("joules") else ""
        return (
            Tradeoff(
                name=self.name,
                caption="Test accuracy against the cost of training: means over seeds with 95 % t intervals; up and "
                "left is better. Gray steps join the ringed heads, which no other beats in both means; where bars "
                "overlap, the order may be chance. Pale heads had failed, diverged or collapsed trials." + model,
                x=_label(run, cost),
                y="test accuracy (%)",
                bounds=(0, 100),
                panels=tuple(panel for panel in panels if panel.marks),
            ),
        )

    def _cost(self, run: RunData) -> str:
        if self.cost:
            return self.cost
        measured = not _modelled(run) and find_measure(ended_well(run), "joules") is not None
        return "joules" if measured else "seconds"


def _panel(condition: str, cells: list[Cell], measure: str) -> TradeoffPanel:
    marks = []
    for cell in cells:
        quality, cost = cell.interval(QUALITY), _cost_of(cell, measure)
        if quality and cost:
            marks.append(
                Mark(
                    head=cell.head,
                    loss=cell.loss,
                    cost=cost.mean,
                    cost_half=half_width(cost),
                    quality=100 * quality.mean,
                    quality_half=half_width(quality, 100),
                    disqualified=cell.disqualified,
                )
            )
    return TradeoffPanel(title=condition, marks=tuple(marks))


def _cost_of(cell: Cell, measure: str) -> Interval | None:
    if measure != "seconds":
        return cell.interval(measure)
    spent = [sum([p.seconds for p in t.phases if p.phase == "train"]) for t in cell.trials if t.status == "ok"]
    return mean_interval(spent) if spent else None


def _label(run: RunData, cost: str) -> str:
    if cost == "seconds":
        return "training time (s)"
    measure = find_measure(ended_well(run), cost)
    assert measure is not None
    return "energy of training (J)" if cost == "joules" else f"{cost.replace('_', ' ')} ({measure.unit})"


def _modelled(run: RunData) -> str:
    """A warning where joules come from a model or not at all."""
    methods = methods_of(run)
    return " The joules are modelled, not measured." if "model" in methods or not methods - {"missing"} else ""
