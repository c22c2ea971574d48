"""How soon heads get to a target, and which that is: the protocol's, or what the baseline ends with.

What it ends with: the median, over the seeds that ended well, of the last validation accuracy, or, of text, validation
loss, of the linear head with cross-entropy, on the same data set with the same backbone; taken from the recorded curves
whenever a run is read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from harmbench.meters.convergence import Target, to_target
from harmbench.results import store
from harmbench.results.records import Protocol, TrialRecord
from harmbench.results.store import RunData

Place = tuple[str, str, str]  # data set, backbone, setting
SUFFIX = "_to_target"


def targets(trials: Sequence[TrialRecord]) -> dict[Place, Target | None]:
    """The target of each data set and backbone; None where it is the baseline's, and there is none that ended well."""
    found: dict[Place, Protocol] = {}
    ends: dict[Place, list[float]] = defaultdict(list)
    of_text = {_place(trial) for trial in trials if trial.is_of_text}
    for trial in trials:
        place = _place(trial)
        found[place] = trial.spec.protocol
        if trial.status == "ok" and trial.spec.is_baseline and trial.curve:
            last = trial.curve[-1]
            end = last.validation_nll if place in of_text else last.validation_accuracy
            ends[place] += [] if end is None else [end]
    return {
        place: Target("nll" if place in of_text else "accuracy", median(ends[place]))
        if target is None and ends[place]
        else target
        for place, protocol in found.items()
        for target in [Target.of(protocol)]
    }


def with_targets(trials: Sequence[TrialRecord]) -> tuple[TrialRecord, ...]:
    """The trials, with steps, seconds and joules to the target where their protocol leaves it to the baseline."""
    protocols = {id(trial.spec.protocol): trial.spec.protocol for trial in trials}
    if all(Target.of(protocol) for protocol in protocols.values()):
        return tuple(trials)
    known = targets(trials)
    return tuple(_with_target(trial, known[_place(trial)]) for trial in trials)


def _place(trial: TrialRecord) -> Place:
    return trial.spec.dataset, trial.spec.backbone, trial.spec.setting


def _with_target(trial: TrialRecord, target: Target | None) -> TrialRecord:
    if Target.of(trial.spec.protocol) is not None or not trial.curve:
        return trial
    if not any(m.name.endswith(SUFFIX) for m in trial.measurements):
        return trial
    unknown = "no trial of the baseline (linear + cross_entropy) ended well here"
    made = {m.name: m for m in to_target(trial.curve, trial.energy_origins, target, unknown, trial.group_size)}
    return trial.but(measurements=tuple(made.get(m.name, m) for m in trial.measurements))


def read_run(folder: Path) -> RunData:
    """A run with steps, seconds and joules to targets that only the whole run knows.

    Args:
        folder: of the run.

    Raises:
        RunFolderError: where the folder is not a run.
    """
    run = store.read(folder)
    return run.model_copy(update={"trials": with_targets(run.trials)})
