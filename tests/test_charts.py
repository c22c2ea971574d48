"""Charts: nothing is cut off and no two texts lie on each other; many marks as one look like each alone."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D

from harmbench import figures, pictures, store
from harmbench.charts import (
    Dot,
    DotPanel,
    Dots,
    Images,
    Line,
    LinePanel,
    Lines,
    Mark,
    Matrix,
    MatrixPanel,
    Plane,
    PlanePanel,
    Radar,
    RadarLine,
    RadarPanel,
    Spoke,
    Spot,
    Strip,
    Tradeoff,
    TradeoffPanel,
)
from harmbench.charts._marks import markers, strokes
from harmbench.charts._style import FAMILIES, MARKERS, Look
from harmbench.formats import Figure

REPORTS = Path(__file__).parent.parent / "reports"
RESOLUTION = 300
SLACK = 1.5  # pixels; Agg, which measures here, puts letters on whole pixels

LONG = ("mahalanobis[variant=a_very_long_name_of_a_variant]", "iiiii", "WWWWWWWW[variant=WWWWWWWWWWWWWWWWWWWWW]")
LOSS = "a_loss_with_a_name_of_unusual_length"
PLACE = "a_backbone_with_a_long_name on a_data_set[train_fraction=0.1,classes=1000,another_option=something_long]"
PAIRS = [(head, loss) for head in (*LONG, "linear") for loss in ("harmonic", LOSS, "cosine_softmax")]
WORDS = {"name": "hard", "caption": "Hard."}


def dots(panels: int = 5) -> Dots:
    others = [(f"minkowski[p={p}]", "harmonic") for p in range(3, 13)]
    marks = tuple(
        Dot(head=head, loss=loss, mean=-1e6 if i in (3, 4) else 1e5 + i, half_width=2.0, values=(1e5 + i,) * 2)
        for i, (head, loss) in enumerate(PAIRS + others)
    )
    parts = tuple(DotPanel(title=PLACE, dots=marks, reference=1e5) for _ in range(panels))
    return Dots(**WORDS, axis="a measure with a long name (its unit)", panels=parts)


def tradeoff(panels: int = 3, costs: float = 1.0) -> Tradeoff:
    marks = tuple(
        Mark(head=head, loss=loss, cost=1 + costs * i, cost_half=0.1, quality=q, quality_half=1.0)
        for i, ((head, loss), q) in enumerate(zip(PAIRS, (1.0, 2.0, *np.linspace(88, 99, 10)), strict=True))
    )
    parts = tuple(TradeoffPanel(title=PLACE, marks=marks) for _ in range(panels))
    return Tradeoff(**WORDS, x="cost (J)", y="test accuracy (%)", bounds=(0, 100), panels=parts)


def lines(has_legend: bool, log: str = "", panels: int = 7) -> Lines:
    parts = tuple(
        LinePanel(
            title=f"{LONG[0]} + {LOSS}",
            lines=tuple(
                Line(head=h, loss=loss, what="seed 0", x=(1.0, 20.0, 3e5), y=(1e-6, 3.0, 2e6), half=(None, 0.1, 1.0))
                for h, loss in PAIRS
            ),
        )
        for _ in range(panels)
    )
    return Lines(**WORDS, x="step", y="loss (nat)", log=log, panels=parts, has_legend=has_legend)


def radar() -> Radar:
    spokes = tuple(Spoke(axis=f"a long name of axis {i}", score=i, value=i) for i in range(6))
    parts = tuple(
        RadarPanel(title=PLACE, lines=tuple(RadarLine(head=h, loss=loss, spokes=spokes) for h, loss in PAIRS))
        for _ in range(4)
    )
    return Radar(**WORDS, panels=parts)


def matrix(panels: int) -> Matrix:
    counts = tuple(tuple(100 if i == j else 3 for j in range(10)) for i in range(10))
    parts = tuple(
        MatrixPanel(title=f"{head} + {loss}: 50.0 %", head=head, loss=loss, counts=counts) for head, loss in PAIRS
    )
    return Matrix(**WORDS, rows="true class", columns="predicted class", panels=parts[:panels])


def images() -> Images:
    strips = tuple(
        Strip(title=f"{head} + {loss}: 9 %", head=head, loss=loss, shape=(1, 8, 8), images=((1.0,) * 64,) * 10)
        for head, loss in PAIRS
    )
    return Images(**WORDS, names=tuple("0123456789"), strips=strips)


def plane() -> Plane:
    spots = tuple(Spot(label=f"label_{i}_of_some_length", x=i % 3, y=i, shade=i) for i in range(4))
    parts = tuple(PlanePanel(title=f"{PAIRS[0][0]}, seed 0", head="linear", loss=LOSS, spots=spots) for _ in range(4))
    return Plane(**WORDS, x="component 1", y="component 2", panels=parts)


HARD = {
    "dots": dots(),
    "one panel of dots": dots(1),
    "trade-off": tradeoff(),
    "one trade-off": tradeoff(1),
    "logarithmic trade-off": tradeoff(costs=100),
    "lines": lines(has_legend=False),
    "logarithmic lines": lines(has_legend=False, log="xy"),
    "lines with a legend": lines(has_legend=True, panels=2),
    "radar": radar(),
    "matrix": matrix(12),
    "one matrix": matrix(1),
    "images": images(),
    "plane": plane(),
}


def texts_of(canvas: Any, spots: bool) -> Iterator[Any]:
    """Every text that is seen; those at points of a plane or fields of a matrix only where asked."""
    yield from canvas.texts
    for axis in canvas.axes:
        yield from (axis.title, axis._left_title)
        yield from axis.texts if spots else ()
        for which in (axis.xaxis, axis.yaxis) if axis.axison else ():
            yield from (which.label, which.get_offset_text())
            yield from (tick.label1 for tick in which._update_ticks() if tick.label1.get_visible())


def check(figure: Figure) -> None:
    """Measured by another renderer, at another resolution, than the layout is."""
    with matplotlib.rc_context(figures._SETTINGS):
        canvas = figure.paint()
        canvas.set_dpi(150)
        agg = FigureCanvasAgg(canvas)
        agg.draw()
        renderer, size = agg.get_renderer(), canvas.bbox
        crowded = isinstance(figure, Plane | Matrix)
        boxes = {t: t.get_window_extent(renderer) for t in texts_of(canvas, True) if t.get_text().strip()}
        apart = [t for t in texts_of(canvas, not crowded) if t.get_text().strip()]
    assert apart
    for text, box in boxes.items():
        inside = box.x0 >= -SLACK and box.y0 >= -SLACK and box.x1 <= size.x1 + SLACK and box.y1 <= size.y1 + SLACK
        assert inside, f"{text} leaves the figure"
    for one, other in itertools.combinations(apart, 2):
        width = min(boxes[one].x1, boxes[other].x1) - max(boxes[one].x0, boxes[other].x0)
        height = min(boxes[one].y1, boxes[other].y1) - max(boxes[one].y0, boxes[other].y0)
        assert min(width, height) <= 2 * SLACK, f"{one} and {other} lie on each other"


@pytest.mark.parametrize("figure", HARD.values(), ids=HARD)
def test_nothing_is_cut_off_however_long_names_are(figure: Figure) -> None:
    check(figure)


@pytest.mark.parametrize("name", ["vision", "language", "pixels"])
def test_nothing_is_cut_off_in_the_pictures_of_a_report(name: str) -> None:
    found = list(pictures.for_report(store.read(REPORTS / f"example-{name}")))
    assert len(found) >= 4
    for figure in found:
        check(figure)


def test_the_check_finds_what_is_cut_off_and_what_lies_on_another() -> None:
    class Careless(Dots):
        where: float

        def paint(self) -> Any:
            canvas = super().paint()
            for text in ("a text that somebody adds", "and another"):
                canvas.text(self.where, 0.5, text)
            return canvas

    made = dots(1).model_dump()
    with pytest.raises(AssertionError, match="leaves the figure"):
        check(Careless(**made, where=0.95))
    with pytest.raises(AssertionError, match="lie on each other"):
        check(Careless(**made, where=0.1))


# Many as one.


def pixels(*artists: Any) -> np.ndarray:
    """An inch on each side, fine enough that rounding to whole pixels, which each does its own way, hardly counts."""
    canvas = Canvas(figsize=(1, 1), dpi=RESOLUTION)
    for artist in artists:
        canvas.add_artist(artist)
    agg = FigureCanvasAgg(canvas)
    agg.draw()
    return np.asarray(agg.buffer_rgba())[..., :3].astype(float)


def inches() -> Any:
    return Canvas(figsize=(1, 1), dpi=RESOLUTION).dpi_scale_trans


@pytest.mark.parametrize("filling", ["full", "none", "left", "right", "top", "bottom"])
def test_a_marker_of_many_looks_as_matplotlib_draws_it(filling: str) -> None:
    for marker in MARKERS:
        drawn = Look(FAMILIES["angles"][0], marker, filling, "-")
        alone = Line2D([0.5], [0.5], linestyle="", transform=inches(), **drawn.marker_options(40))
        of_many = pixels(markers([(0.5, 0.5, drawn, 1.0)], 40, inches()))
        assert (of_many < 255).any()
        assert np.abs(of_many - pixels(alone)).mean() < 2, marker


def test_strokes_are_lines_of_the_colours_of_their_groups() -> None:
    ends = [((0.1, y), (0.9, y)) for y in (0.2, 0.4, 0.6, 0.8)]
    colours = ["#0072B2", "#D55E00", "#0072B2", "#D55E00"]
    found = strokes([(c, *pair, c) for c, pair in zip(colours, ends, strict=True)], linewidths=3, transform=inches())
    assert len(found.get_paths()) == 2
    expected = LineCollection(ends, colors=colours, linewidths=3, transform=inches())
    assert np.abs(pixels(found) - pixels(expected)).mean() < 1
