"""Runs trials on this machine: one worker thread for each device, and one fresh process for each trial.

    worker thread (one per device)                     trial process
      opens the energy source once                       runs the task
      waits, blocked, on the pipe  <--- "read" --------  at each boundary of a phase
                                   ---- joules ------->
                                   <--- "progress" ----  after each validation
                                   <--- "done" --------  the result

Processes come from a fork server that has loaded torch, so one starts in well under 0.1 s. A trial whose parent has
gone finds the pipe closed at its next boundary and ends. No trial imports from the current folder.
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
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from typing import Any

from harmbench._import_path import drop_current_folder, python_without_current_folder
from harmbench.energy.source import EnergySource
from harmbench.executors._base import (
    Event,
    Executor,
    Finished,
    J,
    JobMaker,
    Link,
    OpenSource,
    Progress,
    R,
    Session,
    Started,
    Task,
)
from harmbench.results.records import EnergyReading


class Local(Executor):
    """On this machine: one trial at a time on each device, each in a fresh process.

    A trial that crashes or is killed is recorded as failed, and the next one starts. Several devices work at the same
    time and share the trials of a run. They also share processor and memory, so trials then count only the joules of
    their GPU.
    """

    name = "local"

    def session(
        self, task: Task[J, R], devices: Sequence[str], open_source: OpenSource, preload: Sequence[str] = ()
    ) -> Session[J, R]:
        return _LocalSession(task, devices, open_source, preload)


class _LocalSession(Session[J, R]):
    """Threads that serve the processes of their devices."""

    def __init__(
        self, task: Task[J, R], devices: Sequence[str], open_source: OpenSource, preload: Sequence[str] = ()
    ) -> None:
        super().__init__(task, devices, open_source, preload)
        kind = "forkserver" if "forkserver" in mp.get_all_start_methods() else "spawn"
        self._context = mp.get_context(kind)
        self._context.set_forkserver_preload(list(preload))
        self._running: dict[str, Any] = {}
        self._gate = threading.Lock()  # no process starts once the stop has begun

    def run(self, makers: Sequence[JobMaker[J]]) -> Generator[Event[J, R]]:
        if self._context.get_start_method() == "forkserver":
            with python_without_current_folder():
                forkserver.ensure_running()  # it loads its modules while the energy source starts
        waiting = deque(makers)
        events: queue.Queue[Any] = queue.Queue()
        workers = [
            threading.Thread(target=self._work, args=(device, waiting, events), daemon=True) for device in self.devices
        ]
        for worker in workers:
            worker.start()
        working = len(workers)
        try:
            while working:
                event = events.get()
                if event is None:
                    working -= 1
                elif isinstance(event, BaseException):
                    raise event
                else:
                    yield event
        finally:
            self.stop()
            for worker in workers:
                worker.join()

    def stop(self) -> None:
        with self._gate:
            self.stopping.set()
            for process in self._running.values():
                process.kill()

    def wait_until_loaded(self) -> None:
        with self._gate:
            process = self._start(_nothing)
        process.join()

    def _start(self, target: Callable[..., None], *arguments: Any) -> Any:
        """Start a process. The caller holds the gate."""
        process = self._context.Process(target=target, args=arguments, daemon=True)  # type: ignore[attr-defined]
        with python_without_current_folder():
            process.start()
        return process

    def _work(self, device: str, waiting: deque[JobMaker[J]], events: queue.Queue[Any]) -> None:
        """The jobs of one device, one after the other. Workers share the queue of makers."""
        try:
            with self.open_source(device, self) as source:
                while (make := _next(waiting)) is not None and not self.stopping.is_set():
                    job = make(device, source)
                    if job is None:
                        break
                    self._run_one(job, device, source, events)
        except BaseException as error:  # noqa: BLE001 - handed to the thread that iterates, which raises it
            events.put(error)
        events.put(None)

    def _run_one(self, job: J, device: str, source: EnergySource, events: queue.Queue[Any]) -> None:
        """Run a job in a process of its own, and report its events."""
        ours, theirs = self._context.Pipe()
        with self._gate:
            if self.stopping.is_set():
                return
            process = self._running[device] = self._start(_child, self.task, job, theirs)
        theirs.close()
        events.put(Started(job, device))
        finished = self._serve(job, device, ours, source, events)
        process.join()
        ours.close()
        with self._gate:
            del self._running[device]
            if self.stopping.is_set():
                return
        events.put(finished or Finished(job, device, None, failure=_cause_of_death(process.exitcode)))

    def _serve(
        self, job: J, device: str, pipe: Connection, source: EnergySource, events: queue.Queue[Any]
    ) -> Finished[J, R] | None:
        """Answer the process until its end. Returns None if it exits without a result."""
        while True:
            try:
                kind, content = pipe.recv()
                if kind == "read":
                    pipe.send(self.reading(source))
                elif kind == "progress":
                    events.put(Progress(job, *content))
                elif kind == "done":
                    return Finished(job, device, content)
                else:
                    return Finished(job, device, None, failure=content[0], traceback=content[1])
            except (EOFError, ConnectionResetError, BrokenPipeError):
                return None


def _next(waiting: deque[JobMaker[J]]) -> JobMaker[J] | None:
    """The next job maker, or None if there is none."""
    try:
        return waiting.popleft()
    except IndexError:
        return None


class _PipeLink:
    """The trial's end of the pipe, as a `Link`."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def read_energy(self) -> EnergyReading:
        self._pipe.send(("read", None))
        reading: EnergyReading = self._pipe.recv()
        return reading

    def progress(self, step: int, steps: int) -> None:
        self._pipe.send(("progress", (step, steps)))


def _nothing() -> None:
    """Do nothing, in a process that ends as soon as it has started."""


def _child(task: Callable[[Any, Link], Any], job: Any, pipe: Connection) -> None:
    """Run the task in the trial's process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent decides what to end
    drop_current_folder()
    try:
        with python_without_current_folder():  # also for a fork server that started before this session
            pipe.send(("done", task(job, _PipeLink(pipe))))
    except (BrokenPipeError, EOFError, ConnectionResetError):
        sys.exit(1)  # the parent is gone
    except Exception as error:  # noqa: BLE001 - whatever a component raises becomes the trial's result
        line = " ".join(f"{type(error).__name__}: {error}".split())
        pipe.send(("failed", (line, traceback.format_exc())))


def _cause_of_death(exitcode: int | None) -> str:
    """Why a process has no result, in words."""
    if exitcode is None or exitcode >= 0:
        return f"its process ended with exit code {exitcode} and no result"
    name = signal.Signals(-exitcode).name
    hint = " (out of memory?)" if name == "SIGKILL" else ""
    return f"its process was ended by {name}{hint}"
