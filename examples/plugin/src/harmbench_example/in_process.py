"""Trials in the process of the command."""

from __future__ import annotations

import traceback
from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, TypeVar

from harmbench.executors import (
    Event,
    Executor,
    Finished,
    JobMaker,
    OpenSource,
    Progress,
    Session,
    Started,
    Task,
)

if TYPE_CHECKING:
    from harmbench.energy.source import EnergySource
    from harmbench.results.records import EnergyReading

J = TypeVar("J")
R = TypeVar("R")


class InProcess(Executor):
    """In the process of the command, one trial after the other: for debuggers and profilers.

    A trial that crashes the interpreter ends the run, and time limits do not apply. `local` has neither limitation.
    """

    name: ClassVar[str] = "in_process"

    def session(
        self, task: Task[J, R], devices: Sequence[str], open_source: OpenSource, preload: Sequence[str] = ()
    ) -> Session[J, R]:
        return _InProcessSession(task, devices, open_source, preload)


class _InProcessSession(Session[J, R]):
    """Devices by turns: all jobs of the first device, then what it left for the next."""

    def run(self, makers: Sequence[JobMaker[J]]) -> Generator[Event[J, R]]:
        waiting = iter(makers)
        for device in self.devices:
            with self.open_source(device, self) as source:
                yield from self._run_device(device, source, waiting)

    def _run_device(self, device: str, source: EnergySource, waiting: Iterator[JobMaker[J]]) -> Generator[Event[J, R]]:
        for make in waiting:
            job = None if self.stopping.is_set() else make(device, source)
            if job is None:
                return
            yield Started(job, device)
            link = _DirectLink(self, source)
            try:
                result = self.task(job, link)
            except Exception as error:  # noqa: BLE001 - whatever a trial raises is its result
                reason = " ".join(f"{type(error).__name__}: {error}".split())
                yield Finished(job, device, None, failure=reason, traceback=traceback.format_exc())
                continue
            for step, steps in link.reported:
                yield Progress(job, step, steps)
            yield Finished(job, device, result)


class _DirectLink:
    """Answers a task in its own process. The session passes its progress on when it has ended."""

    def __init__(self, session: Session[J, R], source: EnergySource) -> None:
        self._session, self._source = session, source
        self.reported: list[tuple[int, int]] = []

    def read_energy(self) -> EnergyReading:
        return self._session.reading(self._source)

    def progress(self, step: int, steps: int) -> None:
        self.reported.append((step, steps))
