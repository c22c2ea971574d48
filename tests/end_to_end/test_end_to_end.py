"""The real commands on real data: run, crash, go on, report. Each test spends a few seconds on real training."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pandas as pd
import psutil
import pytest

from harmbench.results import store
from tests.support.commands import HANGS_AFTER, SUITE, findings, harmbench, start, wait_until


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(SUITE)
    return path


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of the suite, from start to end; who adds to it takes nothing away."""
    path = tmp_path_factory.mktemp("done")
    (path / "tiny.yaml").write_text(SUITE)
    said = harmbench("run", "tiny.yaml", "--out", "run", "--idle-seconds", 0.2, cwd=path)
    assert said.returncode == 0, said.stderr
    assert "8 ok" in said.stdout
    return path / "run"


def wait_for_trials(folder: Path, count: int, process: subprocess.Popen[str]) -> None:
    path = folder / "trials.jsonl"
    wait_until(lambda: path.exists() and path.read_bytes().count(b"\n") >= count, process, f"{count} trials")


def lines_by_trial(folder: Path) -> Counter[str]:
    return Counter(json.loads(line)["id"] for line in (folder / "trials.jsonl").read_text().splitlines() if line)


def test_run_report_and_resume(suite: Path, done: Path, tmp_path: Path) -> None:
    run = shutil.copytree(done, tmp_path / "run")
    data = store.read(run)
    idle_and_instruments_are_kept(data)
    assert Counter(t.status for t in data.trials) == {"ok": 8}
    assert all(t.value("test_accuracy") > 0.5 for t in data.trials)

    again = harmbench("run", suite, "--out", run, cwd=tmp_path)
    assert again.returncode == 0
    assert "nothing to do, 8 done before" in again.stdout
    more = harmbench("run", suite, "--out", run, "--seeds", 3, cwd=tmp_path)
    assert "4 ok, 8 done before" in more.stdout

    frame = pd.read_json(run / "trials.jsonl", lines=True)
    assert len(frame) == 12
    for form in ("md", "csv", "json"):
        said = harmbench("report", run, "--format", form, "--region", "FRA", cwd=tmp_path)
        assert said.returncode == 0, said.stderr
        assert (run / f"report.{form}").stat().st_size > 1000
    text = (run / "report.md").read_text()
    assert "12 of 12 planned trials" in text
    assert "France" in text
    assert "modelled, not measured" in text or "counter" in text


def idle_and_instruments_are_kept(data: store.RunData) -> None:
    start, end = data.invocations
    assert (start.moment, end.moment) == ("start", "end")
    assert {trial.invocation for trial in data.trials} == {start.invocation} == {end.invocation}
    assert start.idle
    assert start.idle.seconds >= 0.2
    assert (start.idle.watts("ram") or 0) > 0
    assert start.instruments["instruments"]["codecarbon"]["settings"]["tracking_mode"] == "machine"
    assert start.instruments["tests"][0]["read_microseconds"] > 0
    assert "ram-guessed" in {trap["name"] for trap in start.instruments["traps"]}


def test_phases_add_up_to_the_trials_time_and_energy(done: Path) -> None:
    for trial in store.read(done).trials:
        assert [phase.phase for phase in trial.phases] == ["load", "warm-up", "train", "evaluate", "analyze"]
        # test_held_out shows on a clock of its own that nothing is left out. Here, a busy machine may interrupt.
        assert 0 < sum(phase.seconds for phase in trial.phases) <= trial.wall_seconds * (1 + 1e-9)
        train = next(phase for phase in trial.phases if phase.phase == "train")
        assert train.windows == 4
        assert trial.curve[-1].train_seconds == pytest.approx(train.seconds)
        assert trial.value("cpu_joules") == train.joules["cpu"]
        assert all(
            later.train_seconds > earlier.train_seconds
            for earlier, later in zip(trial.curve, trial.curve[1:], strict=False)
        )


@pytest.mark.slow
def test_kill_9_loses_no_finished_trial_and_runs_none_twice(suite: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = ("run", suite, "--out", run)
    for count in (1, 3):
        process = start(*arguments, cwd=tmp_path)
        wait_for_trials(run, count, process)
        process.send_signal(signal.SIGKILL)  # the parent alone: its trial must notice by itself
        process.wait()
    with (run / "trials.jsonl").open("ab") as file:
        file.write(b'{"schema_version":1,"id":"torn')  # what a power cut leaves
    last = harmbench(*arguments, cwd=tmp_path)
    assert last.returncode == 0, last.stderr
    data = store.read(run)
    assert data.unreadable_lines == 1
    assert len(data.trials) == 8
    whole = [line for line in (run / "trials.jsonl").read_text().splitlines() if line.endswith("}")]
    assert Counter(json.loads(line)["id"] for line in whole).most_common(1)[0][1] == 1
    assert "1 unreadable line" in harmbench("report", run, "--out", "-", cwd=tmp_path).stdout


def test_killed_trial_is_a_failure_and_the_others_go_on(suite: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = start("run", suite, "--out", run, "--seeds", 1, "--metrics", "euclidean", "--steps", 2000, cwd=tmp_path)
    wait_for_trials(run, 1, process)
    os.kill(trial_process(process), signal.SIGKILL)
    said, _ = process.communicate(timeout=HANGS_AFTER)
    assert process.returncode == 1, said
    records = store.read(run).trials
    assert Counter(t.status for t in records) == {"ok": 1, "failed": 1}
    assert "SIGKILL" in next(t.reason for t in records if t.status == "failed")
    assert (
        harmbench(
            "run", suite, "--out", run, "--seeds", 1, "--metrics", "euclidean", "--steps", 2000, cwd=tmp_path
        ).returncode
        == 0
    )
    assert Counter(t.status for t in store.read(run).trials) == {"ok": 2}


def trial_process(process: subprocess.Popen[str]) -> int:
    """The id of the process of the running trial: the fork server's youngest child."""
    children: list[psutil.Process] = []

    def is_running() -> bool:
        servers = psutil.Process(process.pid).children()
        children[:] = [
            child for server in servers if "forkserver" in " ".join(server.cmdline()) for child in server.children()
        ]
        return bool(children)

    wait_until(is_running, process, "trial that runs")
    return max(children, key=lambda child: child.create_time()).pid


def test_ctrl_c_ends_cleanly_and_says_how_to_go_on(suite: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = start("run", suite, "--out", run, "--seeds", 50, cwd=tmp_path)  # far more than it gets to
    wait_for_trials(run, 2, process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the whole group
    said, _ = process.communicate(timeout=HANGS_AFTER)
    assert process.returncode == 130, said
    assert "Run the same command to continue." in said
    assert "Traceback" not in said
    before = set(lines_by_trial(run))
    assert 2 <= len(before) < 200
    assert harmbench("run", suite, "--out", run, cwd=tmp_path).returncode == 0
    assert set(lines_by_trial(run).values()) == {1}
    assert len([trial for trial in store.read(run).trials if trial.spec.seed < 2]) == 8


def test_alone_and_in_company_bit_for_bit(suite: Path, done: Path, tmp_path: Path) -> None:
    company, alone = done, tmp_path / "alone"
    harmbench(
        "run", suite, "--out", alone, "--metrics", "hamming[variant=gumbel]", "--losses", "harmonic", cwd=tmp_path
    )
    together = {t.id: t for t in store.read(company).trials}
    lonely = store.read(alone).trials
    assert len(lonely) == 2
    for trial in lonely:
        assert findings(trial) == findings(together[trial.id])
    seeds = {json.dumps(findings(t), sort_keys=True) for t in lonely}
    assert len(seeds) == 2, "two seeds must differ, or the comparison proves nothing"


@pytest.mark.slow
def test_the_smoke_suite(tmp_path: Path) -> None:
    said = harmbench("run", "smoke", cwd=tmp_path)
    assert said.returncode == 0, said.stderr
    report = harmbench("report", cwd=tmp_path)
    assert "16 ended well" in report.stdout
    (run,) = (tmp_path / "reports").iterdir()
    assert min(t.value("test_accuracy") for t in store.read(run).trials) > 0.85
