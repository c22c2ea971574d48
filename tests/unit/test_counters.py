"""Counters read directly: RAPL as files, NVML as a stand-in; known joules, and every way to fail."""

from __future__ import annotations

import os
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmbench.energy import nvml as nvml_module
from harmbench.energy.counter import Counter
from harmbench.energy.nvml import NvmlSource
from harmbench.energy.rapl import RaplSource
from tests.support.machines import RANGE_J, FakeNvml, Machine, domain, write_joules

STEADY = settings(derandomize=True, deadline=None, max_examples=60)


class Raw:
    """A counter's value and a clock, moved by hand."""

    def __init__(self, value: float = 50.0) -> None:
        self.value, self.seconds, self.gone = value, 0.0, False

    def read(self) -> float:
        if self.gone:
            raise OSError(5, "Input/output error")
        return self.value

    def step(self, seconds: float, value: float) -> None:
        self.seconds, self.value = self.seconds + seconds, value

    def counter(self, **more) -> Counter:
        return Counter(self.read, clock=lambda: self.seconds, **{"max_watts": 100.0, **more})


# The counter.


@STEADY
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 400)), min_size=1, max_size=40))
def test_joules_are_all_that_passed_however_often_it_wraps(steps):
    raw, total = Raw(0.0), 0.0
    counter = raw.counter(wraps_at=1000.0)
    for seconds, joules in steps:
        joules = min(joules, 100 * seconds)
        total += joules
        raw.step(seconds, total % 1000.0)
        counter.advance() if joules % 2 else counter.take()
    assert counter.take() == (total, "")


FAILURES = {
    "jumps back": ([(1, 60.0), (1, 10.0)], {}, "jumped from 60 to 10 J in 1.0 s"),
    "is set to 0 far from its range": ([(1, 0.0)], {"wraps_at": 1000.0}, "jumped from 50 to 0 J"),
    "leaps ahead": ([(1, 1e6)], {}, r"jumped from 50 to 1e\+06 J"),
    "freezes": ([(1, 60.0), (1.5, 60.0), (1.5, 60.0)], {}, "stood still for 3.0 s"),
    "freezes, and goes on": ([(1.5, 50.0), (1.5, 50.0), (1, 60.0)], {}, "stood still for 3.0 s"),
    "is not read for longer than a wrap": (
        [(11, 60.0)],
        {"wraps_at": 1000.0},
        "not read for 11 s and may have wrapped",
    ),
}


@pytest.mark.parametrize(("steps", "options", "gap"), FAILURES.values(), ids=FAILURES)
def test_a_counter_that_fails_says_so_and_goes_on(steps, options, gap):
    raw = Raw()
    counter = raw.counter(**options)
    for step in steps:
        raw.step(*step)
        counter.advance()
    assert re.search(gap, counter.take()[1])
    raw.step(1, raw.value + 7.0)
    counter.take()  # of a counter that stood still, the first window that it moves in is not whole either
    before = counter.take()[0]
    raw.step(1, raw.value + 7.0)
    assert counter.take() == (before + 7.0, "")


def test_a_counter_that_vanishes_and_comes_back_has_a_gap_at_both():
    raw = Raw()
    counter = raw.counter()
    raw.gone = True
    assert counter.take() == (0.0, "the counter could not be read (Input/output error)")
    raw.gone = False
    raw.step(1, 90.0)
    assert counter.take() == (0.0, "the counter could not be read for a time")
    raw.step(1, 95.0)
    assert counter.take() == (5.0, "")


def test_a_counter_may_rest_for_a_moment():
    raw = Raw()
    counter = raw.counter()
    for _ in range(5):
        raw.step(1.0, raw.value)
        counter.advance()
        raw.step(0.1, raw.value + 3)
        assert counter.take()[1] == ""


def test_a_naive_difference_is_caught_by_a_wrap():
    raw = Raw(990.0)
    counter = raw.counter(wraps_at=1000.0)
    raw.step(1, 20.0)
    assert counter.take()[0] == 30.0
    assert raw.value - 990.0 != 30.0


# RAPL.


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path / "powercap", board_watts=(256.0, 100.0))


def test_rapl_counts_packages_and_memory_over_wraps(machine):
    source = RaplSource(machine.root, machine.clock)
    for _ in range(100):  # 64,000 J of a range of 20,000
        machine.pass_by(10.0)
        source.advance()
    reading = source.read()
    assert reading.joules == {"cpu": 64_000.0, "gpu": None, "ram": 8000.0}
    assert reading.gaps == {}


def test_rapl_says_what_it_counts(machine):
    source = RaplSource(machine.root, machine.clock)
    origins = source.origins()
    assert (origins["cpu"].method, origins["cpu"].scope) == ("counter", "package")
    assert set(origins) == {"cpu", "ram"}
    assert [d["name"] for d in source.describe()["domains"]] == ["package-0", "dram"]
    assert source.describe()["domains"][0]["wraps_at_joules"] == RANGE_J


def test_rapl_adds_packages_and_leaves_out_parts_copies_and_the_platform(tmp_path):
    folders = [
        domain(tmp_path, "intel-rapl:0", "package-0", 10),
        domain(tmp_path, "intel-rapl:1", "package-1", 500),
        domain(tmp_path, "intel-rapl:0:0", "core", 20),
        domain(tmp_path, "intel-rapl:0:1", "uncore", 30),
        domain(tmp_path, "intel-rapl:2", "psys", 40),
        domain(tmp_path, "intel-rapl-mmio:0", "package-0", 10),
    ]
    seconds = [0.0]
    source = RaplSource(tmp_path, lambda: seconds[0])
    seconds[0] += 5
    for folder, joules in zip(folders, (15, 507, 99, 99, 99, 15), strict=True):
        write_joules(folder, joules)
    assert source.read().joules == {"cpu": 12.0, "gpu": None, "ram": None}
    assert "no domain named dram" in source.origins()["ram"].detail


def test_rapl_counts_dies_that_mirror_one_counter_once(tmp_path):
    dies = [domain(tmp_path, f"intel-rapl:{i}", f"package-0-die-{i}", 700 + i / 10) for i in range(4)]
    seconds = [0.0]
    source = RaplSource(tmp_path, lambda: seconds[0])
    seconds[0] += 1
    for die in dies:
        write_joules(die, 760)
    assert source.read().joules["cpu"] == pytest.approx(60.0)
    assert [d["mirror"] for d in source.describe()["domains"]] == [False, True, True, True]


def test_rapl_that_may_not_be_read_is_missing_with_the_command_that_helps(machine, monkeypatch):
    path = type(machine.root)
    whole = path.read_text

    def denied(self, *args, **more):  # the tests may run as root, who may read anything
        if self.name == "energy_uj":
            raise PermissionError(13, "Permission denied", str(self))
        return whole(self, *args, **more)

    monkeypatch.setattr(path, "read_text", denied)
    source = RaplSource(machine.root, machine.clock)
    assert source.origins()["cpu"].method == "missing"
    assert "root only: sudo chmod a+r" in source.origins()["cpu"].detail
    assert source.read().joules["cpu"] is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_rapl_without_permission_on_real_files(machine):
    (machine.folders["cpu"] / "energy_uj").chmod(0)
    assert "root only" in RaplSource(machine.root, machine.clock).origins()["cpu"].detail


def test_rapl_with_one_package_unreadable_is_no_part_of_a_sum(machine):
    (domain(machine.root, "intel-rapl:2", "package-1") / "energy_uj").write_text("oops")
    source = RaplSource(machine.root, machine.clock)
    assert source.read().joules["cpu"] is None
    assert "holds no number" in source.origins()["cpu"].detail
    assert source.origins()["ram"].method == "counter"


def test_rapl_without_its_range_takes_a_wrap_for_a_jump(tmp_path):
    folder, seconds = domain(tmp_path, "intel-rapl:0", "package-0", RANGE_J - 10, wraps_at=None), [0.0]
    source = RaplSource(tmp_path, lambda: seconds[0])
    assert source.describe()["domains"][0]["wraps_at_joules"] is None
    seconds[0] += 1
    write_joules(folder, 20)
    assert source.read().gaps["cpu"].startswith("RAPL: the counter jumped")


def test_rapl_whose_file_vanishes_has_a_gap(machine):
    source = RaplSource(machine.root, machine.clock)
    (machine.folders["cpu"] / "energy_uj").unlink()
    machine.pass_by(1.0)
    assert "could not be read (No such file" in source.read().gaps["cpu"]


# NVML.


def test_nvml_counts_the_boards_it_is_told(machine):
    sources = [NvmlSource((index,), nvml=machine.nvml, clock=machine.clock) for index in (0, 1)]
    both = NvmlSource((0, 1), nvml=machine.nvml, clock=machine.clock)
    machine.pass_by(10.0)
    assert [source.read().joules["gpu"] for source in (*sources, both)] == [2560.0, 1000.0, 3560.0]


def test_nvml_says_what_it_counts_and_tells_the_whole_board(machine):
    origin = NvmlSource((1,), "whole board", machine.nvml).origins()["gpu"]
    assert (origin.method, origin.scope, origin.period_s) == ("counter", "whole board", 0.1)
    assert origin.detail == "NVML's energy counter, 1 board(s): board1"


MISSING = {
    "no driver": (FakeNvml(None), (0,), "NVML: Driver Not Loaded"),
    "no such board": (FakeNvml(["T4"]), (3,), "NVML: Invalid Argument"),
    "none asked for": (FakeNvml(["T4"]), (), "no GPU takes part"),
}


@pytest.mark.parametrize(("nvml", "indices", "reason"), MISSING.values(), ids=MISSING)
def test_nvml_that_is_not_there_is_missing_with_a_reason(nvml, indices, reason):
    source = NvmlSource(indices, nvml=nvml)
    assert (source.origins()["gpu"].method, source.origins()["gpu"].detail) == ("missing", reason)
    assert source.read().joules["gpu"] is None


def test_a_board_without_a_counter_is_missing_and_still_tells_its_state(machine):
    machine.nvml.counts = False
    source = NvmlSource((0,), nvml=machine.nvml, clock=machine.clock)
    assert source.origins()["gpu"].detail == "board 0 (board0) has no energy counter (Not Supported)"
    assert source.read().board.watts == 256.0


def test_nvml_reads_what_a_board_says_of_itself(machine):
    machine.nvml.throttle_bits = 0x04 | 0x40 | 0x01  # the last is idling, and no complaint
    machine.nvml.pids = [os.getpid(), os.getppid()]
    state = NvmlSource((0, 1), nvml=machine.nvml, clock=machine.clock).read().board
    assert (state.watts, state.celsius, state.sm_mhz, state.memory_mhz) == (356.0, 40.0, 1410.0, 1215.0)
    assert state.throttling == ("hardware thermal slowdown", "power cap")
    assert state.other_processes == 1


def test_processes_of_another_name_space_are_not_counted(machine):
    machine.nvml.pids = [2**22 - 3]
    assert NvmlSource((0,), nvml=machine.nvml, clock=machine.clock).read().board.other_processes is None


def test_the_state_of_a_board_is_asked_for_once_a_second(machine):
    source = NvmlSource((0,), nvml=machine.nvml, clock=machine.clock)
    source.read()
    machine.nvml.celsius = 80
    assert source.read().board.celsius == 40
    machine.pass_by(1.0)
    assert source.read().board.celsius == 80


def test_a_counter_that_stops_answering_is_a_gap(machine):
    source = NvmlSource((0,), nvml=machine.nvml, clock=machine.clock)
    machine.nvml.counts = False
    assert source.read().gaps["gpu"] == "NVML: the counter could not be read (Not Supported)"


def test_the_names_of_throttling_are_nvmls():
    pynvml = pytest.importorskip("pynvml")
    bits = {
        getattr(pynvml, f"nvmlClocksThrottleReason{name}")
        for name in (
            "ApplicationsClocksSetting",
            "SwPowerCap",
            "HwSlowdown",
            "SyncBoost",
            "SwThermalSlowdown",
            "HwThermalSlowdown",
            "HwPowerBrakeSlowdown",
        )
    }
    assert bits == set(nvml_module.THROTTLES)
    for name in ("GetTotalEnergyConsumption", "GetMigDeviceHandleByIndex", "GetCurrentClocksThrottleReasons"):
        assert hasattr(pynvml, f"nvmlDevice{name}")
