"""The contract of a plot.

    applies     None, or one line that says why there is nothing to draw, for any run
    figures     with file names of their own, captions that are sentences, the data as a table, and a drawing

`check_plot` runs all of them; each is also a function of its own.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

from harmbench.report import figures
from harmbench.report.formats import Figure
from harmbench.report.plots import Plot
from harmbench.results.store import RunData
from harmbench.testing._contract import (
    Contract,
    Result,
    Skipped,
    components_of,
    enforce,
    is_written_as_it_is_read,
    judge,
    require,
)
from harmbench.testing._sample_run import partial_runs, sample_run, text_run


def _first_figures(plot: Plot, run: RunData) -> tuple[RunData, tuple[Figure, ...]]:
    """A run that has what the plot shows, and its figures."""
    for some in (run, text_run(run)):
        if plot.applies(some) is None:
            return some, plot.figures(some)
    raise Skipped(f"the sample run has nothing to show ({plot.applies(run)}); give a run that has")


def says_why_not(plot: Plot, run: RunData) -> None:
    """`applies` gives None or one line, of runs that lack trials, measurements, curves or files too."""
    for lack, some in {"the whole run": run, **partial_runs(run)}.items():
        reason = plot.applies(some)
        is_line = reason is None or (isinstance(reason, str) and len(reason) > 10 and "\n" not in reason)
        require(is_line, f"applies gives {reason!r}, not None or one line, of a run with {lack}")
    require(plot.applies(partial_runs(run)["no trials"]), "it applies to a run without trials")


def draws_what_it_applies_to(plot: Plot, run: RunData) -> None:
    """Every run to which it applies gives figures that can be painted, though it lacks a part."""
    for lack, some in partial_runs(run).items():
        if plot.applies(some) is None:
            require(plot.figures(some), f"it applies and draws nothing, of a run with {lack}")
            for figure in plot.figures(some):
                require(_drawn(figure), f"{figure.name} is empty, of a run with {lack}")


def has_figures_with_names_of_their_own(plot: Plot, run: RunData) -> None:
    """Figures have distinct names of letters, digits, '_', '-' and '.', which become file names."""
    _, shown = _first_figures(plot, run)
    require(shown, "it applies and has no figures")
    names = [figure.name for figure in shown]
    require(len(set(names)) == len(names), f"two figures have one name: {sorted(names)}")
    for name in names:
        require(re.fullmatch(r"[\w.-]+", name), f"'{name}' is no file name of letters, digits, '_', '-' and '.'")


def has_captions(plot: Plot, run: RunData) -> None:
    """Captions are sentences, and end with a full stop."""
    for figure in _first_figures(plot, run)[1]:
        require(figure.caption.endswith("."), f"the caption of {figure.name} is no sentence: {figure.caption!r}")


def has_its_data_as_a_table(plot: Plot, run: RunData) -> None:
    """Each figure has its data as a table, with a cell for each column."""
    for figure in _first_figures(plot, run)[1]:
        table = figure.table()
        require(table.rows, f"the table of {figure.name} has no rows")
        widths = {len(row) for row in table.rows}
        columns = len(table.columns)
        require(widths == {columns}, f"rows of {figure.name} have {sorted(widths)} cells for {columns} columns")


def can_be_drawn(plot: Plot, run: RunData) -> None:
    """Each figure becomes an SVG, the same one each time."""
    for figure in _first_figures(plot, run)[1]:
        first = _drawn(figure)
        require(first.startswith(b"<?xml"), f"{figure.name} is no SVG: it begins with {first[:20]!r}")
        require(first == _drawn(figure), f"{figure.name} is drawn otherwise the second time")


def shows_a_part_in_reports(plot: Plot, run: RunData) -> None:
    """Reports show no figure that the plot itself does not have."""
    some, shown = _first_figures(plot, run)
    names = {figure.name for figure in shown}
    others = {figure.name for figure in plot.reported(some)} - names
    require(not others, f"reports show figures that the plot does not have: {sorted(others)}")


def _drawn(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figures.draw(figure, buffer, "svg")
    return buffer.getvalue()


CONTRACTS: tuple[Contract, ...] = (
    says_why_not,
    has_figures_with_names_of_their_own,
    has_captions,
    has_its_data_as_a_table,
    can_be_drawn,
    shows_a_part_in_reports,
    draws_what_it_applies_to,
)


def _results(plot: Plot | type[Plot], run: RunData | None) -> Iterator[Result]:
    chosen = run or sample_run()
    for each in components_of(plot):
        yield from judge(each, CONTRACTS, chosen)
        yield from judge(each, (is_written_as_it_is_read,))


def judge_plot(plot: Plot | type[Plot], run: RunData | None = None) -> tuple[Result, ...]:
    """The result of each contract on a plot, or on all named variants of a class.

    Args:
        plot: an instance, or a class.
        run: one that has what the plot shows; by default a small sample run.
    """
    return tuple(_results(plot, run))


def check_plot(plot: Plot | type[Plot], run: RunData | None = None) -> tuple[Result, ...]:
    """Check a plot, or all named variants of a class, against the contract.

    A small real run is trained once in a process, which takes a few seconds.

    Args:
        plot: an instance, or a class.
        run: one that has what the plot shows; by default a small sample run, with the meters of plug-ins too.

    Returns:
        One result for each variant and contract.

    Raises:
        ContractError: naming every broken contract.

    >>> from harmbench.report.plots import PLOTS
    >>> results = check_plot(PLOTS.parse("accuracy"))
    >>> results[0].contract, results[0].status
    ('says_why_not', 'passed')
    """
    return enforce(judge_plot(plot, run))
