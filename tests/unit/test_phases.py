"""The table of phases by components, against sums by hand."""

from __future__ import annotations

from harmbench.report import phases
from harmbench.results.records import IdleWindow, InvocationRecord, PhaseTotal
from harmbench.results.store import RunData
from tests.support.samples import record, spec


def total(phase: str, seconds: float, cpu: float | None) -> PhaseTotal:
    return PhaseTotal(phase=phase, seconds=seconds, joules={"cpu": cpu, "gpu": None, "ram": 2 * seconds}, windows=1)


def run(*parts: tuple[PhaseTotal, ...], **more) -> RunData:
    trials = tuple(
        record(spec(seed=seed), phases=part, wall_seconds=10.1, order=seed) for seed, part in enumerate(parts)
    )
    return RunData(folder="made-up", header={}, trials=trials, environments={}, unreadable_lines=0, **more)


def rows(data: RunData) -> dict[str, tuple[str, ...]]:
    ((table,),) = (section.tables for section in phases.section(data))
    assert [column.label for column in table.columns] == ["phase", "time", "share", "CPU energy", "RAM energy"]
    assert [column.unit for column in table.columns[3:]] == ["J, model", "J, model"], "a model is said to be one"
    return {row[0]: row[1:] for row in table.rows}


def test_phases_add_up_over_trials() -> None:
    parts = total("train", 8.0, 100.0), total("analyze", 2.0, 11.0)
    assert rows(run(parts, parts)) == {
        "train": ("16", "80.0", "200", "32"),
        "analyze": ("4", "20.0", "22", "8"),
        "sum of the phases": ("20", "100", "222", "40"),
        "trials' own clock": ("20.2", "101.0", "", ""),
    }


def test_a_missing_part_is_no_zero() -> None:
    whole, torn = total("train", 8.0, 100.0), total("analyze", 2.0, None)
    found = rows(run((whole, total("analyze", 2.0, 11.0)), (whole, torn)))
    assert found["analyze"] == ("4", "20.0", "11 (1/2)", "8")
    assert found["sum of the phases"] == ("20", "100", "111 (1/2)", "40"), "a trial with a part missing has no sum"
    assert rows(run((torn,)))["analyze"][2] == "n/a"


def test_idle_windows_stand_beside() -> None:
    idle = IdleWindow(seconds=2.0, joules={"cpu": 3.0, "gpu": None, "ram": 1.0})
    ends = tuple(
        InvocationRecord(invocation="b", device="cpu", environment="here", moment=moment, started="", idle=idle)
        for moment in ("start", "end")
    )
    found = rows(run((total("train", 10.0, 5.0),), invocations=ends))
    assert found["idle, outside the trials"] == ("4", "", "6", "2")
    assert found["sum of the phases"][0] == "10"


def test_no_phases_no_table() -> None:
    failed = record(status="failed")
    assert phases.section(run().model_copy(update={"trials": (failed,)})) == ()
