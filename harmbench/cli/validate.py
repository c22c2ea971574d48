"""`harmbench validate`."""

from __future__ import annotations

from pathlib import Path

import typer

from harmbench.cli import _options as o


def validate(suite: o.Suite) -> None:
    """Check a suite file, and list every problem with its path.

    Example: harmbench validate my-suite.yaml
    """
    from harmbench.planning.make import make_plan

    plan = make_plan(suite, {}, ["cpu"], Path("data"))
    typer.echo(f"{suite}: valid, {len(plan.cells)} cells x {plan.suite.seeds} seeds = {len(plan.trials)} trials")
