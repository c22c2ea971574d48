"""The local executor: a fresh process for each job, deaths are results, energy belongs to whom it can be told."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import contextmanager

import pytest

from harmbench.energy.nvml import NvmlSource
from harmbench.executors import Finished, LocalExecutor, Progress, Started
from harmbench.results.records import EnergyReading
from tests.support.machines import FakeNvml


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


def two_windows(job, link):
    """What the GPU took between two borders."""
    before, after = link.read_energy(), link.read_energy()
    return after.joules["gpu"] - before.joules["gpu"], after.joules["cpu"]


def test_devices_of_different_power_keep_their_own_joules():
    seconds, watts = 8.0, {"cuda:0": 100.0, "cuda:1": 300.0}
    nvml = FakeNvml(["T4", "H100"])
    clock = dict.fromkeys(watts, 0.0)

    @contextmanager
    def board(device):
        index = int(device[-1])
        counted = NvmlSource((index,), nvml=nvml, clock=lambda: clock[device])

        class Passing(Meter):
            """Under load, some seconds pass before each reading."""

            def read(self):
                clock[device] += seconds
                nvml.millijoules[index] += 1000 * watts[device] * seconds
                return counted.read()

        yield Passing()

    executor = LocalExecutor(two_windows, list(watts), board, preload=())
    events = list(executor.run([lambda device, source, n=n: n for n in range(4)]))
    ended = [event for event in events if isinstance(event, Finished)]
    assert {event.device for event in ended} == set(watts)
    for event in ended:
        assert event.result == (watts[event.device] * seconds, None)


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
