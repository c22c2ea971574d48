"""Run folders: append-only results that survive a crash.

    run.json            the suite, the plan's key, what was excluded
    environments.jsonl  what ran the trials, one line for each distinct environment
    invocations.jsonl   instruments and idle power at the start and end of each call of `run`, one InvocationRecord a
                        line (blocks.jsonl in runs of harmbench 0.1)
    budgets.jsonl       limit and use of each call with --budget, one BudgetRecord a line
    trials.jsonl        one TrialRecord a line; pandas.read_json("trials.jsonl", lines=True) reads it (to the last bit
                        with precise_float=True)
    trials.jsonl.gz     the same, packed by hand (`gzip trials.jsonl`); read first, and never written to
    checkpoints/        states of unfinished trials; deleted when a trial is done
    artifacts/          optional arrays of a trial for plots, ID.npz
    torn.txt            lines that a power cut left unfinished, moved here when a run is resumed
    writer.lock         held while a run writes

A record is on disk, flushed and synced, before its trial counts as done. A torn line is skipped and counted when
reading.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import filelock

from harmbench.errors import RunFolderError
from harmbench.results._garbage import nothing_to_collect
from harmbench.results._rows import Record
from harmbench.results._upgrade import upgraded_header
from harmbench.results.invocation import BudgetRecord, InvocationRecord
from harmbench.results.records import TrialRecord

R = TypeVar("R")
PACKED = "trials.jsonl.gz"


class RunData(Record):
    """Contents of a run folder."""

    folder: str
    header: dict[str, Any]
    trials: tuple[TrialRecord, ...]
    environments: dict[str, dict[str, Any]]
    unreadable_lines: int
    invocations: tuple[InvocationRecord, ...] = ()
    budgets: tuple[BudgetRecord, ...] = ()

    @property
    def missing(self) -> int:
        """Number of planned trials without a record."""
        return self.planned - len(self.trials)

    @property
    def planned(self) -> int:
        """Number of planned trials, or of recorded ones if an earlier call had more seeds."""
        return max(int(self.header["planned"]), len(self.trials))


class RunStore:
    """The only writer of a run folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.done: set[str] = set()
        self._invocations = threading.Lock()  # each device's worker adds its own

    @classmethod
    @contextmanager
    def open(cls, folder: Path, key: str, header: dict[str, Any]) -> Iterator[RunStore]:
        """Create a run folder, or resume the run that it holds.

        Args:
            folder: the run's folder.
            key: the plan's key. A folder that holds another plan is refused.
            header: contents of run.json.

        Raises:
            RunFolderError: if the folder cannot be written, is in use by another run, or holds something else.
        """
        _refuse_foreign(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = filelock.FileLock(folder / "writer.lock", timeout=0)
            lock.acquire()
        except filelock.Timeout:
            raise RunFolderError(
                f"{folder}: another run is writing here; wait for it, or choose another --out"
            ) from None
        except OSError as error:
            raise RunFolderError(f"{folder}: cannot be written ({error.strerror}); choose another --out") from None
        try:
            store = cls(folder)
            store._adopt(key, header)
            yield store
        finally:
            lock.release()

    def _adopt(self, key: str, header: dict[str, Any]) -> None:
        old = _read_header(self.folder)
        if old is not None and old.get("key") != key:
            raise RunFolderError(
                f"{self.folder}: holds a run of '{old.get('suite', {}).get('name')}' with other settings or versions; "
                "choose another --out"
            )
        for name in ("trials.jsonl", "environments.jsonl", "invocations.jsonl", "budgets.jsonl"):
            _cut_torn_line(self.folder / name)
        created = old["created"] if old else datetime.now(UTC).isoformat(timespec="seconds")
        _write_atomically(self.folder / "run.json", json.dumps({"key": key, "created": created, **header}, indent=1))
        trials, _ = _read_trials(self.folder)
        self.done = {record.id for record in trials if record.status != "failed"}

    def append(self, record: TrialRecord) -> None:
        """Write one trial record to disk."""
        _append_line(self.folder / "trials.jsonl", record.to_json())
        self.done.add(record.id)

    def append_environment(self, environment: dict[str, Any]) -> None:
        """Write an environment to disk, unless it is there already."""
        path = self.folder / "environments.jsonl"
        known, _ = _read_lines(path)
        if environment["id"] not in {entry["id"] for entry in known}:
            _append_line(path, json.dumps(environment))

    def append_invocation(self, record: InvocationRecord) -> None:
        """Write the record of a call's start or end to disk."""
        with self._invocations:
            _append_line(self.folder / "invocations.jsonl", record.model_dump_json())

    def append_budget(self, budget: BudgetRecord) -> None:
        """Write the budget record of a call to disk."""
        _append_line(self.folder / "budgets.jsonl", budget.model_dump_json())


def read(folder: Path) -> RunData:
    """Return the contents of a run folder, with the last record of each trial.

    Raises:
        RunFolderError: if the folder is not a run.
    """
    header = _header(folder)
    with nothing_to_collect():
        trials, torn = _read_trials(folder)
    records = {record.id: record for record in trials}
    environments, torn_environments = _read_lines(folder / "environments.jsonl")
    invocations, torn_invocations = _read_invocations(folder)
    budgets, torn_budgets = _read_records(folder / "budgets.jsonl", BudgetRecord.model_validate_json)
    _, torn_before = _read_lines(folder / "torn.txt")
    return RunData(
        folder=str(folder),
        header=header,
        trials=tuple(sorted(records.values(), key=lambda record: record.order)),
        environments={entry["id"]: entry for entry in environments},
        invocations=tuple(invocations),
        budgets=tuple(budgets),
        unreadable_lines=sum((torn, torn_environments, torn_invocations, torn_budgets, torn_before)),
    )


def planned(folder: Path) -> int:
    """Return the number of planned trials, without reading the trials.

    Raises:
        RunFolderError: if the folder is not a run.
    """
    planned: int = _header(folder)["planned"]
    return planned


def latest(root: Path) -> Path:
    """Return the run folder under `root` that was written to last.

    Raises:
        RunFolderError: if there is none.
    """
    runs = [path.parent for path in root.glob("*/run.json")]
    if not runs:
        raise RunFolderError(f"{root}: no runs here; `harmbench run vision` makes one")
    return max(runs, key=lambda run: _last_write(run))


def _refuse_foreign(folder: Path) -> None:
    """Raise an error if the folder holds files and is not a run."""
    if not folder.is_dir() or (folder / "run.json").exists():
        return
    if {path.name for path in folder.iterdir()} - {"writer.lock", "run.partial"}:
        raise RunFolderError(f"{folder}: holds files but no run.json; choose an empty folder for --out")


def _last_write(run: Path) -> float:
    files = (run / name for name in ("trials.jsonl", PACKED, "run.json"))
    return next(file for file in files if file.exists()).stat().st_mtime


def _header(folder: Path) -> dict[str, Any]:
    """Return a run's header, checked for the fields that every reader needs."""
    header = _read_header(folder)
    if header is None:
        raise RunFolderError(f"{folder}: not a run folder (no run.json); `harmbench run SUITE` makes one")
    for field, kind in (("suite", dict), ("planned", int)):
        if not isinstance(header.get(field), kind):
            raise RunFolderError(f"{folder / 'run.json'}: has no usable '{field}'; restore it or choose another folder")
    return header


def _read_header(folder: Path) -> dict[str, Any] | None:
    path = folder / "run.json"
    if not path.exists():
        return None
    try:
        header = json.loads(path.read_text())
        if not isinstance(header, dict):
            raise ValueError("not an object")
        header = upgraded_header(header)
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{path}: cannot be read ({error}); restore it or choose another folder") from None
    return header


def _read_trials(folder: Path) -> tuple[list[TrialRecord], int]:
    """Return the trials of a run, packed ones first, and the number of unreadable lines."""
    packed, torn = _read_records(folder / PACKED, TrialRecord.from_json)
    trials, more_torn = _read_records(folder / "trials.jsonl", TrialRecord.from_json)
    return packed + trials, torn + more_torn


def _read_invocations(folder: Path) -> tuple[list[InvocationRecord], int]:
    """Return the records of calls, those of harmbench 0.1 first, and the number of unreadable lines."""
    old, torn = _read_records(folder / "blocks.jsonl", InvocationRecord.model_validate_json)
    new, more_torn = _read_records(folder / "invocations.jsonl", InvocationRecord.model_validate_json)
    return old + new, torn + more_torn


def _read_records(path: Path, read: Callable[[bytes], R]) -> tuple[list[R], int]:
    """Return the records in a file of JSON lines, and the number of unreadable lines."""
    records: list[R] = []
    torn = 0
    for line in _lines(path):
        try:
            records.append(read(line))
        except ValueError:
            torn += 1
    return records, torn


def _read_lines(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Return the objects in a file of JSON lines, and the number of unreadable lines."""
    objects, torn = [], 0
    for line in _lines(path):
        try:
            value = json.loads(line)
        except ValueError:
            value = None
        if isinstance(value, dict):
            objects.append(value)
        else:
            torn += 1
    return objects, torn


def _lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file that are not blank, or nothing if there is no file.

    Raises:
        RunFolderError: if a packed file is broken.
    """
    if not path.exists():
        return
    with path.open("rb", buffering=1 << 18) as file:  # a line has 20,000 bytes, more than a usual buffer
        content = _unpacked(file, path) if path.suffix == ".gz" else file
        yield from (line for line in content if not line.isspace())


def _unpacked(file: BinaryIO, path: Path) -> BinaryIO:
    try:
        return io.BytesIO(gzip.decompress(file.read()))
    except (OSError, EOFError, zlib.error) as error:
        raise RunFolderError(f"{path}: cannot be unpacked ({error}); restore it from a copy") from None


def _append_line(path: Path, line: str) -> None:
    with path.open("ab") as file:
        file.write(line.encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _cut_torn_line(path: Path) -> None:
    """Move text after the last newline to torn.txt. A complete record that lacks only its newline gets one."""
    content = path.read_bytes() if path.exists() else b""
    whole, newline, rest = content.rpartition(b"\n")
    if not rest:
        return
    with path.open("rb+") as file:
        if _is_json(rest):
            file.seek(0, os.SEEK_END)
            file.write(b"\n")
            return
        with path.with_name("torn.txt").open("ab") as torn:
            torn.write(rest + b"\n")
        file.truncate(len(whole + newline))


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _write_atomically(path: Path, text: str) -> None:
    partial = path.with_suffix(".partial")
    with partial.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
