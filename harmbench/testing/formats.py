"""The contract of a format.

    render      the same text each time, of any run: whole, of failures alone, without trials
    text        ends with a newline, can be written as UTF-8, takes any cell, differs where the report does
    suffix      one file suffix with its dot

`check_format` runs all of them; each is also a function of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from harmbench.energy.carbon import grid
from harmbench.report import compose
from harmbench.report.formats import Column, Format, Report, Section, Table
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

AWKWARD = (
    "a|b",
    "a\\|b",
    "two\nlines",
    "carriage\r\nreturn",
    "ends in \\",
    "",
    "***",
    "a_b & 5 % {c}",
    "<script>alert('x')</script>",
    'say "no", twice',
    "±μ·é 日本",
    "tab\there",
)


def reports() -> Iterator[tuple[str, Report]]:
    """Reports of a small real run, of one of text, and of runs that lack something, by what they are of."""
    run = sample_run()
    for kind, some in {"a whole run": run, "a run of text": text_run(run), **partial_runs(run)}.items():
        yield kind, compose(some, grid("FRA"))


def with_cells(report: Report, texts: tuple[str, ...]) -> Report:
    """The report with one section alone, whose table has these texts as cells."""
    columns = (Column(label="text", numeric=False), Column(label="number", unit="kg"))
    table = Table(title="t", columns=columns, rows=tuple((text, "1") for text in texts))
    return report.model_copy(update={"sections": (Section(title="s", tables=(table,)),)})


def has_a_suffix(form: Format) -> None:
    """The suffix is that of a file, with its dot, such as `.md`."""
    require(
        re.fullmatch(r"\.[a-z0-9]+(\.[a-z0-9]+)?", form.suffix), f"suffix is '{form.suffix}'; write one such as '.md'"
    )


def renders_every_run(form: Format) -> None:
    """Every run gives text that ends with a newline and can be written as UTF-8."""
    for kind, report in reports():
        text = form.render(report)
        require(isinstance(text, str), f"render gives {type(text).__name__}, not str, of {kind}")
        require(text.endswith("\n"), f"the text does not end with a newline, of {kind}: {text[-20:]!r}")
        text.encode("utf-8")


def gives_the_same_text_twice(form: Format) -> None:
    """The same report gives the same text: no dates, no order of chance."""
    for kind, report in reports():
        require(form.render(report) == form.render(report), f"the same report gives two texts, of {kind}")


def shows_what_it_is_given(form: Format) -> None:
    """Another report gives another text."""
    texts = {kind: form.render(report) for kind, report in reports()}
    require(texts["a whole run"] != texts["no trials"], "a run without trials gives the text of a whole run")


def takes_any_cell(form: Format) -> None:
    """Cells with the characters that formats use themselves are rendered, and their words stay readable."""
    report = next(reports())[1]
    text = form.render(with_cells(report, AWKWARD))
    require(text.endswith("\n"), "a report with awkward cells does not end with a newline")
    text.encode("utf-8")


def needs_no_raw_rows(form: Format) -> None:
    """A format that says it shows no raw rows renders a report without them as one with them."""
    if form.raw:
        raise Skipped("it shows raw rows")
    report = next(reports())[1]
    bare = report.model_copy(update={"measurements": ()})
    require(form.render(bare) == form.render(report), "raw = False, and its text depends on the raw rows")


CONTRACTS: tuple[Contract, ...] = (
    has_a_suffix,
    renders_every_run,
    gives_the_same_text_twice,
    shows_what_it_is_given,
    takes_any_cell,
    needs_no_raw_rows,
    is_written_as_it_is_read,
)


def judge_format(form: Format | type[Format]) -> tuple[Result, ...]:
    """The result of each contract on a format, or on all named variants of a class."""
    return tuple(result for each in components_of(form) for result in judge(each, CONTRACTS))


def check_format(form: Format | type[Format]) -> tuple[Result, ...]:
    """Check a format, or all named variants of a class, against the contract.

    A small real run is trained once in a process, which takes a few seconds.

    Args:
        form: an instance, or a class.

    Returns:
        One result for each variant and contract.

    Raises:
        ContractError: naming every broken contract.

    >>> from harmbench.report.formats import FORMATS
    >>> results = check_format(FORMATS.parse("csv"))
    >>> results[0].contract, results[0].status
    ('has_a_suffix', 'passed')
    """
    return enforce(judge_format(form))
