"""Known joules through the whole chain: counters -> CodeCarbon and our own readers -> trial -> store -> report."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from codecarbon.core import gpu_nvidia
from codecarbon.external.hardware import CPU, GPU

from harmbench import report
from harmbench.energy import carbon
from harmbench.energy.codecarbon import CodeCarbonSource
from harmbench.energy.idle import measure_idle
from harmbench.energy.instruments import Instruments
from harmbench.energy.nvml import NvmlSource
from harmbench.energy.rapl import RaplSource
from harmbench.results import store
from harmbench.results.records import EnergyReading, InvocationRecord, TrialRecord
from harmbench.runner import trial as trials
from tests.support.machines import Machine, Scripted
from tests.support.samples import job_of, spec
from tests.support.training import run_one

WINDOW_S = 8.0  # every window of a trial here
TRAIN_S = 3 * WINDOW_S


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path / "powercap")


def instruments(machine: Machine, codecarbon=None) -> Instruments:
    """Real readers over a machine that does not exist, beside a source that says what it is told."""
    direct = [RaplSource(machine.root, machine.clock), NvmlSource((0,), nvml=machine.nvml, clock=machine.clock)]
    found = Instruments((0,), direct=direct)
    found.codecarbon = codecarbon or Scripted(machine)
    return found


@pytest.fixture(scope="module")
def tracker():
    """A started tracker of CodeCarbon; its start takes seconds."""
    with CodeCarbonSource() as source:
        yield source._tracker


@pytest.fixture
def real(machine, tracker, monkeypatch):
    """CodeCarbon's own RAPL and NVML code, over the machine's files and boards."""
    monkeypatch.setattr(gpu_nvidia, "pynvml", machine.nvml)
    monkeypatch.setattr("codecarbon.core.gpu.PYNVML_AVAILABLE", True)
    hardware = [CPU(".", "intel_rapl", "no model", 64, rapl_dir=str(machine.root)), GPU.from_utils([0])]
    for each in hardware:
        each.start()
    source = CodeCarbonSource((0,), clock=machine.clock)
    source._tracker = tracker
    with tracker.reading:
        monkeypatch.setattr(tracker, "_hardware", hardware)
    return instruments(machine, source)


def run_trial(machine: Machine, source: Instruments, monkeypatch, seed: int = 0, at_border=None) -> TrialRecord:
    """A real trial, for which WINDOW_S pass before each border; `at_border` is told the border's number."""
    borders = []

    class Link(trials.Link):
        def read_energy(self) -> EnergyReading:
            machine.pass_by(WINDOW_S)
            borders.append(None)
            if at_border:
                at_border(len(borders))
            return source.read()

    trial = spec(seed=seed, meters=("quality", "convergence", "energy"))
    order = job_of(trial, order=seed, energy_origins=source.origins(), invocation="call")
    threads = torch.get_num_threads()
    try:
        return run_one(order, Link(), clock=machine.clock)
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(False)


def phase(record: TrialRecord, name: str = "train"):
    return next(phase for phase in record.phases if phase.phase == name)


def reported(folder, records, invocations=()):
    """What a report says of stored records: the report, and its rows by measure."""
    header = {"suite": SUITE, "planned": len(records), "excluded": []}
    with store.RunStore.open(folder, "key", header) as run:
        for record in records:
            run.append(record)
        for end in invocations:
            run.append_invocation(end)
    composed = report.compose(store.read(folder), carbon.grid(intensity=1000.0))
    return composed, {row["measure"]: row for row in composed.measurements}


SUITE = {
    "name": "chain",
    "datasets": ["digits"],
    "backbones": ["mlp"],
    "protocol": spec().protocol.model_dump(),
}


# Known joules.


def test_known_joules_of_real_readers_reach_the_report(machine, real, monkeypatch, tmp_path):
    idle = []
    for moment in ("start", "end"):
        machine.watts["cpu"], machine.nvml.watts[0] = 16.0, 32.0
        measured = measure_idle(real, 5.0, wait=machine.pass_by, clock=machine.clock)
        idle.append(
            InvocationRecord(
                invocation="call", device="cpu", environment="here", moment=moment, started="", idle=measured
            )
        )
        machine.watts["cpu"], machine.nvml.watts[0] = 64.0, 256.0
    record = run_trial(machine, real, monkeypatch)
    composed, rows = reported(tmp_path / "run", [record], idle)
    expected = {
        "cpu_joules": 64.0 * TRAIN_S,
        "gpu_joules": 256.0 * TRAIN_S,
        "cpu_joules_direct": 64.0 * TRAIN_S,
        "gpu_joules_direct": 256.0 * TRAIN_S,
        "ram_joules_direct": 8.0 * TRAIN_S,
        "cpu_joules_net": (64.0 - 16.0) * TRAIN_S,
        "gpu_joules_net": (256.0 - 32.0) * TRAIN_S,
        "gpu_co2": 256.0 * TRAIN_S / 3.6e6 * 1000,
    }
    for name, value in expected.items():
        assert rows[name]["value"] == pytest.approx(value, rel=0.01), name
    assert {rows[name]["origin"] for name in expected if "co2" not in name} == {"measured"}
    assert (rows["cpu_joules"]["method"], rows["cpu_joules"]["scope"]) == ("counter", "package")
    assert (rows["gpu_joules"]["scope"], rows["gpu_joules"]["period_s"], rows["gpu_joules"]["coverage"]) == (
        "board",
        0.1,
        1.0,
    )
    assert rows["ram_joules"]["value"] is None
    assert record.caveats == ()
    table = next(t for t in composed.sections[0].tables if t.title == "Energy of the training window")
    assert table.rows[0][2:5] == ("1,536", "1,152", "1,536")
    assert (table.columns[2].unit, table.columns[3].label) == ("J, counter", "CPU above idle")
    assert not any("modelled, not measured" in sentence for sentence in composed.summary)


def test_phases_add_up_to_the_trial_exactly(machine, real, monkeypatch):
    before = dict(machine.spent)
    record = run_trial(machine, real, monkeypatch)
    passed = machine.spent["cpu"] - before["cpu"] - 64.0 * WINDOW_S  # before the first border
    assert sum(p.direct["cpu"] for p in record.phases) == passed
    # CodeCarbon's own factor from J to kWh is rounded in the seventh digit.
    assert sum(p.joules["cpu"] for p in record.phases) == pytest.approx(passed, rel=1e-6)
    assert sum(p.joules["gpu"] for p in record.phases) == pytest.approx(passed * 4, rel=1e-6)
    assert sum(p.seconds for p in record.phases) * 64.0 == passed
    assert {p.coverage["cpu"] for p in record.phases} == {1.0}


def test_a_modelled_figure_is_called_modelled_all_the_way(machine, monkeypatch, tmp_path):
    source = instruments(machine, Scripted(machine, "model"))
    record = run_trial(machine, source, monkeypatch)
    composed, rows = reported(tmp_path / "run", [record])
    for name in ("cpu_joules", "cpu_joules_per_sample", "gpu_joules"):
        assert (rows[name]["origin"], rows[name]["method"]) == ("modelled", "model")
    assert (rows["cpu_joules_direct"]["origin"], rows["cpu_joules_direct"]["method"]) == ("measured", "counter")
    assert "modelled" in rows["cpu_co2"]["note"]
    columns = {column.label: column.unit for column in composed.sections[0].tables[0].columns}
    assert (columns["CPU energy"], columns["CO2e given"]) == ("J, model", "mg, CPU (model) + GPU (model)")


# What can go wrong in mid-run; borders: load, warm-up, train, evaluate, train, evaluate, ...


def vanish(machine):
    (machine.folders["cpu"] / "energy_uj").unlink(missing_ok=True)


def jump(machine):
    machine.spent["cpu"] = 500.0
    machine.pass_by(0.0)


def freeze(machine):
    machine.frozen.add("cpu")


def reset_board(machine):
    machine.nvml.millijoules[0] = 1000.0


def stop_answering(machine):
    machine.nvml.counts = False


def freeze_board(machine):
    machine.frozen.add("gpu")


FAULTS = {
    "vanishes": (vanish, "cpu", "RAPL: the counter could not be read"),
    "jumps back": (jump, "cpu", "RAPL: the counter jumped from"),
    "freezes": (freeze, "cpu", "RAPL: the counter stood still for"),
    "a board is reset": (reset_board, "gpu", "NVML: the counter jumped from"),
    "a board stops answering": (stop_answering, "gpu", "NVML: the counter could not be read (Not Supported)"),
    "a board freezes": (freeze_board, "gpu", "NVML: the counter stood still for"),
}


@pytest.mark.parametrize(("fault", "component", "reason"), FAULTS.values(), ids=FAULTS)
def test_a_counter_that_fails_in_mid_run_leaves_no_joules_and_a_reason(
    machine, real, monkeypatch, tmp_path, fault, component, reason
):
    record = run_trial(machine, real, monkeypatch, at_border=lambda number: number == 4 and fault(machine))
    assert record.status == "ok"
    train, load = phase(record), phase(record, "load")
    assert train.joules[component] is None
    assert train.reasons[component].startswith(reason)
    assert load.joules[component] is not None
    other = "gpu" if component == "cpu" else "cpu"
    assert phase(record).joules[other] == pytest.approx({"cpu": 64.0, "gpu": 256.0}[other] * TRAIN_S)
    _, rows = reported(tmp_path / "run", [record])
    assert (rows[f"{component}_joules"]["value"], rows[f"{component}_joules"]["origin"]) == (None, "missing")
    assert rows[f"{component}_joules"]["note"].startswith(reason)


def test_without_the_direct_reader_such_a_fault_would_pass_for_a_measurement(machine, real, monkeypatch):
    # CodeCarbon alone bills 0 J for a counter that has vanished, and says nothing.
    real.direct = []
    record = run_trial(machine, real, monkeypatch, at_border=lambda number: number == 4 and vanish(machine))
    assert phase(record).joules["cpu"] == 0.0


def test_a_reader_that_fails_leaves_no_joules_and_a_reason(machine, monkeypatch):
    scripted = Scripted(machine)
    source = instruments(machine, scripted)

    def fail(number):
        scripted.fails = RuntimeError("killed\nfrom outside") if number == 4 else None

    record = run_trial(machine, source, monkeypatch, at_border=fail)
    train = phase(record)
    assert (train.joules["cpu"], train.reasons["cpu"]) == (None, "CodeCarbon failed: RuntimeError: killed from outside")
    assert train.direct["cpu"] == 64.0 * TRAIN_S
    assert record.value("cpu_joules") is None


def test_codecarbon_that_disagrees_with_the_counter_is_a_caveat(machine, monkeypatch, tmp_path):
    record = run_trial(machine, instruments(machine, Scripted(machine, factor=1.2)), monkeypatch)
    assert "cpu in train: CodeCarbon (counter) says 1843 J, the counter itself 1536 J" in record.caveats
    composed, _ = reported(tmp_path / "run", [record])
    assert any("**Caveat on energy**, 1 trial(s): cpu in train: CodeCarbon" in said for said in composed.summary)


@pytest.mark.parametrize("factor", [0.92, 1.0, 1.08])
def test_small_disagreement_is_none(machine, monkeypatch, factor):
    assert run_trial(machine, instruments(machine, Scripted(machine, factor=factor)), monkeypatch).caveats == ()


def test_a_board_that_is_shared_or_held_back_is_a_caveat(machine, monkeypatch):
    machine.nvml.throttle_bits, machine.nvml.pids = 0x40, [1]
    record = run_trial(machine, instruments(machine), monkeypatch)
    assert record.telemetry.throttling == ("hardware thermal slowdown",)
    assert (record.telemetry.watts, record.telemetry.celsius) == ((256.0, 256.0), (40.0, 40.0))
    assert len(record.caveats) == 2


def test_the_death_of_the_periodic_reader_costs_counters_nothing(machine, real, monkeypatch, tracker):
    monkeypatch.setattr(tracker, "_scheduler", SimpleNamespace(_stopped=True, stop=lambda: None))
    record = run_trial(machine, real, monkeypatch)
    assert record.value("cpu_joules") == pytest.approx(64.0 * TRAIN_S)
