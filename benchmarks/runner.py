"""Cost of measuring: harmbench's training with all meters, against a loop written by hand.

    python -m benchmarks.runner                         prints benchmarks/runner.md, in about a minute on two cores
    python -m benchmarks.runner --out benchmarks/runner   writes it, and the figures as JSON

Three ways to train the vision suite's smallest model, from the same start over the same batches to the same weights,
bit for bit:

    bare      a loop as one writes it by hand: shuffled batches, Adam, torch's cosine schedule, the training loss summed
              up, validations, best state kept
    runner   harmbench's training without a meter: steps timed, phases booked, joules read at the boundaries of windows
    meters    harmbench's training with every meter of the suite

A machine's speed drifts over seconds, by more than the difference to be measured. The three therefore train side by
side in one process and take turns of a window of about 30 steps, with the next windows in the opposite order (bare,
runner, meters, meters, runner, bare). A ratio compares two ways over two such windows, so that an even drift cancels.
The table shows the median of the ratios with its bootstrap interval, and their quartiles. On a machine with other load,
`--threads 1 --clock processor` counts the processor time of the training thread and leaves out its waiting.
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import math
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import stats
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from harmbench.datasets import DATASETS, Splits
from harmbench.energy.doctor import instruments_for
from harmbench.meters import METERS
from harmbench.planning.suite import load
from harmbench.results.records import EnergyReading, Protocol, TrialSpec
from harmbench.runner import head_benchmark
from harmbench.runner.batches import batch_indices
from harmbench.runner.model import Classifier, build, derived_seed
from harmbench.runner.phase_timer import PhaseTimer
from harmbench.runner.single_learner import SingleLearner
from harmbench.runner.training import Training, evaluation_steps
from harmbench.runner.trial import configure_process

HEADS: tuple[tuple[str | None, str], ...] = ((None, "cross_entropy"), ("euclidean", "harmonic"))
THREADS = (1, 2)
CLOCKS = {"wall": time.perf_counter, "processor": time.thread_time}
RESAMPLES = 9999  # of the bootstrap

Clock = Callable[[], float]
Windows = Iterator[float]  # trains a window at each turn; gives the seconds that its steps took, without the validation


@dataclass(frozen=True)
class Times:
    """Seconds of one window: its steps, and with the validation and all that comes between."""

    steps: float
    whole: float


@dataclass(frozen=True)
class Ratio:
    """Ratio of the times of two ways in windows side by side.

    Attributes:
        threads: 0 for all rows together.
        ratio: median over the pairs; `low` to `high` is its 95 % bootstrap interval.
        quartiles: of the ratios.
        step_microseconds: of the bare loop, median.
        found: the ratios themselves.
    """

    head: str
    threads: int
    what: str
    ratio: float
    low: float
    high: float
    quartiles: tuple[float, float]
    step_microseconds: float
    found: tuple[float, ...]

    @classmethod
    def of(cls, head: str, threads: int, what: str, found: Sequence[float], step_microseconds: float) -> Ratio:
        """Summarize measured ratios."""
        first, middle, third = np.quantile(found, [0.25, 0.5, 0.75]).tolist()
        low, high = interval(np.asarray(found))
        return cls(head, threads, what, middle, low, high, (first, third), step_microseconds, tuple(found))

    def __str__(self) -> str:
        return f"{self.ratio:.3f} [{self.low:.3f}, {self.high:.3f}] ({self.quartiles[0]:.2f}, {self.quartiles[1]:.2f})"


def by_hand(trial: TrialSpec, model: Classifier, splits: Splits, clock: Clock) -> Windows:
    """The loop that one would write without harmbench."""
    protocol, size = trial.protocol, len(splits.train_targets)
    steps = protocol.budget(size)
    stops, best = evaluation_steps(steps, protocol.evaluations), -1.0
    optimizer = torch.optim.Adam(model.parameters(), lr=protocol.lr, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / steps)))
    torch.manual_seed(derived_seed(trial, "train"))
    model.train()
    total = 0.0
    start = clock()
    for step, rows in enumerate(batch_indices(size, protocol.batch_size, steps, derived_seed(trial, "order")), start=1):
        inputs, targets = splits.train_inputs[rows], splits.train_targets[rows]
        optimizer.zero_grad()
        loss = (
            F.cross_entropy(model.head(model.backbone(inputs)), targets)
            if trial.distance is None
            else model.loss(inputs, targets)
        )
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        total += loss.item()
        if step in stops:
            seconds = clock() - start
            accuracy = validated(model, splits)
            if accuracy > best:
                best, _ = accuracy, copy.deepcopy(model.state_dict())
            yield seconds
            total = 0.0
            start = clock()


def validated(model: Classifier, splits: Splits) -> float:
    """Validation accuracy."""
    model.eval()
    with torch.no_grad():
        logits: Tensor = model(splits.validation_inputs)
        accuracy = (logits.argmax(-1) == splits.validation_targets).double().mean().item()
    model.train()
    return accuracy


def by_harmbench(
    trial: TrialSpec, model: Classifier, splits: Splits, read_energy: Callable[[], EnergyReading], clock: Clock
) -> Windows:
    """The same through harmbench, with the trial's meters."""
    phases = PhaseTimer(clock, read_energy, lambda: None)
    watchers = [METERS.parse(meter).watcher() for meter in trial.meters]
    learner = SingleLearner([trial], [model], [splits])
    training = Training(learner, {0: watchers}, phases, lambda _step, _steps: None)
    earlier = 0.0
    for _ in training.windows():
        seconds = training.trained[0].curve[-1].train_seconds
        yield seconds - earlier
        earlier = seconds
    phases.close()


def compare(
    head: tuple[str | None, str], threads: int, seconds: float, splits: Splits, clock: Clock
) -> Iterator[Ratio]:
    """Ratios of one head."""
    suite = load("vision")
    trial = TrialSpec(
        dataset="digits",
        backbone="mlp",
        distance=head[0],
        loss=head[1],
        seed=0,
        protocol=Protocol.model_validate({**suite.protocol.model_dump(), "threads": threads}),
        meters=suite.meters,
        device_kind="cpu",
        versions={},
    )
    configure_process(trial.protocol, torch.device("cpu"))
    start, unmetered = build(trial, (1, 8, 8), 10), trial.but(meters=())
    with instruments_for(["cpu"]) as source:
        ways: dict[str, Callable[[Classifier], Windows]] = {
            "bare": lambda model: by_hand(trial, model, splits, clock),
            "runner": lambda model: by_harmbench(unmetered, model, splits, source.read, clock),
            "meters": lambda model: by_harmbench(trial, model, splits, source.read, clock),
        }
        found = side_by_side(ways, start, trial.protocol.evaluations, seconds, clock)
    window = trial.protocol.budget(len(splits.train_targets)) / trial.protocol.evaluations
    usual = 1e6 * float(np.median([times.steps for times in found["bare"]])) / window
    for what, over, under, field in (
        ("runner / bare, steps", "runner", "bare", "steps"),
        ("meters / runner, steps", "meters", "runner", "steps"),
        ("meters / bare, steps", "meters", "bare", "steps"),
        ("meters / bare, whole", "meters", "bare", "whole"),
    ):
        ratios = paired([getattr(t, field) for t in found[over]], [getattr(t, field) for t in found[under]])
        yield Ratio.of(f"{trial.head} + {trial.loss}", threads, what, ratios.round(5).tolist(), usual)


def together(ratios: Sequence[Ratio]) -> Iterator[Ratio]:
    """All rows as one: no head or number of threads has a reason to be measured otherwise, and noise is halved."""
    for what in dict.fromkeys(ratio.what for ratio in ratios):
        of = [ratio for ratio in ratios if ratio.what == what]
        usual = float(np.median([ratio.step_microseconds for ratio in of]))
        yield Ratio.of("all", 0, what, [one for ratio in of for one in ratio.found], usual)


def paired(over: Sequence[float], under: Sequence[float]) -> np.ndarray:
    """Ratios of two successive windows together: one was trained in the opposite order to the other.

    >>> paired([1.0, 3.0, 5.0, 5.0], [1.0, 1.0, 5.0, 5.0]).tolist()
    [2.0, 1.0]
    """
    return np.reshape(over, (-1, 2)).sum(axis=1) / np.reshape(under, (-1, 2)).sum(axis=1)


def interval(ratios: np.ndarray) -> tuple[float, float]:
    """95 % bootstrap interval of the median."""
    found = stats.bootstrap((ratios,), np.median, n_resamples=RESAMPLES, method="percentile", rng=0)
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def side_by_side(
    ways: dict[str, Callable[[Classifier], Windows]], start: Classifier, windows: int, seconds: float, clock: Clock
) -> dict[str, list[Times]]:
    """Times of each way's windows, from whole trainings for about this number of seconds. The first one only warms up.

    Every other window the ways take their turns in the opposite order, and every two begin with another one.

    Raises:
        RuntimeError: where the ways do not end in the same weights: they would not have done the same work.
    """
    found: dict[str, list[Times]] = {way: [] for way in ways}
    names, end = deque(ways), math.inf
    while time.perf_counter() < end:
        models = {way: copy.deepcopy(start) for way in ways}
        trainings = {way: ways[way](model) for way, model in models.items()}
        gc.collect()
        for window in range(windows):
            for way in reversed(names) if window % 2 else tuple(names):
                begun = clock()
                steps = next(trainings[way])
                if end < math.inf:
                    found[way].append(Times(steps, clock() - begun))
            names.rotate(window % 2)
        ends = zip(*(model.parameters() for model in models.values()), strict=True)
        if not all(torch.equal(one, same[0]) for same in ends for one in same):
            raise RuntimeError("the ways to train end in different weights")
        end = min(end, time.perf_counter() + seconds)
    return found


def as_markdown(ratios: Sequence[Ratio], about: dict[str, str]) -> str:
    """The whole page."""
    columns = list(dict.fromkeys(ratio.what for ratio in ratios))
    rows: dict[tuple[str, int], list[Ratio]] = {}
    for ratio in ratios:
        rows.setdefault((ratio.head, ratio.threads), []).append(ratio)
    lines = [
        "# What measuring costs",
        "",
        "<!-- Written by benchmarks/runner.py; edits here are lost. -->",
        "",
        "Time of the vision suite's smallest training (digits, MLP), in three ways side by side in one process:",
        "`bare`, a loop written by hand; `runner`, harmbench's without a meter: steps timed, phases booked, joules",
        "read at the borders of windows; `meters`, the same with all meters of the suite. All three end in the same",
        "weights, bit for bit. They take turns of one window (31 steps), every other time in the opposite order; a",
        "ratio is that of two such windows together. Median [its 95 % bootstrap interval] (quartiles): of the training",
        "steps with all that happens between them, validations left out; and of the whole, validations included. What",
        "comes before the first step and after the last is left out.",
        "",
        f"| head | threads | bare step | pairs | {' | '.join(columns)} |",
        "|" + "---|" * (len(columns) + 4),
        *(
            f"| {head} | {threads or ''} | {row[0].step_microseconds:.0f} µs | {len(row[0].found)} | "
            f"{' | '.join(map(str, row))} |"
            for (head, threads), row in rows.items()
        ),
        "",
        *(f"- {name}: {value}" for name, value in about.items()),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=15, help="for each head and number of threads")
    parser.add_argument("--threads", type=int, nargs="+", default=THREADS)
    parser.add_argument(
        "--clock",
        choices=CLOCKS,
        default="wall",
        help="`processor`: time of the training thread alone, for --threads 1 on a machine that others use too",
    )
    parser.add_argument("--out", type=Path, help="writes OUT.md and OUT.json instead of printing")
    asked = parser.parse_args()
    splits = DATASETS.parse("digits").load(Path("data"), download=False, seed=0)
    ratios = [
        ratio
        for threads in asked.threads
        for head in HEADS
        for ratio in compare(head, threads, asked.seconds, splits, CLOCKS[asked.clock])
    ]
    ratios += together(ratios)
    about = head_benchmark.machine() | {
        "threads": " and ".join(map(str, asked.threads)),
        "clock": asked.clock,
        "load average": ", ".join(f"{load:.1f}" for load in os.getloadavg()),
        "command": " ".join(["python -m benchmarks.runner", *sys.argv[1:]]),
    }
    if asked.out is None:
        sys.stdout.write(as_markdown(ratios, about))
        return
    asked.out.with_suffix(".md").write_text(as_markdown(ratios, about), encoding="utf-8")
    lines = ",\n".join(json.dumps(asdict(ratio)) for ratio in ratios)  # not a line for each of hundreds of numbers
    figures = f'{{"about": {json.dumps(about)},\n"ratios": [\n{lines}\n]}}\n'
    asked.out.with_suffix(".json").write_text(figures, encoding="utf-8")


if __name__ == "__main__":
    main()
