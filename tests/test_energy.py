"""Joules through CodeCarbon: a real tracker, and a known power in place of this machine's."""

from __future__ import annotations

import itertools
import os
import threading
import time
from types import SimpleNamespace

import pytest
import torch
from codecarbon.core.units import Energy, Power
from codecarbon.external.hardware import CPU
from codecarbon.external.ram import RAM

from harmbench import devices
from harmbench.energy import CodeCarbonSource, _gpu_origin, _origin, settings_from_outside
from harmbench.errors import DeviceError, MeasurementError
from harmbench.executors import LocalExecutor
from harmbench.records import COMPONENTS, EnergyReading

WATTS = 100.0


@pytest.fixture(scope="module")
def source():
    """One tracker for all tests: its start takes seconds."""
    with CodeCarbonSource() as opened:
        yield opened


class KnownCpu(CPU):
    """A processor of constant power, which remembers how many seconds it was billed for."""

    def __init__(self) -> None:
        self._mode, self._tdp, self.seconds = "constant", WATTS, 0.0

    def measure_power_and_energy(self, last_duration: float) -> tuple[Power, Energy]:
        time.sleep(0.001)  # long enough for another reading to get in between
        self.seconds += last_duration
        return Power.from_watts(WATTS), Energy.from_energy(kWh=WATTS * last_duration / 3.6e6)

    def monitor_power(self) -> None:
        """There is nothing to sample."""


@pytest.fixture
def known(source, monkeypatch):
    """The tracker over a processor of known power."""
    hardware = KnownCpu()
    monkeypatch.setattr(source._tracker, "_hardware", [hardware])
    source.read()
    return source


def bombard(source, rounds: int, threads: int = 4) -> float:
    """Read from several threads at the same instants; joules that passed, over power times time."""
    gate = threading.Barrier(threads)

    def read_together() -> None:
        for _ in range(rounds):
            time.sleep(0.02)
            gate.wait()
            source.read()

    readers = [threading.Thread(target=read_together) for _ in range(threads)]
    begin, before = time.perf_counter(), source.read().joules["cpu"]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    return (source.read().joules["cpu"] - before) / (WATTS * (time.perf_counter() - begin))


def test_counters_never_run_backwards(source):
    readings = [source.read().joules for _ in range(20)]
    for before, after in itertools.pairwise(readings):
        assert all(after[c] >= before[c] for c in COMPONENTS if before[c] is not None)
    assert readings[-1]["ram"] > readings[0]["ram"]


def test_joules_are_power_times_time(known):
    begin, before = time.perf_counter(), known.read().joules["cpu"]
    time.sleep(0.2)
    spent = known.read().joules["cpu"] - before
    assert 0.19 < spent / WATTS < time.perf_counter() - begin


def test_readings_from_several_threads_count_once(known):
    # The tracker's own timer, once a second, is one more thread. A reading's own duration is nobody's.
    assert 0.1 < bombard(known, rounds=40) < 1.02


def test_readings_that_are_not_serialised_are_caught(known, monkeypatch):
    monkeypatch.setattr(type(known._tracker), "reading", NoLock())
    assert bombard(known, rounds=20) > 1.3


class NoLock:
    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> None: ...


def test_two_trackers_count_the_same_hardware_twice(known):
    # So an executor with several devices, each with its tracker, must not add up what they say of the processor.
    with CodeCarbonSource() as second:
        second._tracker._hardware = [KnownCpu()]
        second.read()
        begin = time.perf_counter()
        before = [each.read().joules["cpu"] for each in (known, second)]
        time.sleep(0.2)
        spent = [each.read().joules["cpu"] - was for each, was in zip((known, second), before, strict=True)]
        assert 2 * 0.19 < sum(spent) / WATTS < 2 * (time.perf_counter() - begin)


def test_several_devices_leave_the_shared_components_out():
    reading = EnergyReading(joules={"cpu": 5.0, "gpu": 7.0, "ram": 1.0})
    stub = SimpleNamespace(read=lambda: reading)
    alone, both = (LocalExecutor(print, names, None, ()) for names in (["cuda:0"], ["cuda:0", "cuda:1"]))
    assert alone._reading(stub) == reading
    assert both._reading(stub).joules == {"cpu": None, "gpu": 7.0, "ram": None}


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


def test_settings_from_outside_do_not_change_what_is_ours(clean):
    (clean / ".codecarbon.config").write_text("[codecarbon]\npue=2\nmeasure_power_secs=60\ntracking_mode=process\n")
    with CodeCarbonSource() as opened:
        told = opened.describe()
    assert (told["pue"], told["tracking_mode"], told["reading_period_s"]) == (1, "machine", 1)
    assert told["settings_from_outside"] == [".codecarbon.config"]


def test_a_tracker_that_does_not_start_is_an_error(clean):
    (clean / ".codecarbon.config").write_text("[codecarbon]\noutput_dir=nowhere\n")
    with (
        pytest.raises(MeasurementError, match=r"CodeCarbon's tracker did not start; run `harmbench doctor`"),
        CodeCarbonSource(),
    ):
        pass


# Which boards.

UUIDS = ["GPU-aa11", "GPU-ab22", "GPU-c333"]
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
    "an instance of a board": ("MIG-aa11", []),
    "an instance, the old way": ("MIG-GPU-aa11/1/0", []),
}


@pytest.mark.parametrize(("visible", "expected"), VISIBLE.values(), ids=VISIBLE)
def test_visible_boards(visible, expected):
    assert devices.visible_nvidia_indices(UUIDS, visible) == expected


@pytest.mark.parametrize("visible", [v for v, _ in VISIBLE.values() if v and "MIG" not in v])
def test_visible_boards_are_torchs(visible, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    parsed = torch.cuda._parse_visible_devices()
    if parsed and isinstance(parsed[0], str):
        parsed = torch.cuda._transform_uuid_to_ordinals(parsed, UUIDS)
    there = [index < len(UUIDS) for index in parsed]
    assert devices.visible_nvidia_indices(UUIDS, visible) == parsed[: (*there, False).index(False)]


class FakeNvml:
    """Boards that are not there."""

    NVMLError = RuntimeError

    def __init__(self, uuids) -> None:
        self._uuids = uuids
        self.open = 0

    def nvmlInit(self) -> None:
        if self._uuids is None:
            raise self.NVMLError("no driver")
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:
        return len(self._uuids)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetUUID(self, handle: int) -> str | bytes:
        return self._uuids[handle]


@pytest.fixture
def boards(monkeypatch):
    """Puts boards into this machine, and a torch that was built for them."""

    def _boards(uuids, visible: str | None = None, cuda: bool = True) -> FakeNvml:
        nvml = FakeNvml(uuids)
        monkeypatch.setattr(devices, "pynvml", nvml)
        monkeypatch.setattr(devices, "torch_has_cuda", lambda: cuda)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        return nvml

    return _boards


def test_uuids_are_read_and_the_driver_is_let_go(boards):
    nvml = boards([b"GPU-old", "GPU-new"])
    assert devices.nvidia_uuids() == ["GPU-old", "GPU-new"]
    assert nvml.open == 0
    boards(None)
    assert devices.nvidia_uuids() == []


def test_torchs_devices_are_nvmls_boards(boards):
    boards(UUIDS, visible="GPU-c333,GPU-aa11")
    assert devices.resolve(["auto"]) == ["cuda:0", "cuda:1"]
    assert [devices.nvml_index(name) for name in ("cuda:0", "cuda:1", "cuda", "cpu")] == [2, 0, 2, None]


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
    assert devices.resolve(asked) == expected


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
        devices.resolve(asked)
