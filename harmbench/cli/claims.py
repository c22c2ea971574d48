"""`harmbench claims`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from harmbench.cli._run_folders import RunFolder, latest_run

if TYPE_CHECKING:
    from harmbench.analysis.claims import Verdict

WIDEST = 110  # characters of a line of text


def claims(
    run: RunFolder = None,
    suite: Annotated[
        str | None,
        typer.Option("--suite", metavar="SUITE", help="Take the claims from this suite instead of the run."),
    ] = None,
    format: Annotated[str, typer.Option("--format", help="table, md or json.")] = "table",  # noqa: A002
) -> None:
    """Judge the claims of a run's suite: supported, refuted, not decided or not testable here, and why.

    Example: harmbench claims --format md
    """
    from harmbench.analysis import claims as judging
    from harmbench.analysis.time_to_target import read_run
    from harmbench.errors import OptionError
    from harmbench.report import claims as claims_report

    if format not in ("table", "md", "json"):
        raise OptionError(f"--format {format}: write table, md or json")
    data = read_run(run or latest_run())
    stated, source = judging.claims_of(data.header, suite)
    verdicts = judging.judge(stated, data.trials)
    if format == "json":
        typer.echo(claims_report.as_json(verdicts))
        return
    if format == "md":
        from harmbench.report.formats.md import table_lines

        typer.echo("\n".join(table_lines(claims_report.table(verdicts))).strip())
        return
    _show(verdicts, f"{claims_report.summary(verdicts)} Claims of {source}; results of {data.folder}.")


def _show(verdicts: Sequence[Verdict], summary: str) -> None:
    """Print a paragraph for each claim, the decided ones first, at most `WIDEST` characters wide."""
    from rich.padding import Padding
    from rich.text import Text

    from harmbench.cli._tables import STYLES, console
    from harmbench.report import claims as claims_report

    page = console(widest=WIDEST)
    for verdict in claims_report.ranked(verdicts):
        page.print(Text.assemble((verdict.verdict, STYLES[verdict.verdict]), "  ", (verdict.claim.id, "bold")))
        lines = [
            Text(verdict.claim.sentence),
            Text(claims_report.result_line(verdict)),
            Text(f"Source: {verdict.claim.source}", "dim"),
        ]
        for line in lines:
            page.print(Padding(line, (0, 0, 0, 2), expand=False))
        page.print()
    page.print(claims_report.NOTE, style="dim")
    page.print(summary)
    if next_step := claims_report.next_step(verdicts):
        page.print(next_step)
