"""Joules through CodeCarbon: a real tracker, and a known power in place of this machine's."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from codecarbon.core.units import Energy, Power
from codecarbon.external.hardware import CPU
from codecarbon.external.ram import RAM

from harmbench import _devices
from harmbench._devices import Board
from harmbench.energy.codecarbon import (
    LOAD_S,
    SETTINGS,
    CodeCarbonSource,
    SteadyLoad,
    _gpu_origin,
    _keep_own_clock,
    _origin,
    settings_from_outside,
)
from harmbench.errors import DeviceError, MeasurementError
from harmbench.executors.local import Local
from harmbench.results.records import COMPONENTS, EnergyReading
from tests.support.commands import HANGS_AFTER
from tests.support.machines import FakeNvml

WATTS = 100.0
READING = 2.0**-10  # seconds that a reading of known hardware takes; with ROUND, exact in binary
ROUND = 2.0**-5  # seconds between two rounds of readings
THREADS = 4


@pytest.fixture(scope="module")
def source():
    """One tracker for all tests: its start takes seconds."""
    with CodeCarbonSource() as opened:
        yield opened


class Clock:
    """Stands in for the module `time`, for CodeCarbon and for us; nothing but `sleep` lets its time pass."""

    def __init__(self) -> None:
        self._now, self._lock = 1000.0, threading.Lock()

    def perf_counter(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self._now += seconds


class KnownCpu(CPU):
    """A processor of constant power. A reading of it takes `READING` seconds of its clock.

    Args:
        clock: whose time passes while it is read.
        meeting: where the threads of `bombard` wait for each other within a reading, if they are to.
    """

    def __init__(self, clock: Clock, meeting: threading.Barrier | None = None) -> None:
        self._mode, self._model, self._tdp = "constant", "known", WATTS
        self._clock, self._meeting = clock, meeting

    def measure_power_and_energy(self, last_duration: float) -> tuple[Power, Energy]:
        self._clock.sleep(READING)
        time.sleep(0)  # another thread may go on here
        if self._meeting and threading.current_thread().name == "bombard":
            self._meeting.wait(HANGS_AFTER)
        return Power.from_watts(WATTS), Energy.from_energy(kWh=WATTS * last_duration / 3.6e6)

    def monitor_power(self) -> None:
        """There is nothing to sample."""


@pytest.fixture
def clock(source, monkeypatch):
    """A clock of our own for the tracker."""
    made = Clock()
    with source._tracker.reading:
        monkeypatch.setattr("codecarbon.emissions_tracker.time", made)
        monkeypatch.setattr("harmbench.energy.codecarbon.time", made)
        monkeypatch.setattr(source._tracker, "_last_measured_time", made.perf_counter())
    return made


def read_by(source, hardware, monkeypatch):
    """The tracker over other hardware."""
    with source._tracker.reading:
        monkeypatch.setattr(source._tracker, "_hardware", [hardware])
    source.read()
    return source


@pytest.fixture
def known(source, clock, monkeypatch):
    """The tracker over a processor of known power."""
    return read_by(source, KnownCpu(clock), monkeypatch)


def bombard(source, clock: Clock, rounds: int) -> float:
    """Read at the same instants, as trials do and as the tracker's timer does; seconds billed, over those that passed.

    The seconds that readings take are not among those that passed.
    """
    gate = threading.Barrier(THREADS, action=lambda: clock.sleep(ROUND))

    def read_together(read: Callable[[], object]) -> None:
        for _ in range(rounds):
            gate.wait(HANGS_AFTER)
            read()

    ways = [source.read, source._tracker._measure_power_and_energy] * (THREADS // 2)
    readers = [threading.Thread(target=read_together, args=(way,), name="bombard") for way in ways]
    before = source.read().joules["cpu"]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    return (source.read().joules["cpu"] - before) / (WATTS * ROUND * rounds)


def test_counters_never_run_backwards(source):
    readings = [source.read().joules for _ in range(20)]
    for before, after in itertools.pairwise(readings):
        assert all(after[c] >= before[c] for c in COMPONENTS if before[c] is not None)
    assert readings[-1]["ram"] > readings[0]["ram"]


def test_joules_are_power_times_time(known, clock):
    before = known.read().joules["cpu"]
    clock.sleep(0.2)
    assert known.read().joules["cpu"] - before == pytest.approx(0.2 * WATTS)


def test_readings_from_several_threads_count_once(known, clock):
    assert bombard(known, clock, rounds=200) == pytest.approx(1.0)


def test_readings_that_are_not_serialized_are_caught(source, clock, monkeypatch):
    unlocked = read_by(source, KnownCpu(clock, threading.Barrier(THREADS)), monkeypatch)
    monkeypatch.setattr(type(source._tracker), "reading", NoLock())
    assert bombard(unlocked, clock, rounds=20) > 1.3


class NoLock:
    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> None: ...


def test_two_trackers_count_the_same_hardware_twice(known, clock):
    # So an executor with several devices, each with its tracker, must not add up what they say of the processor.
    with CodeCarbonSource() as second:
        second._tracker._hardware = [KnownCpu(clock)]
        second.read()
        before = [each.read().joules["cpu"] for each in (known, second)]
        clock.sleep(10.0)
        spent = [each.read().joules["cpu"] - was for each, was in zip((known, second), before, strict=True)]
    assert sum(spent) / WATTS == pytest.approx(2 * 10.0, rel=0.01)  # and a little for the readings of the other


def test_several_devices_leave_the_shared_components_out():
    reading = EnergyReading(joules={"cpu": 5.0, "gpu": 7.0, "ram": 1.0})
    stub = SimpleNamespace(read=lambda: reading)
    alone, both = (Local().session(print, names, None) for names in (["cuda:0"], ["cuda:0", "cuda:1"]))
    assert alone.reading(stub) == reading
    assert both.reading(stub).joules == {"cpu": None, "gpu": 7.0, "ram": None}


# Where joules come from.


def test_a_cpu_without_counter_and_memory_are_models_and_the_gpu_has_a_reason(source):
    found = source.origins()
    if not os.access("/sys/class/powercap/intel-rapl/intel-rapl:0/energy_uj", os.R_OK):
        assert found["cpu"].method == "model"
        assert "TDP" in found["cpu"].detail or found["cpu"].detail.startswith("constant")
    assert (found["ram"].method, found["ram"].scope) == ("model", "machine")
    assert (found["gpu"].method, found["gpu"].detail) == ("missing", "no GPU takes part")
    assert source.read().joules["gpu"] is None


def test_a_gpu_that_codecarbon_does_not_find_is_missing_with_another_reason(source, monkeypatch):
    monkeypatch.setattr(source, "_gpu_indices", (0,))
    assert source.origins()["gpu"].detail == "CodeCarbon finds no GPU"


def a_cpu(mode: str):
    cpu = object.__new__(CPU)
    cpu._mode, cpu._tdp = mode, 65
    return cpu


CPUS = {
    "intel_rapl": ("counter", "package", "intel_rapl"),
    "windows_emi": ("counter", "package", "windows_emi"),
    "intel_power_gadget": ("polled", "machine", "intel_power_gadget"),
    "cpu_load": ("model", "machine", "cpu_load, TDP 65 W"),
    "constant": ("model", "machine", "constant, TDP 65 W"),
}


@pytest.mark.parametrize(("mode", "expected"), CPUS.items(), ids=CPUS)
def test_origin_of_a_cpu(mode, expected):
    component, origin = _origin(a_cpu(mode))
    assert (component, origin.method, origin.scope, origin.detail) == ("cpu", *expected)


def test_origin_of_memory():
    assert _origin(object.__new__(RAM))[1].method == "model"


BOARDS = {
    "counters": ([(True, False), (True, False)], "counter"),
    "one without": ([(True, False), (False, False)], "polled"),
    "one that fell back": ([(True, True)], "polled"),
}


@pytest.mark.parametrize(("boards", "method"), BOARDS.values(), ids=BOARDS)
def test_origin_of_boards_is_that_of_the_worst(boards, method):
    found = [
        SimpleNamespace(gpu_index=i, _has_counter=counter, _use_power_fallback=fallback)
        for i, (counter, fallback) in enumerate(boards)
    ]
    uncounted = SimpleNamespace(gpu_index=9, _has_counter=False, _use_power_fallback=True)
    hardware = SimpleNamespace(
        devices=SimpleNamespace(devices=[*found, uncounted]), _get_gpu_ids=lambda: range(len(boards))
    )
    origin = _gpu_origin(hardware)
    assert (origin.method, origin.scope, origin.detail) == (method, "board", f"{len(boards)} board(s) through NVML")


# Settings.


def test_the_effective_settings_are_told(source):
    told = source.describe()
    assert told["tracker"] == "OfflineEmissionsTracker"
    assert (told["pue"], told["tracking_mode"], told["reading_period_s"]) == (1, "machine", 1)
    assert told["gpu_indices"] == []


@pytest.fixture
def clean(tmp_path, monkeypatch):
    """No settings from outside: an empty home and working folder."""
    for name in [name for name in os.environ if name.lower().startswith("codecarbon_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


OUTSIDE = {
    "nothing": ([], {}, []),
    "file here": (["."], {}, [".codecarbon.config"]),
    "file at home and here": (["home", "."], {}, [".codecarbon.config"] * 2),
    "variable": ([], {"CODECARBON_PUE": "2"}, ["CODECARBON_PUE"]),
    "variable in small letters": ([], {"codecarbon_pue": "2"}, ["codecarbon_pue"]),
}


@pytest.mark.parametrize(("folders", "variables", "expected"), OUTSIDE.values(), ids=OUTSIDE)
def test_settings_from_outside_are_seen(clean, monkeypatch, folders, variables, expected):
    for folder in folders:
        (clean / folder).mkdir(exist_ok=True)
        (clean / folder / ".codecarbon.config").write_text("[codecarbon]\npue=2\n")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert settings_from_outside() == expected


# Every setting that CodeCarbon would take from a file and that changes joules, or sends them somewhere.
CHANGES = {
    "pue": "2",
    "wue": "3",
    "measure_power_secs": "60",
    "tracking_mode": "process",
    "force_cpu_power": "500",
    "force_ram_power": "500",
    "force_mode_cpu_load": "true",
    "rapl_include_dram": "true",
    "rapl_prefer_psys": "true",
    "gpu_ids": "0,1",
    "country_iso_code": "FRA",
    "cloud_provider": "aws",
    "cloud_region": "eu-west-3",
    "allow_multiple_runs": "false",
    "emissions_endpoint": "http://localhost:1/",
    "electricitymaps_api_token": "secret",
    "co2_signal_api_token": "secret",
    "output_dir": "nowhere",
    "save_to_api": "true",
}


def test_settings_from_outside_do_not_change_what_is_ours(clean):
    lines = [f"{name}={value}" for name, value in CHANGES.items()]
    (clean / ".codecarbon.config").write_text("\n".join(["[codecarbon]", *lines]))
    with CodeCarbonSource() as opened:
        told, tracker = opened.describe(), opened._tracker
    assert set(CHANGES) - set(SETTINGS) == {"gpu_ids", "save_to_api", "co2_signal_api_token"}, "given in other ways"
    assert (told["pue"], told["tracking_mode"], told["reading_period_s"], told["gpu_indices"]) == (1, "machine", 1, [])
    assert told["settings"] == {n: v for n, v in SETTINGS.items() if n != "electricitymaps_api_token"}
    assert (tracker._electricitymaps_api_token, tracker._emissions_endpoint, tracker._output_handlers) == (
        None,
        None,
        [],
    )
    assert told["settings_from_outside"] == [".codecarbon.config"]
    assert "secret" not in str(told)


def test_a_tracker_that_does_not_start_is_an_error(clean):
    (clean / ".codecarbon.config").write_text("no section\n")
    with (
        pytest.raises(MeasurementError, match=r"CodeCarbon's tracker did not start; run `harmbench doctor`"),
        CodeCarbonSource(),
    ):
        pass


# Short windows.


class Times:
    """Processor time that the kernel counts in ticks of 10 ms, under a constant load."""

    def __init__(self, load: float, processors: int = 2) -> None:
        self.now, self.load, self.processors = 0.0, load, processors

    def clock(self) -> float:
        return self.now

    def times(self) -> tuple[float, float]:
        """Each processor ticks on its own; the busy one at other moments than the idle one."""
        ticks = [int(self.now / 0.01 + offset) * 0.01 for offset in (0.0, 0.5)][: self.processors]
        return round(self.load * ticks[0], 9), round(sum(ticks), 9)


def mean_cube(meter, times: Times, window: float, seconds: float = 4.0) -> float:
    """The mean of CodeCarbon's load factor, which is 0.1 + 0.9 load^3, over windows of some length."""
    factors = []
    for _ in range(round(seconds / window)):
        times.now += window
        factors.append(0.1 + 0.9 * (meter.percent() / 100) ** 3)
    return sum(factors) / len(factors)


class Unsteady(SteadyLoad):
    """As CodeCarbon's: the load since the last look, however short ago."""

    def percent(self) -> float:
        now, (busy, total) = self._clock(), self._times()
        _, (busy_before, total_before) = self._seen[-1]
        self._seen.append((now, (busy, total)))
        return 100 * (busy - busy_before) / (total - total_before) if total > total_before else 0.0


def is_steady(kind: type[SteadyLoad], window: float) -> None:
    times = Times(load=1.0)  # one processor of two: a load of a half, 0.2125 of the nominal power
    factor = mean_cube(kind(times.times, times.clock), times, window)
    assert 0.18 < factor < 0.25, f"the load of windows of {window} s makes {factor:.3f} of the nominal power"


@pytest.mark.parametrize("window", [0.002, 0.005, 0.013, 0.05, 0.3, 1.0])
def test_modelled_power_does_not_hang_on_the_length_of_windows(window):
    is_steady(SteadyLoad, window)


@pytest.mark.parametrize("window", [0.002, 0.005])
def test_a_load_over_a_few_ticks_is_caught(window):
    with pytest.raises(AssertionError, match="of the nominal power"):
        is_steady(Unsteady, window)


def test_a_long_window_has_its_own_load():
    times = Times(load=0.0)
    meter = SteadyLoad(times.times, times.clock)
    times.now = 4.0
    meter.percent()
    times.load, busy_from = 1.0, times.now
    meter._times = lambda: (times.now - busy_from, 2 * times.now)
    meter._seen[-1] = (4.0, (0.0, 8.0))
    times.now += 2 * LOAD_S
    assert meter.percent() == pytest.approx(50.0)


def test_the_load_is_codecarbons_over_long_windows(monkeypatch):
    from codecarbon.external.hardware import SystemCPULoadMeter

    now, real = [1000.0], psutil.cpu_times()

    def cpu_times() -> Any:
        """A load of 30 %: some of it a guest's, which Linux counts among the user's too."""
        zero = dict.fromkeys(real._fields, 0.0)
        spent = {"user": 0.2, "system": 0.1, "idle": 0.6, "iowait": 0.1, "guest": 0.05}
        known = {name: share * now[0] for name, share in spent.items() if name in zero}
        return type(real)(**{**zero, **known})

    monkeypatch.setattr(psutil, "cpu_times", cpu_times)
    ours, theirs = SteadyLoad(clock=lambda: now[0]), SystemCPULoadMeter()
    theirs.reset()
    now[0] += 0.7
    assert ours.percent() == pytest.approx(theirs.percent())
    assert ours.percent() == pytest.approx(30.0)


def test_the_time_that_readings_take_is_billed(clock):
    class Slow:
        def __init__(self) -> None:
            self.billed = 0.0

        def measure_power_and_energy(self, last_duration: float) -> None:
            self.billed += last_duration
            clock.sleep(READING)

    hardware = Slow()
    _keep_own_clock(hardware)
    for _ in range(50):
        hardware.measure_power_and_energy(last_duration=0.0)
    assert hardware.billed == 49 * READING, "all but the last reading, which the next one will bill"


def test_the_tracker_bills_all_time(source, clock, monkeypatch):
    hardware = KnownCpu(clock)
    _keep_own_clock(hardware)
    read_by(source, hardware, monkeypatch)
    began, before = clock.perf_counter(), source.read().joules["cpu"]
    for _ in range(300):
        source.read()
    clock.sleep(ROUND)
    passed = clock.perf_counter() - began
    spent = source.read().joules["cpu"] - before
    assert spent == pytest.approx(WATTS * passed, rel=0.01)  # the tracker's own timer may read once more


# What readings stand for.


def known_cpu(mode: str) -> KnownCpu:
    """A processor of known power that CodeCarbon reads in this way."""
    hardware = type("CPU", (KnownCpu,), {})(Clock())
    hardware._mode = mode
    return hardware


def covered(source, monkeypatch, hardware, window: float, count: int) -> float:
    """Seconds that readings stand for, over those that passed, on a clock of our own."""
    now = [100.0]
    fresh = CodeCarbonSource(clock=lambda: now[0])
    fresh._tracker = source._tracker
    monkeypatch.setattr(source._tracker, "_hardware", [hardware])
    fresh.read()
    for _ in range(count):
        for _ in range(max(1, int(window))):
            now[0] += min(window, 1.0)
            fresh._on_reading()
        fresh.read()
    return fresh.read().covered_s["cpu"] / (window * count)


def test_samples_stand_for_windows_of_a_period_and_more(source, monkeypatch):
    assert covered(source, monkeypatch, known_cpu("intel_power_gadget"), window=4.0, count=3) == 1.0
    assert covered(source, monkeypatch, known_cpu("intel_power_gadget"), window=0.5, count=10) == 0.0


def test_a_model_stands_for_every_window(source, monkeypatch):
    assert covered(source, monkeypatch, known_cpu("constant"), window=0.5, count=10) == 1.0


def test_samples_that_stay_away_stand_for_little(source, monkeypatch):
    now = [100.0]
    fresh = CodeCarbonSource(clock=lambda: now[0])
    fresh._tracker = source._tracker
    monkeypatch.setattr(source._tracker, "_hardware", [known_cpu("intel_power_gadget")])
    now[0] += 30.0  # the periodic reader is dead: one sample in half a minute
    fresh._on_reading()
    assert fresh.read().covered_s["cpu"] == 3.0


# Which boards.

UUIDS = ["GPU-aa11", "GPU-ab22", "GPU-c333"]
INSTANCES = {1: ["MIG-dd44", "MIG-de55"], 2: ["MIG-f666"]}
BOARDS_HERE = [Board(uuid, tuple(INSTANCES.get(index, ()))) for index, uuid in enumerate(UUIDS)]
VISIBLE = {
    "not set": (None, [0, 1, 2]),
    "empty": ("", []),
    "none": ("-1", []),
    "indices": ("2,0", [2, 0]),
    "blanks": (" 2 , 0 ", [2, 0]),
    "uuid": ("GPU-c333", [2]),
    "uuid prefixes": ("GPU-c,GPU-aa", [2, 0]),
    "ambiguous prefix": ("GPU-a,GPU-c", []),
    "an index that is not there ends the list": ("1,7,0", [1]),
    "-1 ends the list": ("1,-1,0", [1]),
    "a word ends the list": ("1,x,0", [1]),
    "an unknown uuid ends the list": ("GPU-c,GPU-zz,GPU-aa", [2]),
    "an index among uuids ends the list": ("GPU-c,0", [2]),
    "a uuid among indices ends the list": ("0,GPU-c", [0]),
    "numbers with text after them": ("1gpu2,2ampere", [1, 2]),
    "twice the same": ("1,1", []),
    "twice the same by uuid": ("GPU-c,GPU-c3", []),
    "an instance of a board": ("MIG-f666", [2]),
    "a prefix of an instance": ("MIG-de", [1]),
    "an ambiguous prefix of instances of one board": ("MIG-d", [1]),
    "an unknown instance": ("MIG-aa11", []),
    "several instances: CUDA takes the first": ("MIG-f666,MIG-dd44", [2]),
    "an instance, the old way": ("MIG-GPU-aa11/1/0", [0]),
    "an unknown board, the old way": ("MIG-GPU-zz/1/0", []),
}


@pytest.mark.parametrize(("visible", "expected"), VISIBLE.values(), ids=VISIBLE)
def test_visible_boards(visible, expected):
    assert _devices.visible_boards(BOARDS_HERE, visible) == expected


@pytest.mark.parametrize("visible", [v for v, _ in VISIBLE.values() if v and "MIG" not in v])
def test_visible_boards_are_torchs(visible, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    parsed = torch.cuda._parse_visible_devices()
    if parsed and isinstance(parsed[0], str):
        parsed = torch.cuda._transform_uuid_to_ordinals(parsed, UUIDS)
    there = [index < len(UUIDS) for index in parsed]
    assert _devices.visible_boards(BOARDS_HERE, visible) == parsed[: (*there, False).index(False)]


@pytest.fixture
def boards(monkeypatch):
    """Puts boards into this machine, and a torch that was built for them."""

    def _boards(uuids, visible: str | None = None, cuda: bool = True, instances=INSTANCES) -> FakeNvml:
        nvml = FakeNvml(uuids and [uuid.removeprefix("GPU-") for uuid in uuids], instances)
        monkeypatch.setattr(_devices, "pynvml", nvml)
        monkeypatch.setattr(_devices, "torch_has_cuda", lambda: cuda)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        return nvml

    return _boards


def test_boards_are_read_and_the_driver_is_let_go(boards):
    nvml = boards(UUIDS)
    assert _devices.nvidia_boards() == BOARDS_HERE
    assert nvml.open == 0
    boards(None)
    assert _devices.nvidia_boards() == []


def test_uuids_of_old_drivers_are_bytes(boards, monkeypatch):
    nvml = boards(["GPU-old"])
    monkeypatch.setattr(nvml, "nvmlDeviceGetUUID", lambda handle: b"GPU-old")
    assert _devices.nvidia_boards() == [Board("GPU-old")]


def test_torchs_devices_are_nvmls_boards(boards):
    boards(UUIDS, visible="GPU-c333,GPU-aa11", instances={})
    assert _devices.resolve(["auto"]) == ["cuda:0", "cuda:1"]
    found = [_devices.board_of(name) for name in ("cuda:0", "cuda:1", "cuda", "cpu")]
    assert [board and board.nvml for board in found] == [2, 0, 2, None]
    assert {board.scope for board in found if board} == {"board"}


@pytest.mark.parametrize("visible", ["MIG-dd44", "MIG-GPU-ab22/3/0", "GPU-ab22", "1"])
def test_an_instance_stands_for_its_whole_board(boards, visible):
    boards(UUIDS, visible=visible)
    assert _devices.resolve(["auto"]) == ["cuda:0"]
    assert _devices.board_of("cuda:0") == (1, "whole board")


RESOLVED = {
    "auto without driver": (None, True, ["auto"], ["cpu"]),
    "auto with a CPU torch": (UUIDS, False, ["auto"], ["cpu"]),
    "auto": (UUIDS[:1], True, ["auto"], ["cuda:0"]),
    "all": (UUIDS, True, ["cuda"], ["cuda:0", "cuda:1", "cuda:2"]),
    "twice": (UUIDS, True, ["cuda:1", "cuda:1"], ["cuda:1"]),
    "cpu": (UUIDS, True, ["cpu"], ["cpu"]),
}


@pytest.mark.parametrize(("uuids", "cuda", "asked", "expected"), RESOLVED.values(), ids=RESOLVED)
def test_devices_that_are_asked_for(boards, uuids, cuda, asked, expected):
    boards(uuids, cuda=cuda)
    assert _devices.resolve(asked) == expected


REFUSED = {
    "not there": (UUIDS, True, ["cuda:3"], r"no device 'cuda:3' here \(there is: cpu, cuda:0, cuda:1, cuda:2\)"),
    "CPU torch": (UUIDS, False, ["cuda"], r"no device 'cuda' here \(there is: cpu; this torch is a CPU build\)"),
    "no device": (UUIDS, True, ["tpu"], r"cannot read device 'tpu'; use auto, cpu, cuda or cuda:INDEX"),
    "two kinds": (UUIDS, True, ["cpu", "cuda:0"], r"one run, one kind of device; got cpu, cuda:0"),
}


@pytest.mark.parametrize(("uuids", "cuda", "asked", "message"), REFUSED.values(), ids=REFUSED)
def test_devices_that_cannot_be(boards, uuids, cuda, asked, message):
    boards(uuids, cuda=cuda)
    with pytest.raises(DeviceError, match=message):
        _devices.resolve(asked)
