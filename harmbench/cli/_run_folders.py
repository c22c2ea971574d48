"""Arguments that name run folders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RunFolder = Annotated[
    Path | None, typer.Argument(metavar="[RUN]", help="A run folder; the latest under reports/ unless given.")
]
RunFolders = Annotated[
    list[Path] | None,
    typer.Argument(metavar="[RUN...]", help="Run folders; the latest under reports/ unless given."),
]


def latest_run() -> Path:
    """Return the run folder that was written to last."""
    from harmbench.results import store

    return store.latest(Path("reports"))
