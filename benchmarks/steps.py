"""Training speed of whole models: steps of the suite `vision` with each head and with a linear head.

    python -m benchmarks.steps [--heads A,B] [--kernels auto,reference] [--seconds 25] [--out benchmarks/steps]

A step is the one that a trial's throughput counts: gather the batch, forward, loss, backward, optimizer. Heads take
turns of ten steps in one process, in a new order each round, so that other load slows all of them. A head's speed is
the linear head's time of a round divided by its own. The table shows median and quartiles over rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shlex
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from harmbench.datasets import DATASETS, Splits
from harmbench.planning import suite
from harmbench.registry import split_names
from harmbench.results.records import TrialSpec
from harmbench.runner import head_benchmark
from harmbench.runner.model import build, optimizer_for
from harmbench.runner.single_learner import training_step
from harmbench.runner.trial import configure_process

HEADS = "euclidean,cosine,manhattan,chebyshev,canberra,mahalanobis[variant=diagonal]"
TURN = 10  # steps


@dataclass(frozen=True)
class Speed:
    """One line of the table.

    Attributes:
        backbone, head, kernels: what was measured; kernels as HARMBENCH_KERNELS has it.
        how: what computed head and loss.
        microseconds: median time of a step.
        speed, low, high: median and quartiles of the linear head's time over this one's.
        rounds: turns taken.
    """

    backbone: str
    head: str
    kernels: str
    how: str
    microseconds: float
    speed: float
    low: float
    high: float
    rounds: int


def trial(backbone: str, distance: str | None) -> TrialSpec:
    """The suite's trial of this head, at its first seed, on the full digits."""
    protocol = suite.load("vision").protocol
    loss = "harmonic" if distance else "cross_entropy"
    fields = {"dataset": "digits", "meters": (), "device_kind": "cpu", "versions": {}, "protocol": protocol}
    return TrialSpec(backbone=backbone, distance=distance, loss=loss, seed=0, **fields)


class Trainee:
    """A model that takes steps.

    Args:
        spec: its trial.
        splits: the data.
        kernels: what HARMBENCH_KERNELS says while it trains.
    """

    def __init__(self, spec: TrialSpec, splits: Splits, kernels: str) -> None:
        self.spec, self.kernels, self._splits = spec, kernels, splits
        channels, height, width = splits.train_inputs.shape[1:]
        self._model = build(spec, (channels, height, width), splits.num_classes).train()
        self._optimizer = optimizer_for(self._model, spec.protocol)
        self._rng = torch.Generator().manual_seed(0)
        self.seconds: list[float] = []  # of a step, by round
        os.environ["HARMBENCH_KERNELS"] = kernels
        self.how = self._model.how(spec.protocol.batch_size)

    def turn(self) -> float:
        """Seconds of a step."""
        os.environ["HARMBENCH_KERNELS"] = self.kernels
        protocol, size = self.spec.protocol, len(self._splits.train_targets)
        start = time.perf_counter()
        for _ in range(TURN):
            batch = torch.randint(size, (protocol.batch_size,), generator=self._rng)
            inputs, targets = self._splits.train_inputs[batch], self._splits.train_targets[batch]
            training_step(self._model, self._optimizer, inputs, targets, protocol)
        return (time.perf_counter() - start) / TURN


def measure(backbone: str, heads: Sequence[str], kernels: Sequence[str], seconds: float) -> Iterator[Speed]:
    """Speeds of these heads on this backbone, the linear head's first."""
    configure_process(trial(backbone, None).protocol, torch.device("cpu"))
    splits = DATASETS.parse("digits").load(Path("data"), download=False, seed=0)
    linear = Trainee(trial(backbone, None), splits, "auto")
    trainees = [linear, *(Trainee(trial(backbone, head), splits, form) for form in kernels for head in heads)]
    for trainee in trainees:
        trainee.turn()
    end = time.perf_counter() + seconds
    while len(linear.seconds) < 3 or time.perf_counter() < end:
        for trainee in random.sample(trainees, len(trainees)):
            trainee.seconds.append(trainee.turn())
    for trainee in trainees:
        ratios = [base / mine for base, mine in zip(linear.seconds, trainee.seconds, strict=True)]
        low, speed, high = statistics.quantiles(ratios, n=4)
        step = statistics.median(trainee.seconds) * 1e6
        form = "" if trainee is linear else trainee.kernels
        yield Speed(backbone, trainee.spec.head, form, trainee.how, step, speed, low, high, len(ratios))


def as_markdown(speeds: Sequence[Speed], about: dict[str, str]) -> str:
    """The table."""
    lines = [
        "Speed of a training step over that of the same model with a linear head and cross-entropy: median [quartiles]",
        "of rounds; and its median time. Digits, the protocol of the suite `vision`.",
        "",
        "| backbone | head | kernels | microseconds | speed | rounds | head and loss by |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {s.backbone} | {s.head} | {s.kernels} | {s.microseconds:.0f} "
            f"| {s.speed:.2f} [{s.low:.2f}, {s.high:.2f}] | {s.rounds} | {s.how} |"
            for s in speeds
        ),
        "",
        *(f"- {name}: {value}" for name, value in about.items()),
    ]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str]) -> None:
    """Measure, print the table, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--heads", default=HEADS, help="distances, commas between")
    parser.add_argument("--backbones", default="mlp,cnn")
    parser.add_argument("--kernels", default="auto,reference", help="settings of HARMBENCH_KERNELS")
    parser.add_argument("--seconds", type=float, default=25.0, help="for each backbone")
    parser.add_argument("--out", type=Path, help="also write OUT.md and OUT.json")
    asked = parser.parse_args(arguments)
    speeds = [
        speed
        for backbone in split_names([asked.backbones])
        for speed in measure(backbone, split_names([asked.heads]), split_names([asked.kernels]), asked.seconds)
    ]
    os.environ["HARMBENCH_KERNELS"] = "auto"
    about = {**head_benchmark.machine(), "command": shlex.join(["python", "-m", "benchmarks.steps", *arguments])}
    table = as_markdown(speeds, about)
    sys.stdout.write(table)
    if asked.out:
        asked.out.with_suffix(".md").write_text(table)
        content = {"about": about, "speeds": [asdict(speed) for speed in speeds]}
        asked.out.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
