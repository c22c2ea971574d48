"""`harmbench compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from harmbench.analysis.compare import Changes


def compare(
    run_a: Annotated[Path, typer.Argument(metavar="RUN_A", help="The run folder before.")],
    run_b: Annotated[Path, typer.Argument(metavar="RUN_B", help="The run folder after.")],
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-on",
            metavar="GATES",
            help="Gates, comma-separated: accuracy:-0.5%,throughput:-5%,memory:+10%. A decided change beyond one ends "
            "with exit code 1.",
        ),
    ] = None,
    measures: Annotated[
        list[str] | None,
        typer.Option("--measures", help="Measures, comma-separated: accuracy, throughput, memory, energy or any name."),
    ] = None,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Compare runs of other machines, data, protocols or kernels too.")
    ] = False,
    everything: Annotated[bool, typer.Option("--all", help="Show what did not change, too.")] = False,
    format: Annotated[str, typer.Option("--format", help="table, md or json.")] = "table",  # noqa: A002
) -> None:
    """Compare two runs of one experiment, cell by cell and seed by seed; a gate for CI.

    Example: harmbench compare reports/before reports/after --fail-on accuracy:-0.5%,throughput:-5%
    """
    from harmbench.analysis import compare as comparing
    from harmbench.analysis.time_to_target import read_run
    from harmbench.errors import OptionError
    from harmbench.registry import split_names
    from harmbench.report import compare as changes_report

    if format not in ("table", "md", "json"):
        raise OptionError(f"--format {format}: write table, md or json")
    gates = comparing.parse_gates(fail_on or [])
    changes = comparing.compare(read_run(run_a), read_run(run_b), split_names(measures or []), gates, anyway)
    if format == "json":
        typer.echo(changes_report.as_json(changes))
    else:
        _show(changes, everything, as_markdown=format == "md")
    if changes.missed:
        raise typer.Exit(1)


def _show(changes: Changes, everything: bool, as_markdown: bool) -> None:
    from harmbench.report import compare as changes_report

    table = changes_report.table(changes, everything)
    if as_markdown:
        from harmbench.report.formats.md import table_lines

        typer.echo("\n".join(table_lines(table)).strip() + "\n" if table.rows else "", nl=bool(table.rows))
    elif table.rows:
        from harmbench.cli._tables import show

        show(table)
    for note in changes.notes:
        typer.echo(f"- {note}" if as_markdown else note)
    typer.echo(f"\n**{changes.summary}**" if as_markdown else changes.summary)
