"""SuiteSpec -> Plan: the trials, and what is excluded and why. Pure."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any, Literal

from harmbench.backbones import BACKBONES
from harmbench.datasets import DATASETS
from harmbench.errors import SuiteError
from harmbench.meters import METERS
from harmbench.nn.distances import DISTANCES
from harmbench.nn.losses import LOSSES, Loss
from harmbench.planning.suite import Exclusion, SuiteSpec, matches
from harmbench.results.records import Record, TrialSpec, fingerprint


class Excluded(Record):
    """A part of the matrix that does not run, with the reason."""

    what: str
    reason: str


class Plan(Record):
    """The trials of a run, in order, and what is excluded.

    Trials run seed by seed, so a run that stops early holds a balanced table. Within a seed the order is shuffled. A
    machine that slows down as it warms up then does not slow down the same heads each time.
    """

    suite: SuiteSpec
    trials: tuple[TrialSpec, ...]
    excluded: tuple[Excluded, ...]

    @property
    def key(self) -> str:
        """A hash that names the experiment. It covers everything except the seeds, which are replicates."""
        return fingerprint(sorted({trial.but(seed=0).id for trial in self.trials}))

    @property
    def folder_name(self) -> str:
        """The default name of the run's folder."""
        return f"{self.suite.name}-{self.key[:6]}"

    @property
    def reports_joules(self) -> bool:
        """Whether a meter of the suite reports joules."""
        return bool({METERS.parse(meter).name for meter in self.suite.meters} & {"energy", "convergence"})

    @property
    def cells(self) -> list[tuple[str, str, str, str, str]]:
        """Data set, backbone, head, loss and setting of each cell, in the order of the suite."""
        suite = self.suite
        heads = ("linear", *suite.metrics)
        settings = tuple(suite.settings)
        axes = (suite.datasets, suite.backbones, heads, suite.losses, settings)

        def position(cell: tuple[str, str, str, str, str]) -> tuple[int, ...]:
            dataset, backbone, head, loss, setting = (axis.index(name) for axis, name in zip(axes, cell, strict=True))
            return dataset, backbone, setting, loss, head

        return sorted({trial.cell for trial in self.trials}, key=position)


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
        contents: by address, fingerprints of data sets and backbones whose content can change under one name.

    Raises:
        SuiteError: if nothing is left to run.
    """
    heads, excluded = pair(suite.metrics, suite.losses)
    pairs, misfits = match(suite.datasets, suite.backbones)
    excluded += misfits
    _check_batched_seeds(suite, {backbone for _, backbone in pairs})
    common: dict[str, Any] = {
        "meters": suite.meters,
        "device_kind": device_kind,
        "versions": dict(versions),
    }
    cells: list[TrialSpec] = []
    excluded_cells: Counter[Exclusion] = Counter()
    for (dataset, backbone), (setting, protocol), (distance, loss) in product(pairs, suite.settings.items(), heads):
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
            excluded_cells[rule] += 1
        else:
            cells.append(cell)
    excluded += [
        Excluded(what=f"{count} cell(s), {rule.scope}", reason=rule.reason) for rule, count in excluded_cells.items()
    ]
    if not cells:
        raise SuiteError(suite.name, ["nothing to run: " + "; ".join(f"{e.what}: {e.reason}" for e in excluded)])
    trials = [cell.but(seed=seed) for seed in range(suite.seeds) for cell in _shuffled(cells, seed)]
    return Plan(suite=suite, trials=tuple(trials), excluded=tuple(excluded))


def rows_of_step(dataset: str, backbone: str, batch_size: int) -> int:
    """The number of rows of features that the head gets in a step.

    >>> rows_of_step("digits", "mlp", 64), rows_of_step("stdlib[length=256]", "gpt2", 8)
    (64, 2048)
    """
    return batch_size * DATASETS.parse(dataset).targets_per_sample(BACKBONES.parse(backbone).objective)


def _check_batched_seeds(suite: SuiteSpec, backbones: Iterable[str]) -> None:
    """Check that seeds of each backbone can be trained in one batch, if the protocol does that.

    Raises:
        SuiteError: for backbones that cannot.
    """
    if all(protocol.batched_seeds == 1 for protocol in suite.settings.values()):
        return
    if unable := [address for address in sorted(backbones) if not BACKBONES.parse(address).stacks]:
        able = ", ".join(name for name, member in BACKBONES.members.items() if member.stacks)
        problem = f"seeds of {', '.join(unable)} cannot be trained together (those of {able} can)"
        advice = "set batched_seeds: 1, or choose other backbones"
        raise SuiteError(suite.name, [f"protocol.batched_seeds: {problem}; {advice}"])


def _shuffled(cells: Sequence[TrialSpec], seed: int) -> list[TrialSpec]:
    """The cells, shuffled by the seed."""
    return random.Random(seed).sample(cells, len(cells))


def match(datasets: tuple[str, ...], backbones: tuple[str, ...]) -> tuple[list[tuple[str, str]], list[Excluded]]:
    """Pairs of a data set and a backbone that takes its inputs, and what does not fit.

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
    """Pairs of a distance (None for the linear head) and a loss that reads it, and what does not fit.

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
            needed = " or ".join(loss.distances) or "a distance"
            excluded.append(Excluded(what=address, reason=f"reads {needed}, and the suite has none"))
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
    """Whether a loss is defined for a distance."""
    return not loss.distances or DISTANCES.parse(metric).name in loss.distances


def _matches(rule: Exclusion, cell: TrialSpec) -> bool:
    """Whether a rule excludes a cell."""
    patterns = (rule.datasets, rule.backbones, rule.metrics, rule.losses)
    return all(matches(pattern, name) for pattern, name in zip(patterns, cell.cell[:-1], strict=True))
