"""How soon heads get to a target, and which that is: the protocol's, or what the baseline ends with.

What it ends with: the median, over the seeds that ended well, of the last validation accuracy, or, of text, validation
loss, of the linear head with cross-entropy, on the same data set with the same backbone; taken from the recorded curves
whenever a run is read.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from statistics import median, median_low

from harmbench.cells import Cell
from harmbench.formats import Column, Table
from harmbench.meters.convergence import Target, to_target
from harmbench.records import COMPONENTS, Protocol, TrialRecord

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
    made = {m.name: m for m in to_target(trial.curve, trial.energy_origins, target, unknown, trial.together)}
    return trial.but(measurements=tuple(made.get(m.name, m) for m in trial.measurements))


def table(cells: Sequence[Cell]) -> Table:
    """Steps, seconds and joules to the target, of cells of one data set and backbone."""
    trials = [trial for cell in cells for trial in cell.trials]
    methods = {c: origin.method for cell in cells for c, origin in cell.sources.items()}
    charged = [c for c in COMPONENTS if any(c in cell.charged for cell in cells)]
    names = ("steps", "seconds", *(f"{c}_joules" for c in charged))
    target = next(iter(targets(trials).values()), None)
    return Table(
        title="To target",
        caption=f"Up to the first validation at {said(target)}, of training alone: medians over all trials that did "
        "not fail, those that never get there counted as later than all others; - where no more than half get there.",
        columns=(
            Column(label="head", numeric=False),
            Column(label="loss", numeric=False),
            Column(label="got there", unit="trials"),
            Column(label="steps"),
            Column(label="time", unit="s"),
            *(Column(label=f"{c.upper()} energy", unit=f"J, {methods[c]}") for c in charged),
        ),
        rows=tuple((cell.head, cell.loss, count(cell), *(typical(cell, name) for name in names)) for cell in cells),
    )


def said(target: Target | None) -> str:
    """A target as text."""
    return "the target (unknown: no baseline ended well)" if target is None else str(target)


def count(cell: Cell) -> str:
    """How many trials got to the target, of those that did not fail."""
    return f"{len(cell.by_seed('steps_to_target'))}/{cell.count('ok') + cell.count('diverged')}"


def typical(cell: Cell, what: str) -> str:
    """Censored median of steps, seconds or joules to the target, over all trials that did not fail.

    `-` where no more than half got there, since the rest are later; `n/a` where some got there and have no value.
    """
    there = cell.by_seed("steps_to_target")
    values = cell.values(f"{what}{SUFFIX}")
    never = [math.inf] * (cell.count("ok") + cell.count("diverged") - len(there))
    if len(values) < len(there):
        return "n/a"
    if len(values) <= len(never):
        return "-"
    middle = median_low([*values, *never])  # Kaplan and Meier's, where nobody is censored before the end
    return f"{middle:.0f}" if what == "steps" else f"{middle:.3g}"
