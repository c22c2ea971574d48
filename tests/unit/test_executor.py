"""The local executor: one fresh process a job, a death is a result, joules go to the job that took them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from harmbench.energy.nvml import NvmlSource
from harmbench.executors import EXECUTORS, Finished, Progress, Started
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
def source(device, session):
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


def local(*arguments):
    return EXECUTORS.parse("local").session(*arguments)


def run(jobs, devices=("cpu",)):
    return list(local(task, devices, source).run([lambda device, source, job=job: job for job in jobs]))


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
    """Joules of the GPU between two readings."""
    before, after = link.read_energy(), link.read_energy()
    return after.joules["gpu"] - before.joules["gpu"], after.joules["cpu"]


def test_devices_of_different_power_keep_their_own_joules():
    seconds, watts = 8.0, {"cuda:0": 100.0, "cuda:1": 300.0}
    nvml = FakeNvml(["T4", "H100"])
    clock = dict.fromkeys(watts, 0.0)

    @contextmanager
    def board(device, session):
        index = int(device[-1])
        counted = NvmlSource((index,), nvml=nvml, clock=lambda: clock[device])

        class Passing(Meter):
            """Under load, some seconds pass before each reading."""

            def read(self):
                clock[device] += seconds
                nvml.millijoules[index] += 1000 * watts[device] * seconds
                return counted.read()

        yield Passing()

    events = list(local(two_windows, list(watts), board).run([lambda device, source, n=n: n for n in range(4)]))
    ended = [event for event in events if isinstance(event, Finished)]
    assert {event.device for event in ended} == set(watts)
    for event in ended:
        assert event.result == (watts[event.device] * seconds, None)


def test_closing_early_ends_what_runs():
    session = local(task, ["cpu"], source)
    events = session.run([lambda device, source: "a"] * 50)
    assert isinstance(next(events), Started)
    events.close()
    assert not session._running


def test_a_source_that_does_not_open_is_raised():
    @contextmanager
    def broken(device, session):
        raise OSError("no counter")
        yield

    with pytest.raises(OSError, match="no counter"):
        list(local(task, ["cpu"], broken).run([lambda device, source: "a"]))


# The current folder.

HOME = str(Path(__file__).resolve().parents[2])
TINY = """
name: tiny
datasets: [digits]
backbones: [mlp]
metrics: [euclidean]
losses: [harmonic]
seeds: 1
protocol: {steps: 5, evaluations: 1}
meters: [quality]
idle_seconds: 0
"""
SCRIPT = "from harmbench.cli import main\nif __name__ == '__main__':\n    main()\n"


@pytest.mark.slow
@pytest.mark.parametrize("how", ["module", "script"])
def test_neither_the_command_nor_its_trials_import_from_the_current_folder(how, tmp_path):
    here = tmp_path / "here"
    here.mkdir()
    for name in ("random", "numpy", "torch", "sklearn"):
        (here / f"{name}.py").write_text(f"raise RuntimeError('{name}.py of the current folder')\n")
    (here / "tiny.yaml").write_text(TINY)
    (tmp_path / "harmbench-script").write_text(SCRIPT)  # as pip installs the command: outside the current folder
    start = ["-m", "harmbench"] if how == "module" else [tmp_path / "harmbench-script"]
    ended = subprocess.run(
        [sys.executable, *start, "run", "tiny.yaml", "--out", "run", "--devices", "cpu"],
        cwd=here,
        env={**os.environ, "PYTHONPATH": HOME + os.pathsep},  # an empty entry is the current folder, too
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "1 ok" in ended.stdout


def import_path(job, link):
    """The import path of the trial, and that of a Python process that it starts."""
    child = subprocess.run([sys.executable, "-c", "import sys; print(sys.path)"], capture_output=True, text=True)
    return sys.path, child.stdout


def test_a_trial_has_no_current_folder_in_its_import_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for entry in ("", str(tmp_path)):
        monkeypatch.syspath_prepend(entry)
    (event,) = finished(local_run(import_path)).values()
    own, of_child = event.result
    assert not {"", str(tmp_path)} & set(own)
    assert str(tmp_path) not in of_child
    assert "''" not in of_child
    assert "PYTHONSAFEPATH" not in os.environ, "the process that starts trials stays as it was"


def local_run(what):
    return list(local(what, ["cpu"], source).run([lambda device, source: "job"]))
