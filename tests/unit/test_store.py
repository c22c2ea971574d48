"""The run folder: nothing lost, nothing doubled, nothing of others touched."""

from __future__ import annotations

import gzip
import json
import math
import os
from pathlib import Path

import pandas
import pytest

from harmbench.errors import RunFolderError
from harmbench.results.records import Measurement, TrialRecord
from harmbench.results.store import RunStore, latest, planned, read
from tests.support.folders import HEADER, fill, opened
from tests.support.paths import ROOT
from tests.support.samples import record, spec

ODD = {"seventh": 1 / 7, "tiny": 5e-324, "huge": 1.7976931348623157e308, "negative zero": -0.0}


@pytest.fixture
def run(tmp_path):
    return tmp_path / "reports" / "run"


# There and back.


@pytest.mark.parametrize("status", ["ok", "diverged", "failed"])
def test_a_record_comes_back_as_it_was(run, status):
    written = record(spec("minkowski[p=1.5]"), status, accuracy=1 / 7)
    with opened(run) as store:
        store.append(written)
    assert read(run).trials == (written,)


@pytest.mark.parametrize("value", ODD.values(), ids=ODD)
def test_numbers_are_kept_to_the_last_bit(run, value):
    with opened(run) as store:
        store.append(record(measurements=(Measurement.of("x", value, "1", "neither"),)))
    found = read(run).trials[0].value("x")
    assert (found, math.copysign(1, found)) == (value, math.copysign(1, value))


def test_pandas_reads_results_in_one_line(run):
    records = fill(run, 3)
    frame = pandas.read_json(run / "trials.jsonl", lines=True, precise_float=True)
    assert list(frame["id"]) == [each.id for each in records]
    assert [values[0]["value"] for values in frame["measurements"]] == [0.95] * 3


def test_of_two_records_of_a_trial_the_last_counts(run):
    with opened(run) as store:
        store.append(record(status="failed"))
        store.append(record(accuracy=0.5))
    assert [trial.status for trial in read(run).trials] == ["ok"]
    assert read(run).missing == 3


def test_trials_come_in_their_order(run):
    with opened(run) as store:
        for order in (2, 0, 1):
            store.append(record(spec(seed=order), order=order))
    assert [trial.order for trial in read(run).trials] == [0, 1, 2]


def test_environments_are_kept_once(run):
    with opened(run) as store:
        for name in ("a", "b", "a"):
            store.append_environment({"id": name, "cpu": "x"})
    assert read(run).environments == {"a": {"id": "a", "cpu": "x"}, "b": {"id": "b", "cpu": "x"}}


# Resuming.


def test_failed_trials_are_tried_again_and_others_not(run):
    statuses = ("ok", "diverged", "failed")
    records = [record(spec(seed=seed), status) for seed, status in enumerate(statuses)]
    with opened(run) as store:
        for each in records:
            store.append(each)
    with opened(run) as store:
        assert store.done == {records[0].id, records[1].id}


def test_a_trial_that_failed_and_then_ended_well_is_done(run):
    with opened(run) as store:
        store.append(record(status="failed"))
        store.append(record())
    with opened(run) as store:
        assert store.done == {record().id}


def test_records_that_cannot_be_read_are_not_done(run):
    fill(run, 2)
    lines = (run / "trials.jsonl").read_text().splitlines()
    foreign = json.dumps({**json.loads(lines[0]), "color": "red"})
    (run / "trials.jsonl").write_text("\n".join([foreign, lines[1], "[1]", "null"]) + "\n")
    with opened(run) as store:
        assert store.done == {record(spec(seed=1)).id}
    assert read(run).unreadable_lines == 3


def test_going_on_keeps_the_date_and_takes_the_new_plan(run):
    fill(run, 1)
    created = read(run).header["created"]
    with RunStore.open(run, "key", {**HEADER, "planned": 9}):
        pass
    assert (read(run).header["created"], read(run).missing) == (created, 8)


# Crashes.


def survives_every_cut(run: Path, append) -> None:
    """Cut the file at every byte of its last record; what came before is read, and what comes after is whole."""
    first, last = fill(run, 2)
    path = run / "trials.jsonl"
    whole = path.read_bytes()
    begin = whole.index(b"\n") + 1
    # Every byte near both ends of the record, and some of those between.
    for cut in [
        *range(begin, begin + 40),
        *range(begin + 40, len(whole) - 40, 29),
        *range(len(whole) - 40, len(whole) + 1),
    ]:
        path.write_bytes(whole[:cut])
        (run / "torn.txt").unlink(missing_ok=True)
        complete = cut >= len(whole) - 1  # all but the line's end is a record
        found = read(run)
        assert found.trials == ((first, last) if complete else (first,)), f"cut at {cut}"
        assert found.unreadable_lines == (begin < cut < len(whole) - 1), f"cut at {cut} is not counted"
        append(run, last)
        assert read(run).trials == (first, last), f"what follows a cut at {cut} is lost"


def through_the_store(run: Path, last: TrialRecord) -> None:
    with opened(run) as store:
        if last.id not in store.done:
            store.append(last)
    assert len(pandas.read_json(run / "trials.jsonl", lines=True)) == 2


def test_a_torn_record_takes_no_other_with_it(run, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # a thousand of them take long
    survives_every_cut(run, through_the_store)


def naively(run: Path, last: TrialRecord) -> None:
    with (run / "trials.jsonl").open("a") as file:
        file.write(last.to_json() + "\n")


def test_a_store_that_appends_to_a_torn_line_is_caught(run):
    with pytest.raises(AssertionError, match="what follows a cut at"):
        survives_every_cut(run, naively)


def test_a_torn_character_is_a_torn_line(run):
    with opened(run) as store:
        store.append(record(status="failed", reason="größer"))
    path = run / "trials.jsonl"
    path.write_bytes(path.read_bytes().partition("ö".encode())[0] + "ö".encode()[:1])
    assert (read(run).trials, read(run).unreadable_lines) == ((), 1)


def test_a_record_is_on_disk_before_it_counts(run, monkeypatch):
    synced = []
    with opened(run) as store:
        monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append((run / "trials.jsonl").read_text()))
        store.append(record())
    assert synced == [record().to_json() + "\n"]


def test_a_crash_while_the_folder_is_made_does_not_bar_it(run):
    run.mkdir(parents=True)
    (run / "run.partial").write_text('{"key": ')
    (run / "writer.lock").touch()
    assert len(fill(run, 1)) == 1


# Refusals.


def test_two_writers_are_refused(run):
    with opened(run) as store:
        with pytest.raises(RunFolderError, match="another run is writing here; wait for it"), opened(run):
            pass
        store.append(record())
    with opened(run) as store:
        assert store.done == {record().id}


def test_a_failed_opening_lets_the_folder_go(run):
    fill(run, 1)
    for _ in range(2):
        with pytest.raises(RunFolderError, match="holds a run of 'smoke' with other settings or versions"):
            opened(run, key="other").__enter__()
    fill(run, 1)


def is_a_file(run):
    run.parent.mkdir()
    run.write_text("mine")


def is_below_a_file(run):
    run.parent.write_text("mine")


def holds_my_thesis(run):
    run.mkdir(parents=True)
    (run / "thesis.tex").write_text("mine")


def holds_a_broken_header(run):
    run.mkdir(parents=True)
    (run / "run.json").write_text("{")


def holds_a_list(run):
    run.mkdir(parents=True)
    (run / "run.json").write_text("[]")


BARRED = {
    "a file": (is_a_file, r"run: cannot be written \(File exists\); choose another --out"),
    "below a file": (is_below_a_file, r"run: cannot be written \(Not a directory\); choose another --out"),
    "foreign files": (holds_my_thesis, "run: holds files but no run.json; choose an empty folder"),
    "broken header": (holds_a_broken_header, "run.json: cannot be read .*; restore it or choose another folder"),
    "another program's header": (holds_a_list, "run.json: cannot be read .*; restore it or choose another folder"),
}


def tree(root: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in root.rglob("*") if p.is_file() and p.name != "writer.lock"}


@pytest.mark.parametrize(("arrange", "message"), BARRED.values(), ids=BARRED)
def test_a_folder_that_cannot_be_used_is_left_as_it_is(run, tmp_path, arrange, message):
    arrange(run)
    before = tree(tmp_path)
    with pytest.raises(RunFolderError, match=message), opened(run):
        pass
    assert tree(tmp_path) == before


def test_what_is_no_run_is_not_read(tmp_path):
    with pytest.raises(RunFolderError, match=r"not a run folder \(no run.json\); `harmbench run SUITE` makes one"):
        read(tmp_path)


@pytest.mark.parametrize("read_it", [read, planned])
@pytest.mark.parametrize(
    ("header", "lacks"), [({}, "suite"), ({"suite": {}}, "planned"), ({"suite": {}, "planned": "9"}, "planned")]
)
def test_a_header_without_what_readers_need_is_no_run(tmp_path, read_it, header, lacks):
    (tmp_path / "run.json").write_text(json.dumps(header))
    with pytest.raises(RunFolderError, match=f"run.json: has no usable '{lacks}'; restore it or choose another folder"):
        read_it(tmp_path)


# The latest.


def test_the_latest_is_the_one_written_to_last(tmp_path):
    for age, name in enumerate(("b", "a", "c")):
        fill(tmp_path / name, 1)
        os.utime(tmp_path / name / "trials.jsonl", (1000 - age, 1000 - age))
    (tmp_path / "z").mkdir()
    assert latest(tmp_path) == tmp_path / "b"
    fill(tmp_path / "a", 1, start=1)
    assert latest(tmp_path) == tmp_path / "a"


def test_no_runs_have_no_latest(tmp_path):
    with pytest.raises(RunFolderError, match="no runs here; `harmbench run vision` makes one"):
        latest(tmp_path / "nowhere")


def test_a_run_of_an_older_schema_still_reads():
    run = read(ROOT / "reports" / "example-vision")
    assert run.unreadable_lines == 0
    assert len(run.trials) == run.planned > 0
    assert {type(trial.wall_seconds) for trial in run.trials if trial.schema_version == 1} <= {type(None)}


def test_packed_trials_are_read_and_a_run_goes_on_beside_them(run):
    fill(run, 2)
    before = read(run).trials
    (run / "trials.jsonl.gz").write_bytes(gzip.compress((run / "trials.jsonl").read_bytes()))
    (run / "trials.jsonl").unlink()
    assert read(run).trials == before
    with opened(run) as store:
        assert store.done == {trial.id for trial in before}
    fill(run, 1, start=len(before))
    assert len(read(run).trials) == len(before) + 1
    (run / "trials.jsonl.gz").write_bytes(b"\x1f\x8b broken")
    with pytest.raises(RunFolderError, match="cannot be unpacked"):
        read(run)
