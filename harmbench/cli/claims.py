"""`harmbench claims`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harmbench.cli.reporting import RunFolder

if TYPE_CHECKING:
    from harmbench.analysis.claims import Verdict
    from harmbench.planning.suite import Claim

WIDEST = 110  # characters of a line of text


def claims(
    run: RunFolder = None,
    suite: Annotated[
        str | None,
        typer.Option("--suite", metavar="SUITE", help="Take the claims from this suite, and not the run's own."),
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
    from harmbench.results import store

    if format not in ("table", "md", "json"):
        raise OptionError(f"--format {format}: write table, md or json")
    data = read_run(run or store.latest(Path("reports")))
    stated, source = _claims(data.header, suite)
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
    """A block for each claim, the decided ones first; as wide as the terminal, and no wider than one reads."""
    from rich.padding import Padding
    from rich.text import Text

    from harmbench.cli._tables import STYLES, console
    from harmbench.report import claims as claims_report

    page = console(widest=WIDEST)
    for verdict in claims_report.ranked(verdicts):
        claim, decisive = verdict.claim, verdict.decisive
        page.print(Text.assemble((verdict.verdict, STYLES[verdict.verdict]), "  ", (claim.id, "bold")))
        lines = [Text(claim.sentence)]
        if decisive and decisive.text:
            pairs = f"{decisive.pairs} seed{'s' if decisive.pairs != 1 else ''}"
            found = f"{claim.measure} {decisive.text} against {claim.baseline}, {pairs}"
            lines.append(Text(f"Found: {found}; {verdict.reason}."))
        else:
            lines.append(Text(f"Why: {verdict.reason}."))
        lines.append(Text(f"Source: {claim.source}", "dim"))
        for line in lines:
            page.print(Padding(line, (0, 0, 0, 2), expand=False))
        page.print()
    page.print(claims_report.NOTE, style="dim")
    page.print(summary)
    if seeds := [v.seeds_needed for v in verdicts if v.seeds_needed]:
        page.print(f"Next: the same `harmbench run` with --seeds {min(seeds)} may decide the nearest of the open ones.")


def _claims(header: dict[str, Any], suite: str | None) -> tuple[tuple[Claim, ...], str]:
    """The claims to judge, and where they come from: a suite that was asked for, the run's own, or the shipped ones of
    its name."""
    from harmbench.errors import UsageError
    from harmbench.planning import suite as suites

    name = header["suite"]["name"]
    recorded = suites.check_claims(header["suite"].get("claims", ()), f"{name}'s run.json")
    if suite or (not recorded and name in suites.shipped()):
        found = suites.load(suite or name)
        recorded, source = found.claims, f"the suite {suite or name}" + ("" if suite else " as shipped")
    else:
        source = "the run"
    if not recorded:
        raise UsageError(f"{source} makes no claims; `--suite SUITE` names one that does, such as vision")
    return recorded, source
