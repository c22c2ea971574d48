"""Progress of a run: a live display on a terminal, plain lines in a pipe."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from harmbench.results.records import TrialRecord
    from harmbench.runner import Summary


class Display(Protocol):
    """Shows what happens in a run."""

    def begin(self, summary: Summary) -> None: ...
    def happened(self, event: Any) -> None: ...
    def finished(self, record: TrialRecord) -> None: ...


@contextmanager
def progress_display() -> Iterator[Display]:
    """The live display on a terminal, else plain lines."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield PlainDisplay()
        return
    with LiveDisplay(console) as display:
        yield display


def line_for(record: TrialRecord) -> str:
    """One line about a finished trial."""
    perplexity = record.value("test_perplexity")
    accuracy = record.value("test_accuracy")
    if perplexity is not None:
        result = f"test perplexity {perplexity:.4g}"
    elif accuracy is not None:
        result = f"test accuracy {100 * accuracy:.2f} %"
    else:
        result = record.reason
    seconds = sum(phase.seconds for phase in record.phases)
    return f"{record.status:8} {record.spec}: {result}, {seconds:.1f} s"


def names(job: dict[str, Any]) -> list[str]:
    """The names of the trials of a job, as `str(record.spec)` gives them."""
    from harmbench.runner.jobs import trials_of

    return [str(spec) for _, spec in trials_of(job)]


class PlainDisplay:
    """Prints a line for each finished trial, with the remaining time."""

    def __init__(self) -> None:
        self._planned = self._done = self._new = 0
        self._start = time.monotonic()

    def begin(self, summary: Summary) -> None:
        if not self._planned:
            self._planned = summary.planned
            self._done = summary.reused
            print(f"{summary.planned} trials, {summary.reused} done before", flush=True)  # noqa: T201

    def happened(self, event: Any) -> None:
        """Print nothing, because a line for each start and step is too much."""

    def finished(self, record: TrialRecord) -> None:
        self._done += 1
        self._new += 1
        remaining = (time.monotonic() - self._start) / self._new * (self._planned - self._done)
        print(f"[{self._done}/{self._planned}, {remaining:.0f} s to go] {line_for(record)}", flush=True)  # noqa: T201


class LiveDisplay:
    """Shows a bar with the remaining time, and below it the running trials. Failed and diverged trials scroll above."""

    def __init__(self, console: Any) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        # Four frames a second: drawing takes processor time, and the processor is being measured.
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("to go"),
            TimeRemainingColumn(),
            console=console,
            refresh_per_second=4,
        )
        self._all: Any = None
        self._running: dict[str, Any] = {}

    def __enter__(self) -> LiveDisplay:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def begin(self, summary: Summary) -> None:
        if self._all is None:
            self._all = self._progress.add_task("trials", total=summary.planned, completed=summary.reused)

    def happened(self, event: Any) -> None:
        first, *others = names(event.job)
        if first not in self._running:
            more = f" and {len(others)} more seed(s), together" if others else ""
            self._running |= dict.fromkeys([first, *others], self._progress.add_task(first + more, total=None))
        if hasattr(event, "steps"):
            self._progress.update(self._running[first], total=event.steps, completed=event.step)

    def finished(self, record: TrialRecord) -> None:
        task = self._running.pop(str(record.spec), None)
        if task is not None and task not in self._running.values():
            self._progress.remove_task(task)
        if record.status != "ok":
            self._progress.console.print(line_for(record), markup=False, highlight=False)
        self._progress.advance(self._all)
