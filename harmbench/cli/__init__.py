"""The command line. One file per command reads arguments, calls the library and prints the result."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from harmbench._import_path import drop_current_folder
from harmbench.cli import _options as o
from harmbench.cli import bench, check, claims, compare, doctor, ls, plan, plot, report, run, show, validate
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
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks; anywhere on the line.")] = False,  # noqa: ARG001 - main reads it
    version: Annotated[bool, typer.Option("--version", help="Show the version and end.")] = False,
) -> None:
    if version:
        from harmbench import __version__

        typer.echo(f"harmbench {__version__}")
        raise typer.Exit


app.command("run")(run.run)
app.command("plan")(plan.plan)
app.command("validate")(validate.validate)
app.command("report")(report.report)
app.command("plot")(plot.plot)
app.command("claims")(claims.claims)
app.command("compare")(compare.compare)
app.command("ls")(ls.ls)
app.command("show")(show.show)
app.command("check")(check.check)
app.command("doctor")(doctor.doctor)
app.add_typer(bench.app, name="bench")


def main() -> None:
    """Run the command line. An error becomes one line and an exit code, which is 2 if the user can mend it."""
    drop_current_folder()
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        sys.exit(app(arguments or ["--help"], standalone_mode=False, obj=o.OwnProcess()) or 0)
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        line, code = _as_one_line(error)
        typer.echo(f"harmbench: {line}", err=True)
        sys.exit(code)


def _as_one_line(error: Exception) -> tuple[str, int]:
    """The message of an error on one line, and the exit code."""
    if isinstance(error, HarmbenchError):
        return str(error), 2 if isinstance(error, UsageError) else 1
    if hasattr(error, "format_message"):  # the parser's own: a wrong option, a missing argument
        command = getattr(getattr(error, "ctx", None), "command_path", "harmbench")
        return f"{' '.join(error.format_message().split())} See `{command} --help`.", 2
    if isinstance(error, typer.Abort):
        return "stopped", 130
    message = " ".join(f"{type(error).__name__}: {error}".split())
    return f"unexpected {message}. This is a defect; `harmbench --debug ...` shows where", 1
