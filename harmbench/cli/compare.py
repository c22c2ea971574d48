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
            help="Gates, comma-separated: accuracy:-0.5%,throughput:-5%,memory:+10%. A decided change beyond a gate "
            "gives exit code 1.",
        ),
    ] = None,
    measures: Annotated[
        list[str] | None,
        typer.Option("--measures", help="Measures, comma-separated: accuracy, throughput, memory, energy or any name."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Compare runs of different machines, data, protocols or kernels.")
    ] = False,
    anyway: Annotated[bool, typer.Option("--anyway", hidden=True, help="Old name of --force.")] = False,
    show_all: Annotated[bool, typer.Option("--all", help="Also show measures that did not change.")] = False,
    format: Annotated[str, typer.Option("--format", help="table, md or json.")] = "table",  # noqa: A002
) -> None:
    """Compare two runs of one experiment, cell by cell and seed by seed, with gates for CI.

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
    changes = comparing.compare(read_run(run_a), read_run(run_b), split_names(measures or []), gates, force or anyway)
    if format == "json":
        typer.echo(changes_report.as_json(changes))
    else:
        _show(changes, show_all, as_markdown=format == "md")
    if changes.missed:
        raise typer.Exit(1)


def _show(changes: Changes, show_all: bool, as_markdown: bool) -> None:
    from harmbench.report import compare as changes_report

    table = changes_report.table(changes, show_all)
    if as_markdown:
        from harmbench.report.formats.md import table_lines

        if table.rows:
            typer.echo("\n".join(table_lines(table)).strip() + "\n")
        for note in changes.notes:
            typer.echo(f"- {note}")
        typer.echo(f"\n**{changes.summary}**")
        return
    if table.rows:
        from harmbench.cli._tables import show

        show(table)
    for note in changes.notes:
        typer.echo(note)
    typer.echo(changes.summary)
