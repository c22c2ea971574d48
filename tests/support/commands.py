"""The real command line in processes of its own, and a tiny suite for it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from harmbench.results.records import TrialRecord

SUITE = """
name: tiny
question: Does it work?
datasets: [digits]
backbones: [mlp]
metrics: [euclidean, "hamming[variant=gumbel]", "mahalanobis[variant=diagonal]"]
losses: [cross_entropy, harmonic]
seeds: 2
protocol: {steps: 40, evaluations: 4, target: 0.5}
idle_seconds: 0
"""
COMMAND = [sys.executable, "-m", "harmbench"]
# The time and energy of a trial differ between two runs. Everything else must be equal.
TIMED = ("second", "joules", "throughput", "memory", "wait", "warm_up")
HANGS_AFTER = 600  # seconds; a guard against a test that never ends, far beyond what any machine needs


def harmbench(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command to its end in the folder `cwd`."""
    return subprocess.run([*COMMAND, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False)


def start(*arguments: object, cwd: Path) -> subprocess.Popen[str]:
    """Start the command in the folder `cwd`, in a process group of its own."""
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # A shell's background jobs ignore Ctrl-C, and their children inherit that.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str], what: str) -> None:
    """Return once the condition holds. Fails if the process ends first, or after `HANGS_AFTER` seconds."""
    deadline = time.monotonic() + HANGS_AFTER
    while process.poll() is None:
        if condition():
            return
        if time.monotonic() > deadline:
            process.kill()
        time.sleep(0.01)
    if not condition():
        pytest.fail(f"no {what}; the command printed: {process.communicate()[0]}")


def findings(record: TrialRecord) -> dict[str, object]:
    """All values of a trial except its times and joules."""
    values = {m.name: m.value for m in record.measurements if not any(word in m.name for word in TIMED)}
    curve = [(p.step, p.train_loss, p.validation_accuracy, p.validation_nll) for p in record.curve]
    return {"status": record.status, "values": values, "curve": curve}
