"""Whether two runs of one suite gave the same results to the last bit: for changes that must not move numbers.

    python -m benchmarks.same_results RUN_A RUN_B    exit code 1 where a trial or a number differs

Trials are matched by data set, backbone, head, loss, setting and seed, since their ids change with the code. Compared
are all measurements, the validation curve and the curves of meters, except what a clock or a meter of the machine says.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from harmbench.results.records import TrialRecord
from harmbench.results.store import read

OF_THE_MACHINE = re.compile(
    r"seconds|joules|throughput|tokens_per_second|data_wait_share|mfu|peak_memory|warm_up_steps|watts"
)
Key = tuple[str, str, str, str, str, int]
Numbers = dict[str, float | str | None]


def numbers(trial: TrialRecord) -> Numbers:
    """Everything in a record that the machine's speed and power cannot change, by name."""
    values: Numbers = {"status": trial.status, "reason": trial.reason}
    values |= {f"size {part}": size for part, size in trial.sizes.items()}
    values |= {m.name: m.value for m in trial.measurements if not OF_THE_MACHINE.search(m.name)}
    for point in trial.curve:
        values[f"step {point.step}: train loss"] = point.train_loss
        values[f"step {point.step}: validation accuracy"] = point.validation_accuracy
        values[f"step {point.step}: validation loss"] = point.validation_nll
    for curve in trial.curves:
        values |= {f"{curve.name} at {step}": y for step, y in zip(curve.steps, curve.values, strict=True)}
    return values


def by_key(folder: Path) -> dict[Key, Numbers]:
    """The numbers of each trial of a run."""
    return {(*trial.spec.cell, trial.spec.seed): numbers(trial) for trial in read(folder).trials}


def differences(before: dict[Key, Numbers], after: dict[Key, Numbers]) -> Iterator[str]:
    """A line for each trial that only one run has, and for each number that differs."""
    for key in sorted(before.keys() ^ after.keys()):
        yield f"{key}: only in {'the first' if key in before else 'the second'} run"
    for key in sorted(before.keys() & after.keys()):
        names = before[key].keys() | after[key].keys()
        for name in sorted(names):
            old, new = before[key].get(name, "absent"), after[key].get(name, "absent")
            if old != new:
                yield f"{key}: {name}: {old!r} -> {new!r}"


def main(first: str, second: str) -> int:
    before, after = by_key(Path(first)), by_key(Path(second))
    lines = list(differences(before, after))
    kinds = Counter(name.partition(":")[0].partition(" at ")[0] for one in before.values() for name in one)
    print(*lines[:50], sep="\n")  # noqa: T201
    print(  # noqa: T201
        f"{len(before)} and {len(after)} trials, {sum(map(len, before.values()))} numbers of {len(kinds)} kinds "
        f"in the first: {len(lines)} differences"
    )
    return bool(lines)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
