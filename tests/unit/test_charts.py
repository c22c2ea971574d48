"""Charts: nothing is cut off and no two texts lie on each other; many marks as one look like each alone."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Iterator
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Affine2D

from harmbench.report import figures, plots
from harmbench.report.charts import (
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
from harmbench.report.charts._layout import fit, panels_of
from harmbench.report.charts._marks import Marker, Polyline, markers, polylines
from harmbench.report.charts._panel import Panel
from harmbench.report.charts._scale import Kind, Scale, around
from harmbench.report.charts._style import FAMILIES, MARKERS, Look
from harmbench.report.charts._ticks import draw_ticks
from harmbench.report.formats import Figure
from harmbench.results import store
from tests.support.paths import ROOT

REPORTS = ROOT / "reports"
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


def texts_of(canvas: Any) -> Iterator[Any]:
    """Every text that is seen."""
    yield from canvas.texts
    for axis in canvas.axes:
        yield from (axis.title, axis._left_title, *axis.texts)
        yield from axis.get_xticklabels() + axis.get_yticklabels() if axis.axison else ()


def words_inside(figure: Figure) -> set[str]:
    """Labels of points of a plane, and what may stand in fields of a matrix: of these, some lie on each other."""
    if isinstance(figure, Plane):
        return {spot.label for panel in figure.panels for spot in panel.spots}
    return {str(share) for share in range(11, 101)} if isinstance(figure, Matrix) else set()


def check(figure: Figure) -> None:
    """Measured by another renderer, at another resolution, than the layout is."""
    with matplotlib.rc_context(figures._SETTINGS):
        canvas = figure.paint()
        canvas.set_dpi(150)
        agg = FigureCanvasAgg(canvas)
        agg.draw()
        renderer, size = agg.get_renderer(), canvas.bbox
        boxes = {t: t.get_window_extent(renderer) for t in texts_of(canvas) if t.get_text().strip()}
        apart = [text for text in boxes if text.get_text() not in words_inside(figure)]
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
def test_nothing_is_cut_off_in_the_plots_of_a_report(name: str) -> None:
    found = list(plots.for_report(store.read(REPORTS / f"example-{name}")))
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


# Scales and ticks, as matplotlib has them.

Limits = tuple[float, float]


def kind(log: str, which: str) -> Kind:
    return "log" if which in log else "linear"


def panel(log: str, x: Limits, y: Limits, width: float = 3.0) -> Panel:
    (made,) = panels_of(1, (width, 2.0))
    made.x, made.y = Scale(*x, kind(log, "x")), Scale(*y, kind(log, "y"))
    return made


def axes(log: str, x: Limits, y: Limits) -> Any:
    """What matplotlib makes of the same."""
    axis = Canvas(figsize=(3.0, 2.0), dpi=72).add_axes((0, 0, 1, 1))
    axis.set(xscale=kind(log, "x"), yscale=kind(log, "y"), xlim=x, ylim=y)
    axis.tick_params(which="both", length=3.5, pad=3.5)
    return axis


@pytest.mark.parametrize(
    ("log", "x", "y"),
    [
        ("", (0.3, 97.2), (-2.0, 102.0)),
        ("", (96.4123, 96.4187), (1e-9, 4e-9)),
        ("", (5.0, -3.0), (2.3e7, 1.1e5)),
        ("x", (3.0, 4e5), (0.0, 0.0101)),
        ("x", (2e-9, 4e12), (0.0, 0.0101)),
        ("xy", (2.0, 7.0), (1e-6, 2e6)),
        ("xy", (30.0, 45.0), (5e3, 20.0)),
    ],
)
def test_ticks_are_where_and_what_matplotlib_makes_them(log: str, x: Limits, y: Limits) -> None:
    with matplotlib.rc_context(figures._SETTINGS | {"axes.formatter.useoffset": False}):
        made, axis = panel(log, x, y), axes(log, x, y)
        draw_ticks(made)
        labels = {described(text) for text in made.canvas.texts if text.get_text()}
        factors = {label for label in labels if label[0].startswith("1e")}
        for which, across in ((axis.xaxis, "center"), (axis.yaxis, "right")):
            found = {label for label in labels - factors if label[1] == across}
            assert len(found) >= 2
            assert found in list(labels_of(which))
        assert {factor for factor, *_ in factors} == {axis.yaxis.get_offset_text().get_text()} - {""}


def labels_of(which: Any) -> Iterator[set[tuple[str, str, int, int]]]:
    """Of an axis of matplotlib, with fewer and fewer ticks if it has round numbers."""
    for most in range(6, 0, -1):
        if isinstance(which.get_major_locator(), MaxNLocator):
            which.get_major_locator().set_params(nbins=most)
        which.figure.draw_without_rendering()
        end, along = (72 * 3, 2) if which.axis_name == "x" else (72 * 2, 3)
        labels = [described(label) for label in which.get_ticklabels(which="both") if label.get_text()]
        yield {label for label in labels if 0 <= label[along] <= end}


def described(text: Any) -> tuple[str, str, int, int]:
    """What it says, how it is aligned, and where, in points from the corner of the figure."""
    x, y = text.get_transform().transform(text.get_position())
    return text.get_text(), text.get_horizontalalignment(), round(x), round(y)


@pytest.mark.parametrize("margin", [0.05, 0.12])
@pytest.mark.parametrize(
    ("log", "values"),
    [
        ("", [3.0, -1.0, 7.0]),
        ("", [5.0, 5.0]),
        ("", [0.0]),
        ("", []),
        ("x", [2.0, 300.0, 0.0, -4.0]),
        ("x", [100.0]),
        ("x", [50.0, 50.0]),
    ],
)
def test_a_scale_around_values_is_the_one_that_matplotlib_finds(log: str, values: list[float], margin: float) -> None:
    axis = Canvas().add_subplot()
    axis.set_xscale(kind(log, "x"))
    axis.set_xmargin(margin)
    axis.update_datalim([(value, 0.0) for value in values] or np.empty((0, 2)))
    axis.autoscale_view()
    assert around([*values, math.nan], kind(log, "x"), margin)[:2] == pytest.approx(axis.get_xlim())


def test_labels_of_ticks_do_not_touch_however_long_they_are() -> None:
    for limits in ((1e5, 9e5), (96.4123, 96.4187), (0.0, 1.0), (-123456.7, -123456.5)):
        with matplotlib.rc_context(figures._SETTINGS):
            made = panel("", limits, (0, 1), width=1.7)
            draw_ticks(made, named="x")
            made.canvas.draw_without_rendering()
            boxes = [text.get_window_extent() for text in made.canvas.texts if text.get_text()]
        assert boxes
        assert all(other.x0 - one.x1 > 2 for one, other in itertools.pairwise(boxes)), limits


def test_titles_of_a_row_stand_in_line_where_only_one_panel_names_its_factor() -> None:
    with matplotlib.rc_context(figures._SETTINGS):
        canvas = lines(has_legend=True, panels=2).paint()
        canvas.draw_without_rendering()
        titles = [
            text for text in canvas.texts if LOSS in text.get_text() and text.get_horizontalalignment() == "center"
        ]
        factors = [text for text in canvas.texts if text.get_text() == "1e6"]
        assert len(titles) == 2
        assert len(factors) == 1
        assert len({title.get_window_extent().y0 for title in titles}) == 1
        assert titles[0].get_window_extent().y0 > factors[0].get_window_extent().y1


def test_steps_have_whole_numbers() -> None:
    line = Line(head="linear", loss="harmonic", what="seed 0", x=(0.0, 1.0, 2.0), y=(0.0, 1.0, 2.0))
    with matplotlib.rc_context(figures._SETTINGS):
        canvas = Lines(**WORDS, x="step", y="loss", panels=(LinePanel(title="", lines=(line,)),)).paint()
    below = [text.get_text() for text in canvas.texts if text.get_verticalalignment() == "top"]
    assert below == ["0", "1", "2"]


def test_a_matrix_names_each_class_in_line_with_its_numbers() -> None:
    with matplotlib.rc_context(figures._SETTINGS):
        texts = matrix(1).paint().texts
    for aligned, along in (("top", 0), ("center_baseline", 1)):
        labels = {t.get_text(): round(t.get_position()[along]) for t in texts if t.get_verticalalignment() == aligned}
        assert sorted(labels) == list("0123456789")
        diagonal = {round(t.get_position()[along]) for t in texts if t.get_text() == "79"}
        assert diagonal == set(labels.values())


# Panels.


@pytest.mark.parametrize("log", ["", "xy"])
def test_a_place_in_points_is_where_its_values_are_once_all_is_laid_out(log: str) -> None:
    x, y, pairs = (1.0, 2e5), (3e6, 1.0), [(2.0, 0.01), (1e5, 1e6)]
    expected = axes(log, x, y).transData.transform(pairs)
    with matplotlib.rc_context(figures._SETTINGS):
        panels = panels_of(5, (3.0, 2.0), most=3)
        for made in panels:
            made.x, made.y = Scale(*x, kind(log, "x")), Scale(*y, kind(log, "y"))
        canvas = fit(panels, x="below", y="beside")
        canvas.set_dpi(150)
    corners = [made.points.transform((0, 0)) for made in panels]
    assert len({tuple(corner.round()) for corner in corners}) == 5
    for made, corner in zip(panels, corners, strict=True):
        assert made.places(pairs) == pytest.approx(expected)
        assert made.points.transform(made.places(pairs)) == pytest.approx(corner + expected * 150 / 72)


def test_axes_of_matplotlib_lie_in_the_panel_that_has_them() -> None:
    panels = panels_of(4, (1.5, 1.0), most=2)
    shown = [made.axes() for made in panels]
    panels[0].text(-30, 0, "beside")
    canvas = fit(panels)
    canvas.set_dpi(150)
    for made, axis in zip(panels, shown, strict=True):
        assert axis.bbox.get_points() == pytest.approx(made.points.transform([(0, 0), (1.5 * 72, 72)]))


def test_nothing_is_drawn_outside_a_panel_unless_it_is_meant_to_be() -> None:
    def ink(is_clipped: bool) -> tuple[Any, Any]:
        left, right = panels_of(2, (1.0, 1.0))
        left.add(polylines([Polyline([(36, 36), (144, 36)], "black", width=4)]), is_clipped)
        canvas = fit([left, right])
        agg = FigureCanvasAgg(canvas)
        agg.draw()
        columns = np.flatnonzero((np.asarray(agg.buffer_rgba())[..., :3] < 128).any((0, 2)))
        return columns.max(), left.points.transform((72, 0))[0]

    end, edge = ink(is_clipped=True)
    assert end == pytest.approx(edge, abs=1)
    end, edge = ink(is_clipped=False)
    assert end == pytest.approx(edge + 72, abs=1)


@pytest.mark.parametrize(("width", "height"), [(1.0, 5.0), (5.0, 1.0), (1.0, 1.1), (1.0, 0.0)])
def test_what_is_as_far_apart_in_both_components_is_as_long(width: float, height: float) -> None:
    spots = tuple(Spot(label="", x=x, y=y, shade=0) for x, y in ((0, 0), (width, 0), (0, height)))
    shown = PlanePanel(title="", head="linear", loss=LOSS, spots=spots)
    canvas = Plane(**WORDS, x="component 1", y="component 2", panels=(shown,)).paint()
    (places,) = [artist.get_offsets() for artist in canvas.artists if len(artist.get_offsets()) == len(spots)]
    assert (places > 0).all()
    assert (places < (2.6 * 72, 2.7 * 72)).all()
    across, upward = places[1, 0] - places[0, 0], places[2, 1] - places[0, 1]
    assert max(across, upward) > 0.7 * 2.6 * 72
    assert across * height == pytest.approx(upward * width)


# Many as one.


def test_an_svg_is_what_matplotlib_prints() -> None:
    for figure in (dots(2), radar(), images(), lines(has_legend=True, log="x")):
        with matplotlib.rc_context(figures._SETTINGS):
            target, canvas = io.StringIO(), figure.paint()
            canvas.set_dpi(figures.RESOLUTION)
            FigureCanvasSVG(canvas).print_svg(target, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
        assert figures._drawn(figure, "svg").decode() == figures._slim(target.getvalue())


def test_a_tick_of_equal_seeds_is_darker() -> None:
    dot = Dot(head="cosine", loss="harmonic", mean=2.0, half_width=None, values=(1.0, 2.0, 2.0, *[3.0] * 20))
    shown = DotPanel(title="", dots=(dot,))
    canvas = Dots(**WORDS, axis="a", panels=(shown,), limits=(0.0, 10.0)).paint()
    found = {
        round(path.vertices[0][0] / (0.21 * 72)): color[3]
        for collection in canvas.artists
        for path, color in zip(collection.get_paths(), collection.get_edgecolors(), strict=True)
        if collection.get_zorder() == 1.5 and len(path.vertices) == 2
    }
    assert found == {1: pytest.approx(0.45), 2: pytest.approx(1 - 0.55**2), 3: pytest.approx(1 - 0.55**8)}


def pixels(*artists: Any) -> np.ndarray:
    """An inch on each side, fine enough that rounding to whole pixels, which each does its own way, hardly counts."""
    canvas = Canvas(figsize=(1, 1), dpi=RESOLUTION)
    for artist in artists:
        canvas.add_artist(artist)
    agg = FigureCanvasAgg(canvas)
    agg.draw()
    return np.asarray(agg.buffer_rgba())[..., :3].astype(float)


def points() -> Any:
    return Affine2D().scale(1 / 72) + Canvas(figsize=(1, 1), dpi=RESOLUTION).dpi_scale_trans


@pytest.mark.parametrize("filling", ["full", "none", "left", "right", "top", "bottom"])
def test_a_marker_of_many_looks_as_matplotlib_draws_it(filling: str) -> None:
    for marker in MARKERS:
        drawn = Look(FAMILIES["angles"], marker, filling, "-")
        alone = Line2D([36], [36], linestyle="", transform=points(), **drawn.marker_options(40))
        of_many = pixels(markers([Marker(36, 36, drawn)], 40, transform=points()))
        assert (of_many < 255).any()
        assert np.abs(of_many - pixels(alone)).mean() < 2, marker


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(MARKERS, 2)))
def test_markers_of_one_color_that_lie_on_each_other_leave_no_hole(one: str, other: str) -> None:
    both = [Marker(36, 36, Look("#000000", marker, "full", "-")) for marker in (one, other)]
    made = markers(both, 40, transform=points())
    assert len(made.get_paths()) == 1
    alone = [pixels(markers([marker], 40, transform=points())) for marker in both]
    assert np.abs(pixels(made) - np.minimum(*alone)).mean() < 1


def test_lines_of_one_look_are_one_path_and_look_as_each_alone() -> None:
    ends = [[(7, y), (30, math.nan if y == 40 else y), (50, y), (65, y + 5)] for y in (10, 25, 40, 55)]
    looks = [("#0072B2", "-", 3.0), (("#D55E00", 0.5), "--", 1.0)] * 2
    found = polylines([Polyline(line, *drawn) for line, drawn in zip(ends, looks, strict=True)], transform=points())
    assert len(found.get_paths()) == 2
    colors, styles, widths = zip(*looks, strict=True)
    expected = LineCollection(ends, colors=colors, linestyles=styles, linewidths=widths, transform=points())
    assert np.abs(pixels(found) - pixels(expected)).mean() < 1
