"""Decides whether a trial collapsed: whether its model tells the classes apart."""

from __future__ import annotations

import math

from harmbench.results.records import TrialRecord

CHANCE_ERRORS = 3  # standard errors above chance that an accuracy must exceed


def is_collapsed(trial: TrialRecord) -> bool:
    """Whether a trial ended well with a model that does not tell the classes apart.

    The measure `collapsed` of the meter `representation` decides. Trials without that measure count as collapsed if
    their test accuracy is not above chance, 1 / classes, by three standard errors.
    """
    return looks_collapsed(trial, trial.value("collapsed"), trial.value("test_accuracy"))


def looks_collapsed(trial: TrialRecord, flag: float | None, accuracy: float | None) -> bool:
    if trial.status != "ok" or flag is not None:
        return trial.status == "ok" and bool(flag)
    classes, size = trial.sizes.get("classes", 0), trial.answers("test")
    if accuracy is None or not classes or not size:
        return False
    chance = 1 / classes
    return accuracy <= chance + CHANCE_ERRORS * math.sqrt(chance * (1 - chance) / size)
