"""What can be measured here, what each source is like, and every trap where it applies and where it does not."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from harmbench.cli import app
from harmbench.cli import run as cli_run
from harmbench.energy import doctor, traps
from harmbench.energy.codecarbon import CodeCarbonSource
from harmbench.energy.idle import measure_idle
from harmbench.energy.instruments import Instruments
from harmbench.energy.net import idle_power, net_of_idle, unsteady_idle
from harmbench.energy.nvml import NvmlSource
from harmbench.energy.rapl import RaplSource
from harmbench.energy.selftest import agreement, self_test
from harmbench.energy.traps import TRAPS, Facts
from harmbench.errors import MeasurementError
from harmbench.executors.local import _LocalSession
from harmbench.planning import environment, plan, suite
from harmbench.results.records import BoardState, EnergyOrigin, EnergyReading, IdleWindow, InvocationRecord
from harmbench.results.store import read
from harmbench.runner import RunOptions, run
from harmbench.runner.jobs import make_job
from tests.support.machines import Machine, Scripted
from tests.support.samples import record

COUNTER = EnergyOrigin(method="counter", scope="package", detail="intel_rapl")
MODEL = EnergyOrigin(method="model", scope="machine", detail="cpu_load, TDP 8 W")
POLLED = EnergyOrigin(method="polled", scope="board", detail="1 board(s)")
MISSING = EnergyOrigin(method="missing", detail="no GPU takes part")
HIDDEN = EnergyOrigin(
    method="missing", detail="no /sys/class/powercap: this kernel, or this virtual machine, shows none"
)
DENIED = EnergyOrigin(method="missing", detail="energy_uj may be read by root only: sudo chmod a+r")

# --- traps -----------------------------------------------------------------------------------------------------

# A machine on which nothing is wrong.
FINE = Facts(
    origins={"cpu": COUNTER, "gpu": COUNTER, "ram": MISSING},
    direct_origins={"cpu": COUNTER, "gpu": COUNTER, "ram": COUNTER},
    codecarbon={
        "version": "3.3.2",
        "tracker": "OfflineEmissionsTracker",
        "tracking_mode": "machine",
        "pue": 1,
        "periodic_reading": True,
        "settings_from_outside": [],
        "threads": 8,
    },
    rapl={"domains": [{"domain": "intel-rapl:0", "wraps_at_joules": 262_143.0, "mirror": False}]},
    devices=("cuda:0",),
    boards=1,
    board=BoardState(watts=60.0, other_processes=0),
    variables={"HARMBENCH_REGION": "FRA", "CUDA_VISIBLE_DEVICES": "0"},
    busy=0.02,
    noise={"cpu": 0.03},
    agreement={"cpu": 1.02, "gpu": 0.97},
)


def saying(**more) -> Facts:
    """The fine machine, with other things said by CodeCarbon."""
    return replace(FINE, codecarbon={**FINE.codecarbon, **more})


def from_origins(**origins) -> Facts:
    return replace(FINE, origins={**FINE.origins, **origins})


def with_variables(**variables) -> Facts:
    return replace(FINE, variables={**FINE.variables, **variables})


def with_domain(**more) -> Facts:
    return replace(FINE, rapl={"domains": [{**FINE.rapl["domains"][0], **more}]})


APPLIES = {
    "codecarbon-version": (saying(version="3.3.0"), "CodeCarbon 3.3.0 is not >=3.3.2,<4"),
    "online-tracker": (saying(tracker="EmissionsTracker"), "CodeCarbon's EmissionsTracker is in use"),
    "no-periodic-reading": (saying(periodic_reading=False), "a counter that wraps within a window is lost"),
    "process-mode": (saying(tracking_mode="process"), "CodeCarbon tracks by process"),
    "pue-inside": (saying(pue=1.4), "a PUE of 1.4"),
    "settings-from-outside": (saying(settings_from_outside=["CODECARBON_PUE"]), "settings from CODECARBON_PUE"),
    "cpu-modelled": (from_origins(cpu=MODEL), r"CPU joules are modelled \(cpu_load, TDP 8 W\)"),
    "cpu-power-guessed": (
        replace(saying(threads=2, cpu_model="AMD EPYC"), origins={**FINE.origins, "cpu": MODEL}),
        "does not know AMD EPYC: .* 4 W for each of 2 threads",
    ),
    "rapl-not-shown": (
        replace(FINE, direct_origins={"cpu": HIDDEN}, virtual=True),
        "no processor counter: no /sys/class/powercap.*; this is a virtual machine",
    ),
    "rapl-not-readable": (replace(FINE, direct_origins={"cpu": DENIED}), "sudo chmod"),
    "rapl-wraps": (with_domain(wraps_at_joules=None), "does not say where intel-rapl:0 wraps"),
    "rapl-mirrored": (with_domain(mirror=True), "intel-rapl:0 not counted again"),
    "ram-guessed": (from_origins(ram=MODEL), "RAM joules are a guess"),
    "machine-not-quiet": (replace(FINE, busy=0.5), "50% of the processors are busy"),
    "idle-not-steady": (replace(FINE, noise={"cpu": 0.4}), "not steady: cpu ±40%"),
    "gpu-not-counted": (from_origins(gpu=MISSING), "a GPU takes part and has no joules"),
    "gpu-polled": (from_origins(gpu=POLLED), "polled power"),
    "gpu-named-by-uuid": (
        replace(with_variables(CUDA_VISIBLE_DEVICES="GPU-aa"), codecarbon={**FINE.codecarbon, "gpu_indices": [3]}),
        "names GPU ids; resolved to NVML's indices 3",
    ),
    "gpu-partitioned": (replace(FINE, partitioned=True), "the whole board's"),
    "gpu-order": (
        replace(with_variables(CUDA_DEVICE_ORDER="FASTEST_FIRST"), boards=2),
        "cuda:0 need not be the board that NVML calls 0",
    ),
    "gpu-shared": (replace(FINE, board=BoardState(other_processes=2)), r"2 other process\(es\)"),
    "gpu-throttled": (replace(FINE, board=BoardState(throttling=("power cap",))), "held back: power cap"),
    "several-devices": (replace(FINE, devices=("cuda:0", "cuda:1")), "trials on 2 devices share"),
    "sources-disagree": (replace(FINE, agreement={"gpu": 1.3}), "disagree: gpu x 1.30"),
    "no-region": (replace(FINE, variables={}), "the world average's"),
}


def test_every_trap_has_a_case():
    assert set(APPLIES) == set(TRAPS)
    assert all(check.__doc__ for check in TRAPS.values())


@pytest.mark.parametrize("name", TRAPS)
def test_a_trap_that_does_not_apply_says_nothing(name):
    assert TRAPS[name](FINE) == ""


@pytest.mark.parametrize(("name", "facts", "said"), [(n, f, s) for n, (f, s) in APPLIES.items()], ids=APPLIES)
def test_a_trap_that_applies_says_so_and_no_other_does(name, facts, said):
    found = {trap.name: trap.text for trap in traps.find(facts)}
    also = {"cpu-power-guessed": {"cpu-modelled"}}.get(name, set())
    assert set(found) == {name} | also
    assert re.search(said, found[name])


def test_names_that_match_no_board_are_told():
    facts = replace(with_variables(CUDA_VISIBLE_DEVICES="GPU-zz"), devices=("cpu",))
    assert "names no board that is here" in TRAPS["gpu-named-by-uuid"](facts)


def test_noise_of_a_model_is_none_of_the_machines():
    assert TRAPS["idle-not-steady"](replace(FINE, origins={"cpu": MODEL}, noise={"cpu": 0.4})) == ""


# --- self-test -------------------------------------------------------------------------------------------------


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path / "powercap")


def test_the_self_test_finds_power_step_renewal_and_agreement(machine):
    direct = RaplSource(machine.root, machine.clock)
    cheat = Scripted(machine, factor=1.25)
    shown = {"cpu": 0.0}

    class Coarse(Scripted):
        """Renews what it shows once in 0.1 s."""

        def read(self) -> EnergyReading:
            if machine.seconds - shown["cpu"] >= 0.1 - 1e-9:
                shown["cpu"] = machine.seconds
                self.shown = super().read()
            return self.shown

    coarse = Coarse(machine)
    tests = self_test({"RAPL": direct, "ours": cheat, "coarse": coarse}, 2.0, clock=machine.clock, wait=machine.pass_by)
    rapl, ours, slow = tests
    assert rapl.watts == pytest.approx({"cpu": 64.0, "ram": 8.0})
    assert rapl.noise["cpu"] == pytest.approx(0.0, abs=1e-9)
    assert (rapl.step_joules["cpu"], rapl.renewal_s["cpu"]) == pytest.approx((64 * 0.005, 0.005))
    assert (slow.step_joules["cpu"], slow.renewal_s["cpu"]) == pytest.approx((6.4, 0.1), rel=0.06)
    assert agreement(ours, rapl)["cpu"] == pytest.approx(1.25)


def test_the_self_test_sees_unsteady_power(machine):
    def wait(seconds):
        machine.watts["cpu"] = 128.0 if int(machine.seconds * 2) % 2 else 16.0
        machine.pass_by(seconds)

    (found,) = self_test({"RAPL": RaplSource(machine.root, machine.clock)}, 2.0, clock=machine.clock, wait=wait)
    assert found.noise["cpu"] > 0.5


def test_the_short_self_test_times_readings_only(machine):
    ticks = iter(range(10_000))
    (found,) = self_test({"ours": Scripted(machine)}, 0.0, clock=lambda: next(ticks) * 1e-6)
    assert (found.seconds, found.watts) == (0.0, {})
    assert found.read_microseconds == pytest.approx(1.0)


# --- idle and net ----------------------------------------------------------------------------------------------


def test_idle_power_is_joules_over_seconds(machine):
    window = measure_idle(RaplSource(machine.root, machine.clock), 5.0, machine.pass_by, machine.clock)
    assert (window.seconds, window.watts("cpu"), window.watts("ram"), window.watts("gpu")) == (5.0, 64.0, 8.0, None)


def test_idle_power_of_a_counter_that_fails_is_missing(machine):
    source = RaplSource(machine.root, machine.clock)

    def wait(seconds):
        (machine.folders["cpu"] / "energy_uj").unlink()
        machine.pass_by(seconds)

    window = measure_idle(source, 5.0, wait, machine.clock)
    assert window.watts("cpu") is None
    assert "could not be read" in window.reasons["cpu"]
    assert window.watts("ram") == 8.0


def block(moment: str, watts: float | None, device: str = "cpu", name: str = "b") -> InvocationRecord:
    """An idle window of 4 s."""
    joules = None if watts is None else 4 * watts
    idle = IdleWindow(seconds=4.0, joules={"cpu": joules}, reasons={} if joules else {"cpu": "it froze"})
    return InvocationRecord(invocation=name, device=device, environment="here", moment=moment, started="", idle=idle)


# A trial whose CPU takes 100/3 J in 1.5 s.
NET = {
    "both ends": ([block("start", 10.0), block("end", 12.0)], 100 / 3 - 11 * 1.5),
    "one end": ([block("start", 10.0)], 100 / 3 - 15),
    "another block": ([block("start", 10.0), block("end", 99.0, name="other")], 100 / 3 - 15),
    "another device": ([block("start", 10.0), block("end", 99.0, device="cuda:1")], 100 / 3 - 15),
    "one end known": ([block("start", None), block("end", 12.0)], 100 / 3 - 18),
    "below idle": ([block("start", 100.0)], 100 / 3 - 150),
}


@pytest.mark.parametrize(("blocks", "net"), NET.values(), ids=NET)
def test_net_is_gross_less_idle(blocks, net):
    found = {m.name: m for m in net_of_idle(record(invocation="b"), idle_power(blocks))}
    assert found["cpu_joules_net"].value == pytest.approx(net)
    assert found["cpu_joules_net"].origin == "modelled"  # as the gross
    assert found["gpu_joules_net"].reason == "no GPU takes part"


def test_net_says_where_it_comes_from():
    (cpu, *_) = net_of_idle(record(invocation="b"), idle_power([block("start", 10.0), block("end", 14.0)]))
    assert "gross less idle: 10 W at the start, 14 W at the end; unsteady" in cpu.reason
    (cpu, *_) = net_of_idle(record(invocation="b"), idle_power([block("start", None)]))
    assert (cpu.value, cpu.reason) == (None, "idle power: it froze")


def test_a_guess_of_memory_has_no_net():
    names = {m.name for m in net_of_idle(record(invocation="b"), idle_power([block("start", 10.0)]))}
    assert names == {"cpu_joules_net", "gpu_joules_net"}


DRIFTS = {
    "unsteady": ([block("start", 10.0), block("end", 14.0)], ["idle power of cpu on cpu went from 10 W .* to 14 W"]),
    "steady": ([block("start", 10.0), block("end", 10.5)], []),
    "start only": ([block("start", 10.0)], []),
    "another block's": ([block("start", 10.0), block("end", 99.0, name="other")], []),
    "one end unknown": ([block("start", 10.0), block("end", None)], []),
}


@pytest.mark.parametrize(("blocks", "said"), DRIFTS.values(), ids=DRIFTS)
def test_unsteady_idle_power_is_told(blocks, said):
    found = list(unsteady_idle(blocks))
    assert len(found) == len(said)
    assert all(re.match(pattern, sentence) for pattern, sentence in zip(said, found, strict=True))


def test_without_idle_windows_there_is_no_net():
    assert net_of_idle(record(invocation="b"), idle_power([])) == ()
    assert net_of_idle(record(), idle_power([block("start", 1.0)])) == ()


# --- stopping --------------------------------------------------------------------------------------------------


def test_ctrl_c_does_not_wait_for_idle_power(tmp_path, monkeypatch):
    def interrupt(signum, frame):
        raise KeyboardInterrupt

    @contextmanager
    def source(device):
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        yield Scripted(Machine(tmp_path / "powercap"))

    monkeypatch.setattr(_LocalSession, "wait_until_loaded", lambda self: None)
    before = signal.signal(signal.SIGALRM, interrupt)
    began = time.monotonic()
    try:
        spec = suite.load("smoke", {"backbones": "mlp", "metrics": "euclidean", "losses": "harmonic"})
        planned = plan.expand(spec, "cpu", environment.result_versions())
        options = RunOptions(tmp_path / "run", ("cpu",), tmp_path, idle_seconds=1000.0)
        with pytest.raises(KeyboardInterrupt):
            list(run(planned, options, source))
    finally:
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - began < 60
    (start,) = read(tmp_path / "run").invocations
    assert start.idle.seconds < 60


# --- boards ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("own", "found"), [(None, "PCI_BUS_ID"), ("FASTEST_FIRST", "FASTEST_FIRST")])
def test_boards_are_numbered_as_nvml_does_unless_you_say(own, found, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_DEVICE_ORDER", own or "")  # so that it is put back
    if own is None:
        monkeypatch.delenv("CUDA_DEVICE_ORDER")
    planned = plan.expand(suite.load("smoke"), "cpu", environment.result_versions())
    started = run(planned, RunOptions(tmp_path / "run", ("cpu",), tmp_path))
    next(started)
    started.close()
    assert os.environ["CUDA_DEVICE_ORDER"] == found


@pytest.mark.parametrize(("devices", "method"), [(("cuda:0",), "counter"), (("cuda:0", "cuda:1"), "missing")])
def test_several_devices_leave_processor_and_memory_without_an_origin(devices, method, tmp_path):
    source = SimpleNamespace(origins=lambda: {"cpu": COUNTER, "gpu": COUNTER, "ram": COUNTER})
    block = SimpleNamespace(spending=None, environment="here", id="invocation")
    options = RunOptions(tmp_path, devices, tmp_path)
    origins = make_job(((0, record().spec),), (), block, options, "cuda:0", source)["energy_origins"]
    assert {part: origin["method"] for part, origin in origins.items()} == {
        "cpu": method,
        "gpu": "counter",
        "ram": method,
    }


# --- doctor and --strict ---------------------------------------------------------------------------------------


@pytest.fixture
def measured(machine, monkeypatch):
    """A machine on which everything can be measured."""
    found = Instruments((0,), direct=[RaplSource(machine.root), NvmlSource((0,), nvml=machine.nvml)])
    found.codecarbon = Scripted(machine)
    monkeypatch.setattr(found.codecarbon, "describe", lambda: {**FINE.codecarbon, "start_s": 1.6, "source": "x"})

    def opened(devices):
        return found

    monkeypatch.setattr(doctor, "instruments_for", opened)
    return found


def invoke(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


def test_doctor_tells_all_as_json(measured):
    ended = invoke("doctor", "--json", "--seconds", "0.1", "--strict")
    assert ended.exit_code == 0, ended.output
    told = json.loads(ended.stdout)
    assert told["not_measured"] == {}
    assert [test["name"] for test in told["energy"]["tests"]] == ["CodeCarbon", "RAPL", "NVML"]
    assert told["energy"]["origins"]["cpu"]["method"] == "counter"


def test_doctor_strict_fails_where_joules_are_modelled(measured, machine):
    measured.codecarbon.origin = MODEL
    ended = invoke("doctor", "--seconds", "0", "--strict")
    assert ended.exit_code == 1
    assert "not measured here: cpu; `harmbench run --strict` would refuse" in ended.output
    assert invoke("doctor", "--seconds", "0").exit_code == 0


def test_run_strict_refuses_before_anything_runs(measured, tmp_path):
    measured.codecarbon.origin = MODEL
    ended = invoke("run", "smoke", "--strict", "--out", str(tmp_path / "run"))
    assert isinstance(ended.exception, MeasurementError)
    assert "--strict: energy cannot be measured here (cpu joules: model: cpu_load, TDP 8 W)" in str(ended.exception)
    assert not (tmp_path / "run").exists()


def test_run_strict_goes_on_where_joules_are_measured_or_not_asked_for(measured, tmp_path, monkeypatch):
    monkeypatch.setattr(cli_run, "_follow", lambda plan, options: pytest.skip("it would run"))
    with pytest.raises(pytest.skip.Exception):
        CliRunner().invoke(app, ["run", "smoke", "--strict", "--out", str(tmp_path)], catch_exceptions=False)
    measured.codecarbon.origin = MODEL
    (tmp_path / "plain.yaml").write_text(PLAIN)
    with pytest.raises(pytest.skip.Exception):
        CliRunner().invoke(app, ["run", str(tmp_path / "plain.yaml"), "--strict"], catch_exceptions=False)


PLAIN = """
name: plain
datasets: [digits]
backbones: [mlp]
losses: [cross_entropy]
protocol: {steps: 10}
meters: [quality]
"""


ASKED = {
    "counted": ({"cpu": COUNTER, "gpu": MISSING}, ["cpu"], set()),
    "modelled": ({"cpu": MODEL, "gpu": MISSING}, ["cpu"], {"cpu"}),
    "GPU polled": ({"cpu": COUNTER, "gpu": POLLED}, ["cuda:0"], set()),
    "GPU missing": ({"cpu": COUNTER, "gpu": MISSING}, ["cuda:0"], {"gpu"}),
    "nothing": ({}, ["cuda:0"], {"cpu", "gpu"}),
}


@pytest.mark.parametrize(("origins", "devices", "wanting"), ASKED.values(), ids=ASKED)
def test_what_is_not_measured(origins, devices, wanting):
    assert set(doctor.not_measured(origins, devices)) == wanting


def test_doctor_on_this_machine_says_why_not():
    with doctor.instruments_for(["cpu"]) as instruments:
        found = doctor.diagnose(["cpu"], instruments, seconds=0.3)
    assert set(found.origins) == {"cpu", "gpu", "ram"}
    for origin in (*found.origins.values(), *found.direct_origins.values()):
        assert origin.method != "missing" or origin.detail
    assert found.tests[0].name == "CodeCarbon"
    assert found.tests[0].watts["ram"] > 0
    assert isinstance(instruments.codecarbon, CodeCarbonSource)


def test_a_virtual_machine_is_known_by_its_flag(tmp_path):
    path = tmp_path / "cpuinfo"
    path.write_text("model name : x\nflags : fpu hypervisor sse\n")
    assert doctor.is_virtual(path)
    path.write_text("flags : fpu sse\n")
    assert not doctor.is_virtual(path)
    assert not doctor.is_virtual(tmp_path / "none")
