"""SuiteSpec -> Plan: the trials, and what was left out and why. Pure."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any, Literal

from harmbench.backbones import BACKBONES
from harmbench.datasets import DATASETS
from harmbench.errors import SuiteError
from harmbench.nn.distances import DISTANCES
from harmbench.nn.losses import LOSSES, Loss
from harmbench.planning.suite import Exclusion, SuiteSpec, matches
from harmbench.results.records import Record, TrialSpec, fingerprint


class Excluded(Record):
    """A part of the matrix that is not run, with the reason."""

    what: str
    reason: str


class Plan(Record):
    """What a run will do.

    Trials come seed by seed, so that a run that stops early is still a balanced table, and within a seed in a shuffled
    order, the same every time: a machine that slows down as it warms must not do so for the same heads each time.
    """

    suite: SuiteSpec
    trials: tuple[TrialSpec, ...]
    excluded: tuple[Excluded, ...]

    @property
    def key(self) -> str:
        """Names the experiment: everything but the seeds, which are its replicates."""
        return fingerprint(sorted({trial.but(seed=0).id for trial in self.trials}))

    @property
    def cells(self) -> list[tuple[str, str, str, str, str]]:
        """dataset, backbone, head, loss, setting of each cell, in the order of the suite."""
        suite = self.suite
        heads, settings = ("linear", *suite.metrics), tuple(suite.settings)
        axes = (suite.datasets, suite.backbones, heads, suite.losses, settings)

        def place(cell: tuple[str, str, str, str, str]) -> tuple[int, ...]:
            dataset, backbone, head, loss, setting = (axis.index(name) for axis, name in zip(axes, cell, strict=True))
            return dataset, backbone, setting, loss, head

        return sorted({trial.cell for trial in self.trials}, key=place)


def expand(
    suite: SuiteSpec,
    device_kind: Literal["cpu", "cuda"],
    versions: Mapping[str, str],
    contents: Mapping[str, str] | None = None,
) -> Plan:
    """The trials of a suite.

    Args:
        suite: validated.
        device_kind: what trials run on.
        versions: of the software that can change results.
        contents: fingerprints of data sets and backbones whose name does not say what is in them, by address.

    Raises:
        SuiteError: where nothing is left to run.
    """
    heads, excluded = pair(suite.metrics, suite.losses)
    places, misfits = match(suite.datasets, suite.backbones)
    excluded += misfits
    _check_stacks(suite, {backbone for _, backbone in places})
    common: dict[str, Any] = {
        "meters": suite.meters,
        "device_kind": device_kind,
        "versions": dict(versions),
    }
    cells: list[TrialSpec] = []
    left_out: Counter[Exclusion] = Counter()
    for (dataset, backbone), (setting, protocol), (distance, loss) in product(places, suite.settings.items(), heads):
        cell = TrialSpec(
            dataset=dataset,
            data_content=(contents or {}).get(dataset, ""),
            backbone=backbone,
            backbone_content=(contents or {}).get(backbone, ""),
            distance=distance,
            loss=loss,
            seed=0,
            protocol=protocol,
            setting=setting,
            **common,
        )
        rule = next((rule for rule in suite.exclude if _matches(rule, cell)), None)
        if rule:
            left_out[rule] += 1
        else:
            cells.append(cell)
    excluded += [
        Excluded(what=f"{count} cell(s), {rule.scope}", reason=rule.reason) for rule, count in left_out.items()
    ]
    if not cells:
        raise SuiteError(suite.name, ["nothing to run: " + "; ".join(f"{e.what}: {e.reason}" for e in excluded)])
    trials = [cell.but(seed=seed) for seed in range(suite.seeds) for cell in _shuffled(cells, seed)]
    return Plan(suite=suite, trials=tuple(trials), excluded=tuple(excluded))


def rows_of_step(dataset: str, backbone: str, batch_size: int) -> int:
    """How many rows of features the head gets in a step.

    >>> rows_of_step("digits", "mlp", 64), rows_of_step("stdlib[length=256]", "gpt2", 8)
    (64, 2048)
    """
    return batch_size * DATASETS.parse(dataset).targets_per_sample(BACKBONES.parse(backbone).objective)


def _check_stacks(suite: SuiteSpec, backbones: Iterable[str]) -> None:
    """Refuse to train seeds together of a backbone that cannot be stacked.

    Raises:
        SuiteError: which names it.
    """
    if all(protocol.batched_seeds == 1 for protocol in suite.settings.values()):
        return
    if lone := [address for address in sorted(backbones) if not BACKBONES.parse(address).stacks]:
        able = ", ".join(name for name, member in BACKBONES.members.items() if member.stacks)
        said = f"protocol.batched_seeds: seeds of {', '.join(lone)} cannot be trained together (those of {able} can)"
        raise SuiteError(suite.name, [f"{said}; set batched_seeds: 1, or choose other backbones"])


def _shuffled(cells: Sequence[TrialSpec], seed: int) -> list[TrialSpec]:
    """The cells in an order of this seed's own."""
    return random.Random(seed).sample(cells, len(cells))


def match(datasets: tuple[str, ...], backbones: tuple[str, ...]) -> tuple[list[tuple[str, str]], list[Excluded]]:
    """Data sets with the backbones that take what they give, and what does not fit.

    >>> match(("digits", "lattice"), ("token_mlp",))[0]
    [('lattice', 'token_mlp')]
    """
    takes = {address: BACKBONES.parse(address).takes for address in backbones}
    gives = {address: DATASETS.parse(address).gives for address in datasets}
    excluded = [
        Excluded(what=f"{backbone} on {len(others)} dataset(s)", reason=f"takes {kind}, and they give {others[0]}")
        for backbone, kind in takes.items()
        if (others := [given for given in gives.values() if given != kind])
    ]
    return [(d, b) for d, b in product(datasets, backbones) if gives[d] == takes[b]], excluded


def pair(metrics: tuple[str, ...], losses: tuple[str, ...]) -> tuple[list[tuple[str | None, str]], list[Excluded]]:
    """Heads that fit their losses: (distance or None for the linear head, loss), and what does not fit.

    >>> pair(("cosine",), ("cross_entropy", "harmonic"))[0]
    [(None, 'cross_entropy'), ('cosine', 'harmonic')]
    """
    heads: list[tuple[str | None, str]] = []
    excluded: list[Excluded] = []
    for address in losses:
        loss = LOSSES.parse(address)
        if loss.reads == "logits":
            heads.append((None, address))
            continue
        fits = [metric for metric in metrics if _fits(loss, metric)]
        heads += [(metric, address) for metric in fits]
        if not fits:
            asked = " or ".join(loss.distances) or "a distance"
            excluded.append(Excluded(what=address, reason=f"reads {asked}, and the suite has none"))
        elif len(fits) < len(metrics):
            left = len(metrics) - len(fits)
            excluded.append(
                Excluded(
                    what=f"{address} on {left} metric(s)", reason=f"is defined for {', '.join(loss.distances)} only"
                )
            )
    if metrics and not any(LOSSES.parse(address).reads == "distances" for address in losses):
        excluded.append(Excluded(what=f"{len(metrics)} metric(s)", reason="no loss of the suite reads distances"))
    return heads, excluded


def _fits(loss: Loss, metric: str) -> bool:
    return not loss.distances or DISTANCES.parse(metric).name in loss.distances


def _matches(rule: Exclusion, cell: TrialSpec) -> bool:
    """Whether a rule leaves a cell out."""
    asked = zip((rule.datasets, rule.backbones, rule.metrics, rule.losses), cell.cell[:-1], strict=True)
    return all(matches(pattern, name) for pattern, name in asked)
