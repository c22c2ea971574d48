"""The public contracts of formats and plots (`harmbench.testing`), over every registered one, and what they catch."""

from __future__ import annotations

import itertools
from typing import Any, ClassVar

import pytest

from harmbench.errors import ContractError
from harmbench.report.charts import Dot, DotPanel, Dots
from harmbench.report.formats import FORMATS, Format, Report
from harmbench.report.plots import PLOTS, Plot
from harmbench.testing import check_format, check_plot, formats, plots
from harmbench.testing._contract import Skipped, is_written_as_it_is_read
from harmbench.testing._sample_run import sample_run

pytestmark = pytest.mark.slow  # twelve trials are trained first


@pytest.mark.parametrize("contract", formats.CONTRACTS, ids=lambda contract: contract.__name__)
@pytest.mark.parametrize("form", FORMATS.every_variant(), ids=str)
def test_contract_of_formats(form, contract):
    try:
        contract(form)
    except Skipped as skipped:
        pytest.skip(str(skipped))


@pytest.mark.parametrize("contract", plots.CONTRACTS, ids=lambda contract: contract.__name__)
@pytest.mark.parametrize("plot", PLOTS.every_variant(), ids=str)
def test_contract_of_plots(plot, contract):
    contract(plot, sample_run())


def test_the_sample_run_has_what_every_plot_shows():
    for plot in PLOTS.every_variant():
        assert "skipped" not in {result.status for result in check_plot(plot)}, plot


# Wrong formats.


class Lines(Format):
    """The summary as lines; a correct format."""

    name: ClassVar[str] = "lines"
    suffix: ClassVar[str] = ".txt"
    width: int = 80

    def render(self, report: Report) -> str:
        return "\n".join([report.title, *report.summary]) + "\n"


class WithoutDot(Lines):
    suffix: ClassVar[str] = "txt"


class WithoutNewline(Lines):
    def render(self, report):
        return super().render(report).rstrip()


class NeedsAFigure(Lines):
    def render(self, report):
        return report.figures[0].caption + "\n"


CLOCK = itertools.count()


class Dated(Lines):
    def render(self, report):
        return f"{next(CLOCK)}\n"


class TitleOnly(Lines):
    def render(self, report):
        return f"{report.title}\n"


class AsciiOnly(Lines):
    def render(self, report):
        cells = [cell for section in report.sections for table in section.tables for row in table.rows for cell in row]
        return super().render(report) + " ".join(cells).encode("latin-1").decode("latin-1") + "\n"


class CountsRawRows(Lines):
    raw: ClassVar[bool] = False

    def render(self, report):
        return f"{len(report.measurements)} rows\n"


class HidesItsOption(Lines):
    def shown_options(self):
        return {}


WRONG_FORMATS = [
    (WithoutDot(), formats.has_a_suffix, "suffix is 'txt'"),
    (WithoutNewline(), formats.renders_every_run, "does not end with a newline, of a whole run"),
    (Dated(), formats.gives_the_same_text_twice, "the same report gives two texts"),
    (TitleOnly(), formats.shows_what_it_is_given, "gives the text of a whole run"),
    (CountsRawRows(), formats.needs_no_raw_rows, "its text depends on the raw rows"),
    (HidesItsOption(width=70), is_written_as_it_is_read, "read back"),
]


@pytest.mark.parametrize(
    ("form", "contract", "reason"), WRONG_FORMATS, ids=[type(form).__name__ for form, _, _ in WRONG_FORMATS]
)
def test_wrong_format_is_caught(form, contract, reason):
    with pytest.raises(ContractError, match=reason):
        contract(form)


@pytest.mark.parametrize(
    ("form", "contract"),
    [
        (NeedsAFigure(), "renders_every_run: raises IndexError"),
        (AsciiOnly(), "takes_any_cell: raises UnicodeEncodeError"),
    ],
    ids=["NeedsAFigure", "AsciiOnly"],
)
def test_a_format_that_raises_is_caught(form, contract):
    with pytest.raises(ContractError, match=contract):
        check_format(form)


def test_the_format_that_the_wrong_ones_come_from_is_right():
    check_format(Lines(width=70))


# Wrong plots.


class Losses(Plot):
    """Negative log-likelihood of every trial; a correct plot."""

    name: ClassVar[str] = "losses"
    how: str = "right"

    def _values(self, run: Any) -> list[Any]:
        return [(t.spec, t.value("test_nll")) for t in run.trials if t.value("test_nll") is not None]

    def applies(self, run):
        return None if self._values(run) else "no trial has test_nll; put the meter quality into the suite"

    def figures(self, run):
        dots = tuple(Dot(head=s.head, loss=s.loss, mean=v, half_width=None) for s, v in self._values(run))
        panel = DotPanel(title="all trials", dots=dots)
        return (Dots(name=self.name, caption="A dot for each trial.", axis="nat", panels=(panel,)),)


class AppliesToNothing(Losses):
    def applies(self, run):
        return None


class TwoLines(Losses):
    def applies(self, run):
        return super().applies(run) and "no trial has test_nll;\nput the meter quality into the suite"


class OneName(Losses):
    def figures(self, run):
        return super().figures(run) * 2


class NoCaption(Losses):
    def figures(self, run):
        return tuple(figure.model_copy(update={"caption": "dots"}) for figure in super().figures(run))


class NoRows(Losses):
    def figures(self, run):
        empty = DotPanel(title="all trials", dots=())
        return tuple(figure.model_copy(update={"panels": (empty,)}) for figure in super().figures(run))


class Jittered(Losses):
    def figures(self, run):
        (figure,) = super().figures(run)
        return (JitteredDots(**dict(figure)),)


class JitteredDots(Dots):
    """Names its axis anew each time that it is drawn."""

    def paint(self):
        return Dots(**{**dict(self), "axis": f"nat {next(CLOCK)}"}).paint()


class ReportsAnother(Losses):
    def reported(self, run):
        return tuple(figure.model_copy(update={"name": "another"}) for figure in self.figures(run))


class DrawsNothing(Losses):
    def figures(self, run):
        return super().figures(run) if len({t.spec.seed for t in run.trials}) > 1 else ()


class HidesThePlotsOption(Losses):
    def shown_options(self):
        return {}


WRONG_PLOTS = [
    (AppliesToNothing(), plots.says_why_not, "it applies to a run without trials"),
    (TwoLines(), plots.says_why_not, "not None or one line"),
    (OneName(), plots.has_figures_with_names_of_their_own, "two figures have one name"),
    (NoCaption(), plots.has_captions, "the caption of losses is no sentence"),
    (NoRows(), plots.has_its_data_as_a_table, "the table of losses has no rows"),
    (Jittered(), plots.can_be_drawn, "drawn otherwise the second time"),
    (ReportsAnother(), plots.shows_a_part_in_reports, "reports show figures that the plot does not have"),
    (DrawsNothing(), plots.draws_what_it_applies_to, "it applies and draws nothing, of a run with one seed"),
]


@pytest.mark.parametrize(
    ("plot", "contract", "reason"), WRONG_PLOTS, ids=[type(plot).__name__ for plot, _, _ in WRONG_PLOTS]
)
def test_wrong_plot_is_caught(plot, contract, reason):
    with pytest.raises(ContractError, match=reason):
        contract(plot, sample_run())


def test_each_contract_has_a_wrong_format_or_plot():
    assert {contract for _, contract, _ in WRONG_FORMATS} >= set(formats.CONTRACTS) - {formats.takes_any_cell}
    assert {contract for _, contract, _ in WRONG_PLOTS} == set(plots.CONTRACTS)


def test_the_plot_that_the_wrong_ones_come_from_is_right():
    check_plot(Losses())
    with pytest.raises(ContractError, match="read back"):
        is_written_as_it_is_read(HidesThePlotsOption(how="wrong"))
