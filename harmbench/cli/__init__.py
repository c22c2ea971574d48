"""The command line: one file per command; each reads arguments, calls the library and shows what it says."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from harmbench.cli import doctor, listing, planning, reporting, running
from harmbench.errors import HarmbenchError, UsageError

app = typer.Typer(
    name="harmbench",
    help="Benchmark harmonic losses and their energy: backbones x distance metrics x losses.",
    epilog="Start with: harmbench run smoke; harmbench report",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Show the version and end.")] = False,
) -> None:
    context.obj = {"debug": debug}
    if version:
        from importlib.metadata import version as version_of

        typer.echo(f"harmbench {version_of('harmbench')}")
        raise typer.Exit


app.command("run")(running.run)
app.command("plan")(planning.plan)
app.command("validate")(planning.validate)
app.command("report")(reporting.report)
app.command("ls")(listing.ls)
app.command("show")(listing.show)
app.command("doctor")(doctor.doctor)


def main() -> None:
    """Run the command line; errors become one line and an exit code, 2 where the user can mend them."""
    try:
        app()
    except HarmbenchError as error:
        if "--debug" in sys.argv:
            raise
        typer.echo(f"harmbench: {error}", err=True)
        sys.exit(2 if isinstance(error, UsageError) else 1)
