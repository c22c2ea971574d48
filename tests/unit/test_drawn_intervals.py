"""Error bars are as long as the intervals: from the records to the figure, and from the figure to what is drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib.path import Path as Outline
from scipy import stats

from harmbench.report import plots
from harmbench.report.charts import Dot, DotPanel, Dots, Line, LinePanel, Lines, Mark, Tradeoff, TradeoffPanel
from harmbench.report.formats import Figure
from harmbench.report.plots.data_efficiency import fraction
from harmbench.results import store
from harmbench.results.records import TrialRecord
from harmbench.results.store import RunData
from tests.support.paths import ROOT

WORDS = {"name": "made-up", "caption": "Made up."}


def half_width(values: Any) -> float | None:
    """Half of the 95 % t interval of a mean, by SciPy; None for a single value."""
    if len(values) < 2:
        return None
    return float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))


def is_half_width(drawn: float | None, values: Any) -> bool:
    """Whether a drawn half-width is that of the values."""
    expected = half_width(values)
    return drawn is None if expected is None else drawn == pytest.approx(expected, rel=1e-9, abs=1e-12)


# From the records to the figure.


@pytest.fixture(scope="module", params=["vision", "language"])
def run(request: pytest.FixtureRequest) -> RunData:
    return store.read(ROOT / "reports" / f"example-{request.param}")


def figures_of(run: RunData, name: str) -> tuple[Figure, ...]:
    plot = plots.PLOTS.parse(name)
    if reason := plot.applies(run):
        pytest.skip(reason)
    return plot.figures(run)


def values_of(
    run: RunData, mark: Mark | Line, panel: str, value: Callable[[TrialRecord], float | None], dataset: str = ""
) -> list[float]:
    """The values of the seeds of one head in one panel."""
    trials = [
        trial
        for trial in run.trials
        if (trial.spec.head, trial.spec.loss, trial.status) == (mark.head, mark.loss, "ok")
        and panel == f"{trial.spec.backbone} on {dataset or trial.spec.dataset}"
    ]
    return [number for trial in trials if (number := value(trial)) is not None]


def train_seconds(trial: TrialRecord) -> float:
    return next(phase.seconds for phase in trial.phases if phase.phase == "train")


@pytest.mark.parametrize("name", ["accuracy", "explained_variance", "perplexity", "radar"])
def test_a_dots_half_width_is_that_of_its_seeds(name: str, run: RunData) -> None:
    dots = [dot for f in figures_of(run, name) if isinstance(f, Dots) for panel in f.panels for dot in panel.dots]
    assert any(dot.half_width for dot in dots)
    for dot in dots:
        assert is_half_width(dot.half_width, dot.values), dot
        assert dot.mean == pytest.approx(np.mean(dot.values))


def test_half_widths_of_a_trade_off_are_those_of_the_seeds(run: RunData) -> None:
    (figure,) = figures_of(run, "pareto[cost=seconds]")
    assert isinstance(figure, Tradeoff)
    for panel in figure.panels:
        for mark in panel.marks:
            accuracies = values_of(run, mark, panel.title, lambda t: t.value("test_accuracy"))
            seconds = values_of(
                run, mark, panel.title, lambda t: next(p.seconds for p in t.phases if p.phase == "train")
            )
            assert len(accuracies) == len(seconds) > 1
            assert is_half_width(mark.quality_half, 100 * np.array(accuracies))
            assert is_half_width(mark.cost_half, seconds)


def test_half_widths_of_data_efficiency_are_those_of_the_seeds(run: RunData) -> None:
    (figure,) = figures_of(run, "data_efficiency")
    assert isinstance(figure, Lines)
    datasets = {trial.spec.dataset for trial in run.trials}
    compared = 0
    for panel in figure.panels:
        for line in panel.lines:
            for share, drawn in zip(line.x, line.half, strict=True):
                of_share = run.model_copy(
                    update={"trials": tuple(t for t in run.trials if fraction(t.spec.dataset)[1] == share)}
                )
                backbone, whole = panel.title.split(" on ")
                assert whole in datasets
                (dataset,) = {t.spec.dataset for t in of_share.trials if fraction(t.spec.dataset)[0] == whole}
                accuracies = values_of(of_share, line, f"{backbone} on {dataset}", lambda t: t.value("test_accuracy"))
                assert is_half_width(drawn, 100 * np.array(accuracies))
                compared += drawn is not None
    assert compared


# From the figure to what is drawn. Each figure has a second mark or tick just where a bar must end.


DATA = 1.5  # the height at which charts draw bars, ticks of seeds and lines: above the frame, under the markers


def strokes(figure: Figure) -> list[np.ndarray]:
    """Every line of data that a figure draws, (points, 2) each, in points from the lower left corner of its panel."""
    lines: list[np.ndarray] = []
    for artist in (artist for artist in figure.paint().artists if artist.get_zorder() == DATA):
        for path in artist.get_paths():
            starts = np.flatnonzero(path.codes == Outline.MOVETO)
            lines += np.split(path.vertices, starts[1:])
    return lines


def bars(figure: Figure, axis: int) -> list[np.ndarray]:
    """Lines of two points along one axis: 0 across, 1 upward."""
    pairs = [line for line in strokes(figure) if len(line) == 2]
    return [
        line for line in pairs if line[0, 1 - axis] == pytest.approx(line[1, 1 - axis]) and np.ptp(line[:, axis]) > 0
    ]


def test_a_bar_of_dots_reaches_from_end_to_end() -> None:
    dot = Dot(head="cosine", loss="harmonic", mean=20.0, half_width=5.0, values=(15.0, 25.0))
    figure = Dots(**WORDS, axis="a", panels=(DotPanel(title="", dots=(dot,)),), limits=(0.0, 100.0))
    low, high = sorted(tick[0, 0] for tick in bars(figure, axis=1))
    ends = [sorted(bar[:, 0]) for bar in bars(figure, axis=0)]
    assert ends == [pytest.approx([low, high])]


def test_a_bar_of_lines_reaches_from_end_to_end() -> None:
    def level(head: str, y: float, half: float | None) -> Line:
        return Line(head=head, loss="harmonic", what="mean", x=(1.0, 2.0), y=(y, y), half=(half, half))

    lines = (level("cosine", 50.0, 20.0), level("euclidean", 30.0, None), level("manhattan", 70.0, None))
    figure = Lines(**WORDS, x="a", y="b", panels=(LinePanel(title="", lines=lines),), limits=(0, 100), has_legend=True)
    low, middle, high = sorted({round(float(line[0, 1]), 6) for line in bars(figure, axis=0)})
    uprights = bars(figure, axis=1)
    assert len(uprights) == 2
    for bar in uprights:
        assert sorted(bar[:, 1]) == pytest.approx([low, high], abs=1e-5)
        assert bar[:, 1].mean() == pytest.approx(middle, abs=1e-5)


def test_bars_of_a_trade_off_reach_from_end_to_end() -> None:
    """The steps of the front run through the ends of the first head's two bars."""
    first = Mark(head="cosine", loss="harmonic", cost=2.0, cost_half=1.0, quality=50.0, quality_half=10.0)
    second = Mark(head="euclidean", loss="harmonic", cost=3.0, cost_half=None, quality=60.0, quality_half=None)
    panel = TradeoffPanel(title="", marks=(first, second))
    figure = Tradeoff(**WORDS, x="a", y="b", bounds=(0, 100), panels=(panel,))
    (step,) = [line for line in strokes(figure) if len(line) == 3]
    (start, corner, end) = step
    ((left, right),) = [sorted(bar[:, 0]) for bar in bars(figure, axis=0)]
    ((low, high),) = [sorted(bar[:, 1]) for bar in bars(figure, axis=1)]
    assert (right, (left + right) / 2) == pytest.approx((corner[0], start[0]))
    assert (high, (low + high) / 2) == pytest.approx((end[1], start[1]))
