"""Run folders with made-up records."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from harmbench.results.records import TrialRecord
from harmbench.results.store import RunStore
from tests.support.samples import record, spec

HEADER = {"suite": {"name": "smoke"}, "planned": 4, "excluded": []}


def opened(folder: Path, key: str = "key") -> AbstractContextManager[RunStore]:
    """The folder, opened for writing."""
    return RunStore.open(folder, key, HEADER)


def fill(folder: Path, count: int, start: int = 0) -> list[TrialRecord]:
    """Store `count` records with the seeds from `start` on."""
    records = [record(spec(seed=seed), order=seed) for seed in range(start, start + count)]
    with opened(folder) as store:
        for trial in records:
            store.append(trial)
    return records
