"""The base of all executors. An `Executor` makes a `Session`, and the session turns jobs into events.

    runner                                       session
      job makers, in the order of the plan  --->   picks a device and opens its energy source
      job, or None to stop                  <---   asks the next maker, with the device and the source
                                                   calls task(job, link), in a process or on a machine of its choice
      stores the records                    <---   Started, Progress, Finished

A session decides where and when a job runs. The runner decides what runs, and the store knows what is still to run.
An executor for a cluster therefore needs no more than this file.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from harmbench.energy.source import EnergySource
from harmbench.registry import Component
from harmbench.results.records import COMPONENTS, EnergyReading

J = TypeVar("J")  # a job: picklable
R = TypeVar("R")  # the result of a job: picklable


@dataclass(frozen=True)
class Started(Generic[J]):
    """A job started on a device."""

    job: J
    device: str


@dataclass(frozen=True)
class Progress(Generic[J]):
    """A running job has done `step` of `steps` training steps."""

    job: J
    step: int
    steps: int


@dataclass(frozen=True)
class Finished(Generic[J, R]):
    """A job ended.

    Attributes:
        result: what the task returned, or None if it failed.
        failure: the reason on one line, if it failed.
        traceback: of the exception, if there was one.
    """

    job: J
    device: str
    result: R | None
    failure: str = ""
    traceback: str = ""


Event = Started[J] | Progress[J] | Finished[J, R]


class Link(Protocol):
    """The requests that a task may make of its session."""

    def read_energy(self) -> EnergyReading:
        """Joules of the task's device since its source was opened."""

    def progress(self, step: int, steps: int) -> None:
        """Report the number of training steps done."""


Task = Callable[[J, Link], R]  # module-level, so that another process can import it
JobMaker = Callable[[str, EnergySource], J | None]  # (device, its energy source) -> job, or None to stop the device
OpenSource = Callable[[str, "Session[Any, Any]"], AbstractContextManager[EnergySource]]


class Session(ABC, Generic[J, R]):
    """The jobs of one invocation.

    Args:
        task: a module-level function of (job, link), which returns the result.
        devices: names of devices, such as `cpu` or `cuda:0`.
        open_source: opens the energy source of a device for this session.
        preload: modules that processes should load before their first job.

    Attributes:
        stopping: set once the session stops. Code that waits on behalf of the session waits for this too.
    """

    def __init__(
        self, task: Task[J, R], devices: Sequence[str], open_source: OpenSource, preload: Sequence[str] = ()
    ) -> None:
        self.task, self.devices, self.open_source, self.preload = task, devices, open_source, preload
        self.stopping = threading.Event()

    @abstractmethod
    def run(self, makers: Sequence[JobMaker[J]]) -> Generator[Event[J, R]]:
        """Run all jobs, and yield each event as it happens.

        Closing the generator early ends the running jobs. They get no `Finished`.

        Args:
            makers: one for each job, in order. The session calls a maker when its device is free. A maker that returns
                None ends the work of that device.
        """

    def stop(self) -> None:
        """Start no more jobs. An executor also ends those that run. Any thread may call this."""
        self.stopping.set()

    def wait_until_loaded(self) -> None:
        """Block until the preloaded modules are loaded, so that the machine is idle again."""
        return

    def reading(self, source: EnergySource) -> EnergyReading:
        """The joules that a job may count as its own.

        Devices that work at the same time share processor and memory, so only a session with one device counts these.
        """
        reading = source.read()
        return reading if len(self.devices) == 1 else _gpu_only(reading)


def _gpu_only(reading: EnergyReading) -> EnergyReading:
    """A reading without the joules of processor and memory."""
    joules = {component: reading.joules.get(component) if component == "gpu" else None for component in COMPONENTS}
    direct = reading.direct and _gpu_only(reading.direct)
    return reading.model_copy(update={"joules": joules, "direct": direct})


class Executor(Component, ABC):
    """A place where trials run. Its fields are its options."""

    @abstractmethod
    def session(
        self, task: Task[J, R], devices: Sequence[str], open_source: OpenSource, preload: Sequence[str] = ()
    ) -> Session[J, R]:
        """A session of this executor. The arguments are those of `Session`."""
