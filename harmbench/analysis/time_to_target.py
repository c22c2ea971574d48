"""Steps, seconds and joules until a target is reached: the protocol's target, or the baseline's final value.

The baseline's final value is the median, over the seeds that ended well, of the last validation accuracy (for text, the
validation loss) of the linear head with cross-entropy on the same condition. It is taken from the recorded curves when
a run is read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from harmbench.meters.convergence import Target, to_target
from harmbench.results import store
from harmbench.results.protocol import Protocol
from harmbench.results.records import TrialRecord
from harmbench.results.store import RunData

ConditionKey = tuple[str, str, str]  # data set, backbone, setting
SUFFIX = "_to_target"


def targets(trials: Sequence[TrialRecord]) -> dict[ConditionKey, Target | None]:
    """Return the target of each condition. None if the baseline sets it and no trial of the baseline ended well."""
    protocols: dict[ConditionKey, Protocol] = {}
    ends: dict[ConditionKey, list[float]] = defaultdict(list)
    of_text = {_condition(trial) for trial in trials if trial.is_of_text}
    for trial in trials:
        condition = _condition(trial)
        protocols[condition] = trial.spec.protocol
        if trial.status == "ok" and trial.spec.is_baseline and trial.curve:
            last = trial.curve[-1]
            end = last.validation_nll if condition in of_text else last.validation_accuracy
            ends[condition] += [] if end is None else [end]
    return {
        condition: Target("nll" if condition in of_text else "accuracy", median(ends[condition]))
        if target is None and ends[condition]
        else target
        for condition, protocol in protocols.items()
        for target in [Target.of(protocol)]
    }


def with_targets(trials: Sequence[TrialRecord]) -> tuple[TrialRecord, ...]:
    """Return the trials with steps, seconds and joules to targets that the baseline sets."""
    protocols = {id(trial.spec.protocol): trial.spec.protocol for trial in trials}
    if all(Target.of(protocol) for protocol in protocols.values()):
        return tuple(trials)
    by_condition = targets(trials)
    return tuple(_with_target(trial, by_condition[_condition(trial)]) for trial in trials)


def _condition(trial: TrialRecord) -> ConditionKey:
    return trial.spec.dataset, trial.spec.backbone, trial.spec.setting


def _with_target(trial: TrialRecord, target: Target | None) -> TrialRecord:
    if Target.of(trial.spec.protocol) is not None or not trial.curve:
        return trial
    if not any(m.name.endswith(SUFFIX) for m in trial.measurements):
        return trial
    reason = "no trial of the baseline (linear + cross_entropy) ended well here"
    derived = {m.name: m for m in to_target(trial.curve, trial.energy_origins, target, reason, trial.group_size)}
    return trial.but(measurements=tuple(derived.get(m.name, m) for m in trial.measurements))


def read_run(folder: Path) -> RunData:
    """Return a run with steps, seconds and joules to targets that depend on the whole run.

    Args:
        folder: the run's folder.

    Raises:
        RunFolderError: if the folder is not a run.
    """
    run = store.read(folder)
    return run.model_copy(update={"trials": with_targets(run.trials)})
