"""Comparing two runs: nothing changes by itself, what is worse misses the gate, and unlike runs are refused."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harmbench.analysis.compare import Gate, compare, parse_gates
from harmbench.cli import app
from harmbench.errors import HarmbenchError, IncomparableError, OptionError, UnknownNameError
from harmbench.results import store
from harmbench.results.records import Measurement, TrialRecord
from tests.support.samples import COUNTED, record, spec

IMAGES = 1797
HEADS = (None, "euclidean", "cosine", "manhattan")
HERE = {"id": "here", "cpu": "Some CPU", "cpu_count": 2, "gpus": []}
KERNELS = {"kernels": "auto", "instruction set": "avx2", "library": "a.so"}
Change = Callable[[TrialRecord], TrialRecord]


def trials(seeds=range(5)) -> list[TrialRecord]:
    rng = random.Random(0)
    found = []
    for head in HEADS:
        for seed in seeds:
            values = (
                Measurement.of("test_accuracy", (1700 + rng.randint(-9, 9)) / IMAGES, "1", "higher"),
                Measurement.of("throughput", 1000 * rng.uniform(0.95, 1.05), "sample/s", "higher"),
                Measurement.of("peak_memory", 1e6 * rng.uniform(0.99, 1.01), "B", "lower"),
                Measurement.of("cpu_joules", rng.uniform(5, 6), "J", "lower", origin="modelled"),
                Measurement.of("gradient_cosine", rng.uniform(0.1, 0.2), "1", "neither"),
            )
            trial = spec(head, "harmonic" if head else "cross_entropy", seed)
            more = {"measurements": values, "kernels": KERNELS, "sizes": {"test": IMAGES}, "order": len(found)}
            found.append(record(trial, **more))
    return found


def scale(name: str, factor: float, head: str | None = "cosine", noise: float = 0.0) -> Change:
    """One measure of one head, times a factor."""
    rng = random.Random(1)

    def change(trial: TrialRecord) -> TrialRecord:
        if trial.spec.distance != head:
            return trial
        changed = tuple(
            m.but(value=m.value * factor * (1 + rng.uniform(-noise, noise))) if m.name == name else m
            for m in trial.measurements
        )
        return trial.but(measurements=changed)

    return change


def run(folder: Path, change: Change = lambda trial: trial, here: dict = HERE, given: list | None = None) -> Path:
    """A run folder, written through the store."""
    header = {"suite": {"name": "mine"}, "planned": 20, "excluded": []}
    with store.RunStore.open(folder, "key", header) as written:
        written.append_environment(here)
        for trial in given or trials():
            written.append(change(trial))
    return folder


@pytest.fixture
def before(tmp_path) -> Path:
    return run(tmp_path / "before")


def changes(before: Path, after: Path, gates: str = "", **more):
    return compare(store.read(before), store.read(after), gates=parse_gates([gates] if gates else []), **more)


def say(*arguments) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["compare", *map(str, arguments)], env={"COLUMNS": "200"})
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


# The same, and worse.

GATES = "accuracy:-0.5%,throughput:-5%,memory:+10%"


def test_the_same_run_twice_has_no_difference(before):
    found = changes(before, before, GATES)
    assert {row.decision for row in found.rows} == {"no difference"}
    assert found.summary == "12 comparisons: no difference; no gate missed."
    assert changes(before, before).summary == "16 comparisons: no difference."
    code, text = say(before, before, "--fail-on", GATES)
    assert (code, "12 comparisons: no difference; no gate missed." in text) == (0, True)


def test_a_head_that_is_one_per_cent_worse_misses_the_gate(before, tmp_path):
    after = run(tmp_path / "after", scale("test_accuracy", 0.99, noise=0.001))
    found = changes(before, after, GATES)
    assert [(r.head, r.measure, r.decision) for r in found.rows if r.missed] == [
        ("cosine + harmonic", "test_accuracy", "worse")
    ]
    code, text = say(before, after, "--fail-on", GATES)
    assert code == 1
    assert "cosine + harmonic, mlp on digits" in text
    assert "MISSED" in text
    assert "12 comparisons: 1 worse; 1 gate(s) missed." in text
    assert "\x1b" not in text
    assert say(before, after)[0] == 0  # no gate, nothing to miss
    assert say(before, after, "--fail-on", "accuracy:-2%")[0] == 0  # decided, and within the limit


def test_one_per_cent_that_one_seed_alone_makes_is_not_decided(before, tmp_path):
    """The same fall of the mean as above, and no evidence: four seeds of five are as they were."""

    def fall(trial):
        return scale("test_accuracy", 0.95)(trial) if trial.spec.seed == 2 else trial

    found = changes(before, run(tmp_path / "after", fall), "accuracy:-0.5%")
    (row,) = (row for row in found.rows if row.head == "cosine + harmonic")
    assert row.change == pytest.approx(-0.01, abs=0.001)
    assert (row.decision, found.missed) == ("not decided", False)


LIMITS = {
    "slower": ("throughput", 0.8, "throughput:-5%", True, "worse"),
    "slower, within the limit": ("throughput", 0.8, "throughput:-30%", False, "worse"),
    "faster": ("throughput", 1.3, "throughput:-5%", False, "better"),
    "more memory": ("peak_memory", 1.3, "memory:+10%", True, "worse"),
    "less memory": ("peak_memory", 0.7, "memory:+10%", False, "better"),
    "neither is better": ("gradient_cosine", 3.0, "gradient_cosine:+10%", True, "changed"),
}


@pytest.mark.parametrize(("name", "factor", "gate", "missed", "decision"), LIMITS.values(), ids=LIMITS)
def test_a_gate_is_missed_beyond_its_limit_only(before, tmp_path, name, factor, gate, missed, decision):
    found = changes(before, run(tmp_path / "after", scale(name, factor, noise=0.01)), gate)
    (row,) = (row for row in found.rows if row.head == "cosine + harmonic")
    assert (row.missed, row.decision) == (missed, decision)
    assert found.missed == missed


def test_noise_misses_no_gate(before, tmp_path):
    """Throughput 8 % lower on average, and 30 % up or down at each seed: beyond the limit, and not decided."""
    after = run(tmp_path / "after", scale("throughput", 0.92, noise=0.3))
    (row,) = (r for r in changes(before, after, "throughput:-5%").rows if r.head == "cosine + harmonic")
    assert (row.decision, row.missed) == ("not decided", False)


def test_a_gate_says_how_large_a_change_it_would_see(before, tmp_path):
    after = run(tmp_path / "after", scale("throughput", 1.0, noise=0.1))
    (note,) = (note for note in changes(before, after, "throughput:-5%").notes if "minimum detectable effect" in note)
    assert note.startswith("throughput: the minimum detectable effect is ")
    assert note.endswith(" The gate is at 5 %: use more seeds or fewer cells.")
    (fine,) = (note for note in changes(before, after, "throughput:-90%").notes if "minimum detectable effect" in note)
    assert fine.endswith("(decided with 80 % probability).")


def test_trials_that_break_miss_the_gate(before, tmp_path):
    def diverge(trial):
        return record(trial.spec, "diverged", kernels=KERNELS) if trial.spec.distance == "cosine" else trial

    after = run(tmp_path / "after", diverge)
    (row,) = (row for row in changes(before, after, "accuracy:-0.5%").rows if row.missed)
    assert (row.head, row.note) == ("cosine + harmonic", "5 more of its trials ended badly")
    assert not changes(before, after).missed
    assert not changes(after, before, "accuracy:-0.5%").missed


def test_runs_of_other_seeds_are_compared_by_their_means(before, tmp_path):
    after = run(tmp_path / "after", scale("throughput", 0.5), given=trials(range(10, 15)))
    found = {row.head: row for row in changes(before, after, "throughput:-5%").rows}
    assert {row.pairs for row in found.values()} == {0}
    assert found["cosine + harmonic"].missed
    assert not found["manhattan + harmonic"].missed


def test_one_seed_decides_nothing(tmp_path):
    one, other = (
        run(tmp_path / name, change, given=trials([0]))
        for name, change in (("a", lambda t: t), ("b", scale("throughput", 0.1)))
    )
    found = changes(one, other, "throughput:-5%")
    assert not found.missed
    assert "one seed cannot decide" in {row.note for row in found.rows}


# What may be compared.


def of_protocol(trial):
    protocol = trial.spec.protocol.model_copy(update={"lr": 0.5})
    return trial.but(spec=trial.spec.but(protocol=protocol))


def of_content(trial):
    return trial.but(spec=trial.spec.but(data_content="abc"))


def of_weights(trial):
    return trial.but(spec=trial.spec.but(backbone_content="def"))


def of_kernels(trial):
    return trial.but(kernels={**KERNELS, "instruction set": "avx512", "library": "b.so"})


UNLIKE = {
    "device": (lambda t: t, {**HERE, "cpu": "Other CPU"}, "device (Some CPU with 2 threads; Other CPU with 2 threads)"),
    "protocol": (of_protocol, HERE, "protocol (lr 0.001; lr 0.5)"),
    "data": (of_content, HERE, "data or model (less; digits with content abc)"),
    "model": (of_weights, HERE, "data or model (less; mlp with content def)"),
    "kernels": (of_kernels, HERE, "kernels (instruction set avx2; instruction set avx512)"),
}


@pytest.mark.parametrize(("change", "here", "said"), UNLIKE.values(), ids=UNLIKE)
def test_unlike_runs_are_refused_by_name(before, tmp_path, change, here, said):
    after = run(tmp_path / "after", change, here)
    with pytest.raises(IncomparableError) as caught:
        changes(before, after)
    assert str(caught.value).count("\n") == 0
    assert f"they differ in {said}. Add --force" in str(caught.value)
    found = changes(before, after, force=True)
    assert f"Compared although they differ in {said}." in found.notes


def test_another_gpu_is_another_device(tmp_path):
    def on_gpu(trial):
        return trial.but(spec=trial.spec.but(device_kind="cuda"))

    runs = [run(tmp_path / gpu, on_gpu, {**HERE, "gpus": [{"name": gpu}]}) for gpu in ("A100", "H200")]
    with pytest.raises(IncomparableError, match=r"device \(A100; H200\)"):
        changes(*runs)


def test_another_library_or_version_is_what_one_compares(before, tmp_path):
    def newer(trial):
        versions = {**trial.spec.versions, "harmbench": "1"}
        changed = trial.spec.but(versions=versions)
        return trial.but(spec=changed, kernels={**KERNELS, "library": "b.so"})

    found = changes(before, run(tmp_path / "after", newer))
    assert found.summary == "16 comparisons: no difference."
    assert "Other versions: harmbench 0 in A, harmbench 1 in B." in found.notes


def test_runs_without_a_common_cell_are_refused(before, tmp_path):
    after = run(tmp_path / "after", given=[t for t in trials() if t.spec.distance is None])
    assert "3 cell(s) are in A only and were left out." in changes(before, after).notes
    other = run(tmp_path / "other", given=[record(spec("canberra"))])
    with pytest.raises(IncomparableError, match="no cell in common"):
        changes(before, other)


# Gates and measures.


def test_gates_are_read():
    assert parse_gates(["accuracy:-0.5%", "throughput:-5%,memory:+10%"]) == (
        Gate("accuracy", -0.005),
        Gate("throughput", -0.05),
        Gate("memory", 0.1),
    )


@pytest.mark.parametrize("text", ["accuracy", "accuracy:0.5%", "accuracy:-0.5", "accuracy:-x%", ":-1%", "a b:-1%"])
def test_a_gate_that_cannot_be_read_is_refused(text):
    with pytest.raises(OptionError, match="write MEASURE:LIMIT%"):
        parse_gates([text])


REFUSED = {
    "the good side": ("accuracy:+1%", OptionError, "accuracy is better when higher; write accuracy:-1%, not"),
    "modelled": ("energy:+5%", OptionError, "energy cannot be gated here: CPU energy is modelled, not measured"),
    "unknown": ("acuracy:-1%", UnknownNameError, "unknown measure 'acuracy'; did you mean 'accuracy'"),
}


@pytest.mark.parametrize(("gate", "error", "said"), REFUSED.values(), ids=REFUSED)
def test_a_gate_that_cannot_be_judged_is_refused(before, gate, error, said):
    with pytest.raises(error, match=said):
        changes(before, before, gate)
    with pytest.raises(HarmbenchError):
        say(before, before, "--fail-on", gate)


def test_modelled_energy_is_shown_and_decides_nothing(before, tmp_path):
    after = run(tmp_path / "after", scale("cpu_joules", 3.0))
    found = [row for row in changes(before, after).rows if row.measure == "joules"]
    assert {row.decision for row in found} == {"n/a"}
    assert max(row.change for row in found) == pytest.approx(2.0)
    measured = [
        run(tmp_path / name, lambda trial, c=change: counted(c(trial)))
        for name, change in (("one", lambda t: t), ("three", scale("cpu_joules", 3.0)))
    ]
    assert changes(*measured, "energy:+5%").missed


def counted(trial):
    """As if a hardware counter had been there."""
    values = tuple(m.but(origin="measured") for m in trial.measurements)
    origins = {**trial.energy_origins, "cpu": COUNTED["gpu"]}
    return trial.but(measurements=values, energy_origins=origins)


def test_what_machines_read(before, tmp_path):
    after = run(tmp_path / "after", scale("throughput", 0.5))
    code, text = say(before, after, "--fail-on", "throughput:-5%", "--format", "json")
    content = json.loads(text)
    assert (code, content["missed"]) == (1, True)
    (row,) = (row for row in content["rows"] if row["missed"])
    assert row["low"] <= row["change"] <= row["high"]
    assert row["change"] == pytest.approx(-0.5)
    assert not any(isinstance(v, float) and math.isnan(v) for row in content["rows"] for v in row.values())
    code, text = say(before, after, "--format", "md", "--measures", "throughput", "--all")
    assert text.count("| throughput") == 4
    assert "**4 comparisons: 1 worse.**" in text


@pytest.mark.parametrize("option", ["--force", "--anyway"])
def test_unlike_runs_are_compared_by_force_and_by_its_old_name(before, tmp_path, option):
    change, here, _ = next(iter(UNLIKE.values()))
    run(tmp_path / "after", change, here)
    arguments = ["compare", str(before), str(tmp_path / "after")]
    assert isinstance(CliRunner().invoke(app, arguments).exception, IncomparableError)
    assert CliRunner().invoke(app, [*arguments, option]).exit_code == 0
