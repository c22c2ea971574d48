"""Speed of batched seeds: seed-steps a second, against a plain DataLoader loop and against single trials.

    python -m benchmarks.batched_seeds    prints the table, in some minutes on two cores
    python -m benchmarks.batched_seeds --out benchmarks/batched_seeds  writes it, and the figures as JSON

Three ways to train the same models on modular addition, by the protocol of the suite `algorithmic`, all with the same
model, loss, batch size and optimizer, on the same number of threads:

    plain      DataLoader(TensorDataset, shuffle=True), a step of torch for each batch, one seed after another
    alone      harmbench's training of one trial, one seed after another
    batched    harmbench's training of all seeds as one group

They take turns of a window of steps in one process, every other time in the opposite order. `plain` and `alone` train
one seed, `batched` trains all. The table shows the ratio of seed-steps a second: the median over pairs of windows, its
bootstrap interval, and the quartiles. Seconds are those of the wall clock. A second column has those of the processor,
which other work on the machine disturbs less.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.runner import interval, paired
from harmbench.datasets import DATASETS, Splits
from harmbench.meters import METERS
from harmbench.planning.suite import load
from harmbench.results.records import EnergyReading, TrialSpec
from harmbench.runner import head_benchmark
from harmbench.runner.batched_learner import BatchedLearner, group_of
from harmbench.runner.learner import Learner
from harmbench.runner.model import build
from harmbench.runner.phase_timer import PhaseTimer
from harmbench.runner.single_learner import SingleLearner
from harmbench.runner.training import Training
from harmbench.runner.trial import configure_process

CELLS = (
    ("token_mlp", None, "cross_entropy"),
    ("token_mlp", "euclidean", "harmonic"),
    ("token_transformer", None, "cross_entropy"),
    ("token_transformer", "euclidean", "harmonic"),
)
SEEDS = (5, 10, 20)
BATCH_SIZES = (32, 128)  # of arXiv 2502.01628, and of the suites
DATASET = "modular_addition"
STEPS = 50  # of a window, as the suite `grokking` has between validations

Windows = Iterator[None]  # takes the steps of a window at each turn


@dataclass(frozen=True)
class Gain:
    """Ratio of the seed-steps a second of batched seeds to those of another way.

    Attributes:
        over: name of the other way.
        wall: median ratio, by the wall clock; `low` to `high` is its 95 % bootstrap interval.
        quartiles: of the ratios.
        processor: median ratio, by processor time.
        microseconds: median time of a seed-step of batched seeds, by the wall clock.
        other_microseconds: median time of a seed-step of the other way.
    """

    cell: str
    batch_size: int
    seeds: int
    threads: int
    over: str
    wall: float
    low: float
    high: float
    quartiles: tuple[float, float]
    processor: float
    pairs: int
    microseconds: float
    other_microseconds: float


def plain(spec: TrialSpec, splits: Splits) -> Windows:
    """A loop as one writes it by hand."""
    model = build(spec, splits.input_shape, splits.num_classes)
    optimizer = torch.optim.AdamW(model.parameters(), lr=spec.protocol.lr, weight_decay=spec.protocol.weight_decay)
    parts = TensorDataset(splits.train_inputs, splits.train_targets)
    loader = DataLoader(parts, batch_size=spec.protocol.batch_size, shuffle=True)
    taken = 0
    while True:
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss = model.loss(inputs, targets)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            taken += 1
            if taken % STEPS == 0:
                yield


def by_harmbench(kind: type[Learner], specs: Sequence[TrialSpec], splits: Splits) -> Windows:
    """harmbench's training of these trials, which validates after each window. It reads no joules."""
    models = [build(spec, splits.input_shape, splits.num_classes) for spec in specs]
    learner = kind(specs, models, [splits] * len(specs))
    watchers = {
        position: [METERS.parse(meter).watcher() for meter in spec.meters] for position, spec in enumerate(specs)
    }
    phases = PhaseTimer(time.perf_counter, lambda: EnergyReading(joules={}), lambda: None)
    for _ in Training(learner, watchers, phases, lambda *_: None).windows():
        yield


def alone(spec: TrialSpec, splits: Splits) -> Windows:
    """One trial, which validates after each window."""
    return by_harmbench(SingleLearner, [spec], splits)


def batched(spec: TrialSpec, splits: Splits) -> Windows:
    """All seeds of a group, which are validated after each window."""
    return by_harmbench(BatchedLearner, group_of(spec), splits)


WAYS: dict[str, Callable[[TrialSpec, Splits], Windows]] = {"plain": plain, "alone": alone, "batched": batched}


def gains(cell: tuple[str, str | None, str], batch_size: int, seeds: int, threads: int, pairs: int) -> Iterator[Gain]:
    """Side by side, for one cell, batch size and number of seeds."""
    suite, (backbone, distance, loss) = load("algorithmic"), cell
    windows = 2 * pairs + 2
    changes = {"batch_size": batch_size, "threads": threads, "batched_seeds": seeds}
    protocol = suite.protocol.model_copy(update=changes | {"steps": STEPS * windows, "evaluations": windows})
    spec = TrialSpec(
        dataset=DATASET,
        backbone=backbone,
        distance=distance,
        loss=loss,
        seed=0,
        protocol=protocol,
        meters=(),  # what they do at a validation is no part of a step
        device_kind="cpu",
        versions={},
    )
    configure_process(spec.protocol, torch.device("cpu"))
    splits = DATASETS.parse(DATASET).load(Path("data"), download=False, seed=0)
    trainings = {way: make(spec, splits) for way, make in WAYS.items()}
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    for window in range(windows):
        for way in reversed(WAYS) if window % 2 else WAYS:
            wall, processor = time.perf_counter(), time.process_time()
            next(trainings[way])
            took = time.perf_counter() - wall, time.process_time() - processor
            if window > 1:
                steps = STEPS * (seeds if way == "batched" else 1)
                found[way].append((took[0] / steps, took[1] / steps))
    mine = np.array(found["batched"])
    for over in ("plain", "alone"):
        other = np.array(found[over])
        walls, processors = (paired(other[:, clock], mine[:, clock]) for clock in (0, 1))
        low, high = interval(walls)
        first, middle, third = np.quantile(walls, [0.25, 0.5, 0.75]).tolist()
        yield Gain(
            f"{backbone}, {distance or 'linear'} + {loss}",
            batch_size,
            seeds,
            threads,
            over,
            middle,
            low,
            high,
            (first, third),
            float(np.median(processors)),
            len(walls),
            1e6 * float(np.median(mine[:, 0])),
            1e6 * float(np.median(other[:, 0])),
        )


def as_markdown(found: Sequence[Gain], about: dict[str, str]) -> str:
    """The whole page."""
    lines = [
        "# Speed of batched seeds",
        "",
        "<!-- Written by benchmarks/batched_seeds.py; edits here are lost. -->",
        "",
        "Seed-steps a second on modular addition by the protocol of the suite `algorithmic`, seeds trained as one",
        "stack, over those of a plain DataLoader loop of the same model, loss, batch size and optimizer, and over",
        f"those of harmbench's trials alone. The three take turns of {STEPS} steps in one process; in harmbench's ways",
        "a validation comes after each window and is counted, in the plain loop there is none. Median [its 95 %",
        "bootstrap interval] (quartiles) by the wall clock, and the median by processor time.",
        "",
        "| model | batch | seeds | threads | over | times as many | by processor | µs a seed-step | other | pairs |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(
            f"| {g.cell} | {g.batch_size} | {g.seeds} | {g.threads} | {g.over} "
            f"| {g.wall:.1f} [{g.low:.1f}, {g.high:.1f}] ({g.quartiles[0]:.1f}, {g.quartiles[1]:.1f}) "
            f"| {g.processor:.1f} | {g.microseconds:.0f} | {g.other_microseconds:.0f} | {g.pairs} |"
            for g in found
        ),
        "",
        *(f"- {name}: {value}" for name, value in about.items()),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=BATCH_SIZES)
    parser.add_argument("--threads", type=int, nargs="+", default=(1,))
    parser.add_argument("--pairs", type=int, default=20, help="of windows, for each ratio")
    parser.add_argument("--out", type=Path, help="writes OUT.md and OUT.json instead of printing")
    asked = parser.parse_args()
    found = [
        gain
        for threads in asked.threads
        for cell in CELLS
        for batch_size in asked.batch_sizes
        for seeds in asked.seeds
        for gain in gains(cell, batch_size, seeds, threads, asked.pairs)
    ]
    about = head_benchmark.machine() | {"command": " ".join(["python -m benchmarks.batched_seeds", *sys.argv[1:]])}
    if asked.out is None:
        sys.stdout.write(as_markdown(found, about))
        return
    asked.out.with_suffix(".md").write_text(as_markdown(found, about), encoding="utf-8")
    figures = json.dumps({"about": about, "gains": [asdict(gain) for gain in found]}, indent=1) + "\n"
    asked.out.with_suffix(".json").write_text(figures, encoding="utf-8")


if __name__ == "__main__":
    main()
