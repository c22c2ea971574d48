"""The local executor: a fresh process for each job, deaths are results, energy belongs to whom it can be told."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import contextmanager

import pytest

from harmbench.executors import Finished, LocalExecutor, Progress, Started
from harmbench.records import EnergyReading


class Meter:
    """A source that gives one more joule at each reading."""

    def __init__(self):
        self.joules = 0.0

    def read(self):
        self.joules += 1
        return EnergyReading(joules={"cpu": self.joules, "gpu": self.joules, "ram": self.joules})

    def origins(self):
        return {}


@contextmanager
def source(device):
    yield Meter()


def task(job, link):
    if job == "raise":
        raise ValueError("no\nsuch luck")
    if job == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if job == "leave":
        sys.exit(3)
    link.progress(1, 2)
    readings = [link.read_energy().joules for _ in range(2)]
    return {"job": job, "pid": os.getpid(), "readings": readings}


def run(jobs, devices=("cpu",)):
    executor = LocalExecutor(task, devices, source, preload=())
    return list(executor.run([lambda device, source, job=job: job for job in jobs]))


def finished(events):
    return {event.job: event for event in events if isinstance(event, Finished)}


def test_each_job_has_its_own_process_and_in_order():
    events = run(["a", "b", "c"])
    assert [type(event) for event in events] == [Started, Progress, Finished] * 3
    results = [event.result for event in events if isinstance(event, Finished)]
    assert [result["job"] for result in results] == ["a", "b", "c"]
    assert len({result["pid"] for result in results} | {os.getpid()}) == 4


@pytest.mark.parametrize(
    ("job", "failure"),
    [
        ("raise", "ValueError: no such luck"),
        ("die", "its process was ended by SIGKILL (out of memory?)"),
        ("leave", "its process ended with exit code 3 and no result"),
    ],
)
def test_a_death_is_a_result_and_the_next_job_runs(job, failure):
    found = finished(run([job, "b"]))
    assert found[job].failure == failure
    assert found[job].result is None
    assert found["b"].result["job"] == "b"


def test_a_job_reads_the_joules_of_its_device():
    (first,) = finished(run(["a"])).values()
    assert first.result["readings"] == [
        {"cpu": 1.0, "gpu": 1.0, "ram": 1.0},
        {"cpu": 2.0, "gpu": 2.0, "ram": 2.0},
    ]


def test_devices_at_work_together_have_no_processor_energy_of_their_own():
    found = finished(run(["a", "b", "c", "d"], devices=("cuda:0", "cuda:1")))
    assert len(found) == 4
    assert {event.device for event in found.values()} == {"cuda:0", "cuda:1"}
    for event in found.values():
        assert all(r["cpu"] is None and r["ram"] is None and r["gpu"] > 0 for r in event.result["readings"])


def test_closing_early_ends_what_runs():
    executor = LocalExecutor(task, ["cpu"], source, preload=())
    events = executor.run([lambda device, source: "a"] * 50)
    assert isinstance(next(events), Started)
    events.close()
    assert not executor._running


def test_a_source_that_does_not_open_is_raised():
    @contextmanager
    def broken(device):
        raise OSError("no counter")
        yield

    executor = LocalExecutor(task, ["cpu"], broken, preload=())
    with pytest.raises(OSError, match="no counter"):
        list(executor.run([lambda device, source: "a"]))
