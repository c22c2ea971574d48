"""How long `harmbench report` takes over a run of many trials: `python -m benchmarks.reports`.

The run is made from the records of a real one: its trials again and again, under new seeds and names of data sets, with
values as they are. What is timed is the whole command in a process of its own, plots included.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import typer

COPIES_A_DATASET = 3  # how often the trials repeat under further seeds before they repeat under another data set


def make(source: Path, folder: Path, count: int) -> None:
    """A run folder of `count` trials made from those of another run."""
    header = json.loads((source / "run.json").read_text())
    packed = source / "trials.jsonl.gz"
    lines = gzip.decompress(packed.read_bytes()) if packed.exists() else (source / "trials.jsonl").read_bytes()
    trials = [json.loads(line) for line in lines.splitlines()]
    seeds = 1 + max(trial["spec"]["seed"] for trial in trials)
    copies = [_copy(trials[i % len(trials)], i, i // len(trials), seeds) for i in range(count)]
    names = header["suite"]["datasets"]
    used = {copy["spec"]["dataset"] for copy in copies}
    rounds = range(1 + count // (COPIES_A_DATASET * len(trials)))
    header["suite"]["datasets"] = [_renamed(name, i) for i in rounds for name in names if _renamed(name, i) in used]
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({**header, "planned": count}))
    (folder / "trials.jsonl").write_text("".join(json.dumps(copy, separators=(",", ":")) + "\n" for copy in copies))
    for name in ("environments.jsonl", "invocations.jsonl"):
        if (source / name).exists():
            (folder / name).write_bytes((source / name).read_bytes())


def _copy(trial: dict[str, Any], number: int, copy: int, seeds: int) -> dict[str, Any]:
    again, rest = divmod(copy, COPIES_A_DATASET)
    dataset, seed = _renamed(trial["spec"]["dataset"], again), trial["spec"]["seed"] + rest * seeds
    return {
        **trial,
        "id": f"{number:012x}",
        "order": number,
        "spec": {**trial["spec"], "dataset": dataset, "seed": seed},
    }


def _renamed(dataset: str, number: int) -> str:
    """The address of a copy, still one: with an option that tells it apart.

    >>> _renamed("digits", 0), _renamed("digits", 1), _renamed("digits[train_fraction=0.1]", 2)
    ('digits', 'digits[copy=2]', 'digits[train_fraction=0.1,copy=3]')
    """
    name, _, options = dataset.rstrip("]").partition("[")
    return f"{name}[{options + ',' if options else ''}copy={number + 1}]" if number else dataset


def seconds_of(command: list[str], repeats: int) -> list[float]:
    """Wall seconds of a command, each time in a new process; not of the first, which leaves compiled modules behind."""
    usual = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    found = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=usual)
        found.append(time.perf_counter() - start)
    return found[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", type=Path, default=Path("reports/example-vision"))
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--formats", default="md,csv,json,latex")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="make the run there, and leave it")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.keep or Path(scratch) / "run"
        if not (folder / "run.json").exists():
            make(arguments.source, folder, arguments.trials)
        megabytes = (folder / "trials.jsonl").stat().st_size / 1e6
        typer.echo(f"{arguments.trials} trials, {megabytes:.0f} MB, {arguments.repeats} times each\n")
        typer.echo("| format | median s | least to most |\n|---|---:|---|")
        for form in arguments.formats.split(","):
            command = [sys.executable, "-m", "harmbench", "report", str(folder), "--format", form]
            seconds = seconds_of([*command, "--out", f"{scratch}/report"], arguments.repeats)
            typer.echo(f"| {form} | {statistics.median(seconds):.2f} | {min(seconds):.2f} to {max(seconds):.2f} |")


if __name__ == "__main__":
    main()
