"""Predicts the time and energy of a run: plan -> groups of missing trials -> probes -> estimate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from harmbench.backbones import BACKBONES
from harmbench.datasets import DATASETS
from harmbench.energy.doctor import charged
from harmbench.planning.estimate import Estimate, Group, estimate, group_of
from harmbench.planning.expensive_heads import has_kernels
from harmbench.planning.plan import Plan
from harmbench.results import store
from harmbench.results.records import TrialSpec
from harmbench.runner.options import RunOptions
from harmbench.runner.probe import run_probes


class Prediction(NamedTuple):
    """An estimate, and what it rests on.

    Attributes:
        estimate: of the trials without a record, or None if all are stored.
        stored: number of trials that the run's folder holds.
        stored_seconds: that these took.
        probes: number of probes.
        probe_seconds: that the probes took.
    """

    estimate: Estimate | None
    stored: int
    stored_seconds: float
    probes: int = 0
    probe_seconds: float = 0.0


def predict(plan: Plan, options: RunOptions, limit: float, progress: Callable[[int, int, str], object]) -> Prediction:
    """Run probes, and predict the trials that the folder does not hold.

    Args:
        plan: of the run.
        options: of the run. Nothing is written to the folder.
        limit: seconds after which the probes end.
        progress: called with (number of probes done, number planned, current trial).

    Raises:
        DatasetUnavailableError: if data are missing.
        MeasurementError: if a probe fails, or a group has none within the limit.
    """
    done = _stored_seconds(options.folder)
    stored = [done[spec.id] for spec in plan.trials if spec.id in done]
    todo = [spec for spec in plan.trials if spec.id not in done]
    if not todo:
        return Prediction(None, len(stored), sum(stored))
    groups = _groups(todo, options.data_dir)
    probes, surroundings = run_probes(plan, options, _members(groups), limit, progress)
    predicted = estimate(groups, probes, surroundings, charged(options.devices))
    probe_seconds = surroundings.start + sum(probe.seconds for probe in probes)
    return Prediction(predicted, len(stored), sum(stored), len(probes), probe_seconds)


def _stored_seconds(folder: Path) -> dict[str, float]:
    """Seconds of each trial that the folder holds and that did not fail, by id."""
    if not (folder / "run.json").exists():
        return {}
    trials = store.read(folder).trials
    return {trial.id: trial.wall_seconds or 0.0 for trial in trials if trial.status != "failed"}


def _groups(todo: Sequence[TrialSpec], data_dir: Path) -> list[tuple[TrialSpec, Group]]:
    """Trials with their groups."""
    kernels = has_kernels(todo[0].device_kind)
    datasets = {spec.dataset for spec in todo}
    backbones = {spec.backbone for spec in todo}
    classes = {name: DATASETS.parse(name).known_classes(data_dir) for name in datasets}
    features = {name: BACKBONES.parse(name).known_features() for name in backbones}
    groups = []
    for spec in todo:
        group = group_of(spec, features[spec.backbone], classes[spec.dataset], kernels)
        groups.append((spec, group))
    return groups


def _members(groups: Sequence[tuple[TrialSpec, Group]]) -> dict[Group, list[TrialSpec]]:
    """One trial of each cell, by group."""
    cells: dict[Group, dict[tuple[str, ...], TrialSpec]] = {}
    for spec, group in groups:
        cells.setdefault(group, {}).setdefault(spec.cell, spec)
    return {group: list(first_of_cell.values()) for group, first_of_cell in cells.items()}
