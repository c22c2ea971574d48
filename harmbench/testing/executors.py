"""The contract of an executor.

    jobs        each runs once and in order on one device, and gets one Started and one Finished
    failures    an exception of a task is a result with its reason, and the next job still runs
    energy      a job reads the joules of its device, and several devices at once count no processor energy
    stopping    None from a maker ends the device, and closing the events early ends what runs

`check_executor` runs all of them on small tasks; each is also a function of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from harmbench.errors import ContractError
from harmbench.executors import Event, Executor, Finished, JobMaker, Link, Progress, Session, Started
from harmbench.results.records import Component, EnergyOrigin, EnergyReading
from harmbench.testing._contract import (
    Contract,
    Result,
    components_of,
    enforce,
    is_written_as_it_is_read,
    judge,
    require,
)

Job = str
PRELOAD = ("harmbench.testing.executors",)  # or each process of a job would import torch anew
Events = list[Event[Job, Any]]


class CountingSource:
    """An energy source that has one more joule of each component at each reading."""

    def __init__(self) -> None:
        self.joules = 0.0

    def read(self) -> EnergyReading:
        """The joules so far."""
        self.joules += 1
        return EnergyReading(joules={"cpu": self.joules, "gpu": self.joules, "ram": self.joules})

    def origins(self) -> dict[Component, EnergyOrigin]:
        """No origins, since nothing is measured here."""
        return {}

    def describe(self) -> dict[str, Any]:
        """No settings."""
        return {}


@contextmanager
def open_source(device: str, session: Session[Any, Any]) -> Iterator[CountingSource]:
    """The energy source of a device."""
    yield CountingSource()


def task(job: Job, link: Link) -> dict[str, Any]:
    """Report a step and read energy twice. It is at module level, so that another process can import it."""
    if job == "raise":
        raise ValueError("a task\nthat fails")
    link.progress(1, 2)
    readings = [link.read_energy().joules for _ in range(2)]
    return {"job": job, "readings": readings}


def _makers(jobs: Sequence[Job | None]) -> list[JobMaker[Job]]:
    return [_maker(job) for job in jobs]


def _maker(job: Any) -> Callable[..., Any]:
    return lambda device, source: job


def events_of(executor: Executor, jobs: Sequence[Job | None], devices: Sequence[str] = ("cpu",)) -> Events:
    """All events of a session that runs these jobs; None is a maker that ends its device."""
    session: Session[Job, Any] = executor.session(task, devices, open_source, PRELOAD)
    return list(session.run(_makers(jobs)))


def _finished(events: Events) -> dict[Job, Finished[Job, Any]]:
    return {event.job: event for event in events if isinstance(event, Finished)}


def runs_each_job_once(executor: Executor) -> None:
    """Each job has one Started, then one Finished with the result of the task, in the order of the makers."""
    jobs = ["a", "b", "c"]
    events = events_of(executor, jobs)
    for kind in (Started, Finished):
        order = [event.job for event in events if isinstance(event, kind)]
        require(order == jobs, f"{kind.__name__} for the jobs {order}, not for {jobs}")
    for job, event in _finished(events).items():
        require(not event.failure, f"job {job} fails: {event.failure}")
        require(event.result and event.result["job"] == job, f"job {job} has the result {event.result}")
        require(event.device == "cpu", f"job {job} ran on {event.device}, not on cpu")
        first = next(event for event in events if event.job == job)
        require(isinstance(first, Started), f"the first event of job {job} is {type(first).__name__}, not Started")


def reports_progress(executor: Executor) -> None:
    """A report of progress becomes a Progress of the job, between its Started and its Finished."""
    kinds = [(type(event), event.job) for event in events_of(executor, ["a"])]
    expected = [(Started, "a"), (Progress, "a"), (Finished, "a")]
    names = [kind.__name__ for kind, _ in kinds]
    require(kinds == expected, f"the events of a job are {', '.join(names)}, not Started, Progress, Finished")


def turns_failures_into_results(executor: Executor) -> None:
    """An exception of a task gives a Finished without result, with the reason in one line. The next job runs."""
    finished = _finished(events_of(executor, ["raise", "b"]))
    require(set(finished) == {"raise", "b"}, f"finished jobs are {sorted(finished)} after a failure, not both")
    failed = finished["raise"]
    require(failed.result is None, f"a job that failed has the result {failed.result}")
    is_reason = "ValueError" in failed.failure and "\n" not in failed.failure
    require(is_reason, f"the reason of a ValueError is {failed.failure!r}, not one line that names it")


def reads_the_joules_of_its_device(executor: Executor) -> None:
    """A job on the only device reads all of the source's joules, and they grow."""
    (event,) = _finished(events_of(executor, ["a"])).values()
    readings = event.result["readings"] if event.result else None
    if readings is None:
        raise ContractError(f"a job that reads energy fails: {event.failure}")
    first, second = readings
    for component, joules in first.items():
        require(joules is not None, f"{component}: no joules on the only device")
        require(second[component] > joules, f"{component}: {joules} J, then {second[component]} J")


def shares_no_joules_between_devices(executor: Executor) -> None:
    """Jobs on several devices count no energy of processor and memory as their own."""
    finished = _finished(events_of(executor, ["a", "b", "c", "d"], devices=("cuda:0", "cuda:1")))
    require(len(finished) == 4, f"{len(finished)} of 4 jobs finished on two devices")
    for job, event in finished.items():
        for reading in event.result["readings"] if event.result else ():
            shared = {component for component in ("cpu", "ram") if reading[component] is not None}
            require(not shared, f"job {job} counts joules of {', '.join(sorted(shared))}, which two devices share")


def stops_a_device_when_told(executor: Executor) -> None:
    """A maker that returns None ends the work of its device."""
    finished = _finished(events_of(executor, ["a", None, "c"]))
    require(list(finished) == ["a"], f"finished jobs are {list(finished)}, though the second maker ended the device")


def stops_when_closed(executor: Executor) -> None:
    """Closing the events early ends what runs, and nothing more is started."""
    session: Session[Job, Any] = executor.session(task, ["cpu"], open_source, PRELOAD)
    made: list[str] = []

    def make(device: str, source: object) -> Job:
        made.append(device)
        return f"job {len(made)}"

    events = session.run([make] * 50)
    first = next(events)
    require(isinstance(first, Started), f"the first event is {type(first).__name__}, not Started")
    events.close()
    require(len(made) < 50, "all 50 jobs were made, though the events were closed after the first")


def passes_on_a_source_that_does_not_open(executor: Executor) -> None:
    """An energy source that does not open is an exception of the session, not a result of a job."""

    @contextmanager
    def broken(device: str, session: Session[Any, Any]) -> Iterator[CountingSource]:
        raise OSError("no counter")
        yield CountingSource()

    session: Session[Job, Any] = executor.session(task, ["cpu"], broken, PRELOAD)
    try:
        events = list(session.run(_makers(["a"])))
    except OSError:
        return
    raise ContractError(f"a source that does not open gives {len(events)} events and no OSError")


CONTRACTS: tuple[Contract, ...] = (
    runs_each_job_once,
    reports_progress,
    turns_failures_into_results,
    reads_the_joules_of_its_device,
    shares_no_joules_between_devices,
    stops_a_device_when_told,
    stops_when_closed,
    passes_on_a_source_that_does_not_open,
    is_written_as_it_is_read,
)


def judge_executor(executor: Executor | type[Executor]) -> tuple[Result, ...]:
    """The result of each contract on an executor, or on all named variants of a class."""
    return tuple(result for each in components_of(executor) for result in judge(each, CONTRACTS))


def check_executor(executor: Executor | type[Executor]) -> tuple[Result, ...]:
    """Check an executor, or all named variants of a class, against the contract.

    Args:
        executor: an instance, or a class.

    Returns:
        One result for each variant and contract.

    Raises:
        ContractError: naming every broken contract.

    >>> from harmbench.executors import EXECUTORS
    >>> results = check_executor(EXECUTORS.parse("local"))
    >>> results[0].contract, results[0].status
    ('runs_each_job_once', 'passed')
    """
    return enforce(judge_executor(executor))
