"""Warm-up: steps that prepare kernels, caches and threads before anything is timed."""

from __future__ import annotations

import time

from harmbench.meters import WarmUp
from harmbench.runner.learner import Learner
from harmbench.runner.prediction import EVALUATION_BATCH
from harmbench.runner.timing import is_settled, synchronize


def warm_up(learner: Learner) -> WarmUp:
    """Take steps and evaluate one block on a copy of the models, which is thrown away.

    Takes at least `warmup_steps` steps, and more until the step time settles or `warmup_max_steps` are taken. Takes
    none if `warmup_steps` is 0.
    """
    throwaway = learner.copy()
    protocol = learner.protocol
    if protocol.compile:
        throwaway.compile()  # the model itself reuses what is compiled here
    least = protocol.warmup_steps
    most = max(least, protocol.warmup_max_steps) if least else 0
    seconds: list[float] = []
    inputs, targets = throwaway.batch(next(throwaway.rows()), 0)
    while len(seconds) < most and not (len(seconds) >= least and is_settled(seconds)):
        start = time.perf_counter()
        throwaway.step(inputs, targets)
        synchronize(learner.device)
        seconds.append(time.perf_counter() - start)
    if most:
        throwaway.validate(EVALUATION_BATCH)
    return WarmUp(len(seconds), is_settled(seconds))
