"""Trials on this machine: one worker for each device, one fresh process for each trial.

    worker thread (one per device)                     trial process
      long-lived energy source                           runs the task
      waits, blocked, on the pipe  <--- "read" --------  at each phase border
                                   ---- joules ------->
                                   <--- "progress" ----  after each validation
                                   <--- "done" --------  the record

Processes come from a fork server that has torch loaded already: one starts in well under 0.1 s. A trial whose parent
is gone finds the pipe closed at its next border and ends.
"""

from __future__ import annotations

import multiprocessing as mp
import queue
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from typing import Any, Generic, TypeVar

from harmbench.energy.source import EnergySource
from harmbench.results.records import COMPONENTS, EnergyReading

J = TypeVar("J")  # a job: picklable
R = TypeVar("R")  # its result: picklable


@dataclass(frozen=True)
class Started(Generic[J]):
    """A trial process started on a device."""

    job: J
    device: str


@dataclass(frozen=True)
class Progress(Generic[J]):
    """How far a running trial is."""

    job: J
    step: int
    steps: int


@dataclass(frozen=True)
class Finished(Generic[J, R]):
    """A trial process ended: with its result, or with what it died of."""

    job: J
    device: str
    result: R | None
    failure: str = ""
    traceback: str = ""


class PipeLink:
    """The trial's end of the pipe; fits `harmbench.runner.trial.Link`."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def read_energy(self) -> EnergyReading:
        self._pipe.send(("read", None))
        reading: EnergyReading = self._pipe.recv()
        return reading

    def progress(self, step: int, steps: int) -> None:
        self._pipe.send(("progress", (step, steps)))


class LocalExecutor(Generic[J, R]):
    """Runs jobs in fresh processes, one at a time on each device.

    Args:
        task: a module-level function of (job, link) -> result, run in the trial's process.
        devices: names of devices.
        source: opens the energy source of one device.
        preload: modules that the fork server loads once for all.
    """

    def __init__(
        self,
        task: Callable[[J, PipeLink], R],
        devices: Sequence[str],
        source: Callable[[str], AbstractContextManager[EnergySource]],
        preload: Sequence[str],
    ) -> None:
        self._task, self._devices, self._source = task, devices, source
        kind = "forkserver" if "forkserver" in mp.get_all_start_methods() else "spawn"
        self._context = mp.get_context(kind)
        self._context.set_forkserver_preload(list(preload))
        self._running: dict[str, Any] = {}
        self.stopping = threading.Event()  # whoever waits in a worker, waits for this too
        self._gate = threading.Lock()  # no process starts once the stop has begun

    def run(
        self, jobs: Sequence[Callable[[str, EnergySource], J | None]]
    ) -> Generator[Started[J] | Progress[J] | Finished[J, R]]:
        """Run all jobs; yields what happens, as it happens.

        Closing the iterator early ends the running processes; their jobs have no `Finished`.

        Args:
            jobs: each makes its job once its device and that device's energy source are known, when what ran there
                before has ended; or makes None, after which that device takes no more.
        """
        if self._context.get_start_method() == "forkserver":
            forkserver.ensure_running()  # it loads its modules while the energy source starts
        waiting = deque(jobs)
        events: queue.Queue[Any] = queue.Queue()
        workers = [
            threading.Thread(target=self._work, args=(device, waiting, events), daemon=True) for device in self._devices
        ]
        for worker in workers:
            worker.start()
        left = len(workers)
        try:
            while left:
                event = events.get()
                if event is None:
                    left -= 1
                elif isinstance(event, BaseException):
                    raise event
                else:
                    yield event
        finally:
            self.stop()
            for worker in workers:
                worker.join()

    def stop(self) -> None:
        """Start nothing more, and end what runs; from any thread."""
        with self._gate:
            self.stopping.set()
            for process in self._running.values():
                process.kill()

    def wait_until_loaded(self) -> None:
        """Block until the fork server has loaded its modules, so that the machine is idle again."""
        with self._gate:
            process = self._context.Process(target=_nothing, daemon=True)  # type: ignore[attr-defined]
            process.start()
        process.join()

    def _work(self, device: str, waiting: deque[Any], events: queue.Queue[Any]) -> None:
        try:
            with self._source(device) as source:
                while (make := _next(waiting)) is not None and not self.stopping.is_set():
                    if (job := make(device, source)) is None:
                        break
                    self._run_one(job, device, source, events)
        except BaseException as error:  # noqa: BLE001 - handed to the thread that iterates, which raises it
            events.put(error)
        events.put(None)

    def _run_one(self, job: J, device: str, source: EnergySource, events: queue.Queue[Any]) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_child, args=(self._task, job, theirs), daemon=True)  # type: ignore[attr-defined]
        with self._gate:
            if self.stopping.is_set():
                return
            process.start()
            self._running[device] = process
        theirs.close()
        events.put(Started(job, device))
        ended = self._serve(job, device, ours, source, events)
        process.join()
        ours.close()
        with self._gate:
            del self._running[device]
            if self.stopping.is_set():
                return
        events.put(ended or Finished(job, device, None, failure=_cause_of_death(process.exitcode)))

    def _serve(
        self, job: J, device: str, pipe: Connection, source: EnergySource, events: queue.Queue[Any]
    ) -> Finished[J, R] | None:
        """Answer the trial, blocked in between, until it reports its end; None where it dies without a word."""
        while True:
            try:
                kind, content = pipe.recv()
                if kind == "read":
                    pipe.send(self._reading(source))
                elif kind == "progress":
                    events.put(Progress(job, *content))
                elif kind == "done":
                    return Finished(job, device, content)
                else:
                    return Finished(job, device, None, failure=content[0], traceback=content[1])
            except (EOFError, ConnectionResetError, BrokenPipeError):
                return None

    def _reading(self, source: EnergySource) -> EnergyReading:
        """Joules; several devices at work share processor and memory, so then these are nobody's."""
        reading = source.read()
        if len(self._devices) == 1:
            return reading
        return _gpu_only(reading)


def _gpu_only(reading: EnergyReading) -> EnergyReading:
    """A reading less what devices at work together share."""
    joules = {c: reading.joules.get(c) if c == "gpu" else None for c in COMPONENTS}
    direct = reading.direct and _gpu_only(reading.direct)
    return reading.model_copy(update={"joules": joules, "direct": direct})


def _next(waiting: deque[Any]) -> Any:
    """The next job, or None; workers share the queue."""
    try:
        return waiting.popleft()
    except IndexError:
        return None


def _nothing() -> None:
    """A process that ends as soon as it has started."""


def _child(task: Callable[[Any, PipeLink], Any], job: Any, pipe: Connection) -> None:
    """The trial's process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent decides what to end
    try:
        pipe.send(("done", task(job, PipeLink(pipe))))
    except (BrokenPipeError, EOFError, ConnectionResetError):
        sys.exit(1)  # the parent is gone
    except Exception as error:  # noqa: BLE001 - whatever a component raises becomes the trial's result
        line = " ".join(f"{type(error).__name__}: {error}".split())
        pipe.send(("failed", (line, traceback.format_exc())))


def _cause_of_death(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        name = signal.Signals(-exitcode).name
        return f"its process was ended by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    return f"its process ended with exit code {exitcode} and no result"
