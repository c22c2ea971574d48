"""What measuring costs: harmbench's own training, meters and all, against a loop written by hand.

    python -m benchmarks.harness                         prints benchmarks/harness.md; about a minute on two cores
    python -m benchmarks.harness --out benchmarks/harness   writes it, and the figures as JSON

Three ways to train the vision suite's smallest model, by turns in one process, each from the same start over the same
batches to the same weights, bit for bit:

    bare      a loop as one writes it by hand: shuffled batches, Adam, cosine schedule, validations, best state kept
    none      harmbench's training with no meter
    meters    harmbench's training with every meter of the suite, and joules read at the borders of its windows
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from harmbench import bench
from harmbench.datasets import DATASETS, Splits
from harmbench.meters import METERS
from harmbench.records import EnergyReading, Protocol, TrialSpec
from harmbench.runner.batches import batch_indices
from harmbench.runner.ledger import PhaseLedger
from harmbench.runner.model import Classifier, build, derived_seed
from harmbench.runner.run import codecarbon_for
from harmbench.runner.train import Training, evaluation_steps
from harmbench.runner.trial import settle
from harmbench.suite import load

HEADS: tuple[tuple[str | None, str], ...] = ((None, "cross_entropy"), ("euclidean", "harmonic"))
THREADS = (1, 2)


@dataclass(frozen=True)
class Times:
    """Seconds of one training: its steps, and with the validations and all that comes between."""

    steps: float
    whole: float


@dataclass(frozen=True)
class Ratio:
    """What a training took over another of the same round: median and quartiles over the rounds."""

    head: str
    threads: int
    what: str
    ratio: float
    low: float
    high: float
    rounds: int
    step_microseconds: float  # of the bare loop

    def __str__(self) -> str:
        return f"{self.ratio:.3f} [{self.low:.3f}, {self.high:.3f}]"


def by_hand(trial: TrialSpec, model: Classifier, splits: Splits) -> Times:
    """The loop that one would write without harmbench."""
    begun = time.perf_counter()
    protocol, size = trial.protocol, len(splits.train_targets)
    steps = protocol.budget(size)
    stops, seconds, best = evaluation_steps(steps, protocol.evaluations), 0.0, -1.0
    optimizer = torch.optim.Adam(model.parameters(), lr=protocol.lr, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / steps)))
    torch.manual_seed(derived_seed(trial, "train"))
    model.train()
    start = time.perf_counter()
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
        if step in stops:
            seconds += time.perf_counter() - start
            accuracy = validated(model, splits)
            if accuracy > best:
                best, _ = accuracy, copy.deepcopy(model.state_dict())
            start = time.perf_counter()
    return Times(seconds, time.perf_counter() - begun)


def validated(model: Classifier, splits: Splits) -> float:
    """Validation accuracy."""
    model.eval()
    with torch.no_grad():
        logits: Tensor = model(splits.validation_inputs)
        accuracy = (logits.argmax(-1) == splits.validation_targets).double().mean().item()
    model.train()
    return accuracy


def by_harmbench(
    trial: TrialSpec, model: Classifier, splits: Splits, read_energy: Callable[[], EnergyReading]
) -> Times:
    """The same through harmbench, with the trial's meters."""
    begun = time.perf_counter()
    ledger = PhaseLedger(time.perf_counter, read_energy, lambda: None)
    watchers = [METERS.parse(meter).watcher() for meter in trial.meters]
    Training(trial, model, splits, watchers, ledger, lambda _step, _steps: None).run()
    ledger.close()
    return Times(ledger.total("train").seconds, time.perf_counter() - begun)


def compare(head: tuple[str | None, str], threads: int, rounds: int, splits: Splits) -> Iterator[Ratio]:
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
    settle(trial, torch.device("cpu"))
    start = build(trial, (1, 8, 8), 10)
    with codecarbon_for("cpu") as source:
        ways: dict[str, Callable[[Classifier], Times]] = {
            "bare": lambda model: by_hand(trial, model, splits),
            "none": lambda model: by_harmbench(
                trial.model_copy(update={"meters": ()}), model, splits, lambda: EnergyReading(joules={})
            ),
            "meters": lambda model: by_harmbench(trial, model, splits, source.read),
        }
        found = by_turns(ways, start, rounds)
    steps = trial.protocol.budget(len(splits.train_targets))
    usual = 1e6 * statistics.median(times.steps for times in found["bare"]) / steps
    for what, over, under, field in (
        ("meters / none, steps", "meters", "none", "steps"),
        ("none / bare, steps", "none", "bare", "steps"),
        ("meters / bare, steps", "meters", "bare", "steps"),
        ("meters / bare, whole", "meters", "bare", "whole"),
    ):
        ratios = [getattr(a, field) / getattr(b, field) for a, b in zip(found[over], found[under], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        yield Ratio(f"{trial.head} + {trial.loss}", threads, what, middle, low, high, rounds, usual)


def by_turns(ways: dict[str, Callable[[Classifier], Times]], start: Classifier, rounds: int) -> dict[str, list[Times]]:
    """Times of each way, in rounds that begin with another each; the first round only warms up.

    Raises:
        RuntimeError: where the ways do not end in the same weights: they would not have done the same work.
    """
    found: dict[str, list[Times]] = {way: [] for way in ways}
    names = list(ways)
    for turn in range(rounds + 1):
        ends = []
        for way in names[turn % len(names) :] + names[: turn % len(names)]:
            model = copy.deepcopy(start)
            gc.collect()
            times = ways[way](model)
            ends.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
            if turn:
                found[way].append(times)
        if not all(torch.equal(end, ends[0]) for end in ends):
            raise RuntimeError("the ways to train end in different weights")
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
        "<!-- Written by benchmarks/harness.py; edits here are lost. -->",
        "",
        "Time of the vision suite's smallest training (digits, MLP), in three ways by turns in one process: `bare`, a",
        "loop written by hand; `none`, harmbench's without a meter; `meters`, with all meters of the suite and joules",
        "read at the borders of windows. All three end in the same weights, bit for bit. Ratios, median [quartiles]:",
        "of the training steps, meters included and validations left out; and of the whole, validations included. What",
        "comes before the first step and after the last, as warm-up and the look at the selected state, is left out.",
        "",
        f"| head | threads | bare step | {' | '.join(columns)} |",
        "|" + "---|" * (len(columns) + 3),
        *(
            f"| {head} | {threads} | {row[0].step_microseconds:.0f} µs | {' | '.join(map(str, row))} |"
            for (head, threads), row in rows.items()
        ),
        "",
        *(f"- {name}: {value}" for name, value in about.items()),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=25, help="trainings of each way, head and number of threads")
    parser.add_argument("--out", type=Path, help="writes OUT.md and OUT.json instead of printing")
    asked = parser.parse_args()
    splits = DATASETS.parse("digits").load(Path("data"), download=False, seed=0)
    ratios = [ratio for threads in THREADS for head in HEADS for ratio in compare(head, threads, asked.rounds, splits)]
    about = bench.machine() | {
        "threads": " and ".join(map(str, THREADS)),
        "rounds": str(asked.rounds),
        "command": " ".join(["python -m benchmarks.harness", *sys.argv[1:]]),
    }
    if asked.out is None:
        sys.stdout.write(as_markdown(ratios, about))
        return
    asked.out.with_suffix(".md").write_text(as_markdown(ratios, about), encoding="utf-8")
    figures = json.dumps({"about": about, "ratios": [asdict(ratio) for ratio in ratios]}, indent=1) + "\n"
    asked.out.with_suffix(".json").write_text(figures, encoding="utf-8")


if __name__ == "__main__":
    main()
