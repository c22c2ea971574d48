"""A small real run for formats and plots, and runs that lack parts of it.

sample_run      two backbones, an image and a token task, three heads, two seeds, all artifacts
text_run        the same trials, as if they had been of text
partial_runs    incomplete runs: one seed, no baseline, failures alone, no trials, no files
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, get_args

import torch

from harmbench.meters import METERS
from harmbench.planning import environment, plan
from harmbench.planning import suite as suites
from harmbench.results import store
from harmbench.results.records import COMPONENTS, Artifact, EnergyOrigin, Measurement, TrialRecord
from harmbench.results.store import RunData
from harmbench.runner.run import header
from harmbench.runner.trial import SilentLink, TrialJob, run_trial

CONTENT: dict[str, Any] = {
    "name": "sample",
    "question": "Does a format or a plot show a small run?",
    "datasets": ["digits[scaling=unit]", "modular_addition[p=5]", "modular_addition[p=5,train_fraction=0.5]"],
    "backbones": ["pixels", "token_mlp"],
    "metrics": ["euclidean"],
    "losses": ["cross_entropy", "harmonic"],
    "seeds": 2,
    "protocol": {"steps": 60, "lr": 0.02, "evaluations": 3, "analysis_samples": 100, "warmup_steps": 0},
}
METERS_OF_HARMBENCH = ("quality", "convergence", "gradient_stability", "throughput", "representation", "pixel_weights")


def _meters() -> list[str]:
    """Meters of the sample run: those that harmbench's plots show, and those of all plug-ins."""
    of_plugins = [str(meter) for meter in METERS.every_variant() if not type(meter).__module__.startswith("harmbench.")]
    return [*METERS_OF_HARMBENCH, *of_plugins]


@contextmanager
def _torch_as_it_was() -> Iterator[None]:
    """Put back what a trial sets for the whole process: threads and deterministic algorithms."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """The folder of the sample run, which is deleted when this process ends."""
    return tempfile.TemporaryDirectory(prefix="harmbench-testing-")


@cache
def sample_run() -> RunData:
    """A real run of twelve short trials. It is trained once in a process, in a few seconds."""
    folder = Path(_folder().name) / "sample"
    content = CONTENT | {"meters": _meters(), "artifacts": get_args(Artifact)}
    planned = plan.expand(suites.check(content, {}, "sample"), "cpu", environment.result_versions())
    missing = EnergyOrigin(method="missing", detail="a sample run reads no energy")
    with _torch_as_it_was(), store.RunStore.open(folder, planned.key, header(planned)) as opened:
        for order, trial in enumerate(planned.trials):
            job = TrialJob(
                spec=trial,
                order=order,
                device="cpu",
                environment="sample",
                data_dir="data",
                download=False,
                energy_origins=dict.fromkeys(COMPONENTS, missing),
                artifacts=planned.suite.artifacts,
                folder=str(folder),
            )
            (record,) = run_trial(job, SilentLink())
            opened.append(record)
    return store.read(folder)


def text_run(run: RunData) -> RunData:
    """The run, as if its answers had been tokens of a text."""
    values = (
        Measurement.of("test_perplexity", 7.0, "1", "lower"),
        Measurement.of("test_bits_per_byte", 2.0, "bit/B", "lower"),
    )

    def as_text(trial: TrialRecord) -> TrialRecord:
        others = tuple(m for m in trial.measurements if m.name not in {value.name for value in values})
        return trial.but(measurements=(*others, *values), sizes=trial.sizes | {"test_tokens": 100})

    return run.model_copy(update={"trials": tuple(as_text(trial) for trial in run.trials)})


def partial_runs(run: RunData) -> dict[str, RunData]:
    """Incomplete runs, by what they lack."""

    def ended(trial: TrialRecord, status: str, reason: str) -> TrialRecord:
        bare: dict[str, Any] = {"measurements": (), "curve": (), "curves": (), "status": status, "reason": reason}
        return trial.but(**bare)

    trials = run.trials
    failed = tuple(ended(trial, "failed", "ValueError: a | b \\ <c> & d_e\nf") for trial in trials)
    diverged = tuple(ended(trial, "diverged", "loss nan at step 7") if trial.spec.seed else trial for trial in trials)
    chosen = {
        "one seed": tuple(trial for trial in trials if trial.spec.seed == 0),
        "no baseline": tuple(trial for trial in trials if not trial.spec.is_baseline),
        "one seed diverged": diverged,
        "failures alone": failed,
        "no trials": (),
    }
    runs = {lack: run.model_copy(update={"trials": some}) for lack, some in chosen.items()}
    runs["no artifact files"] = run.model_copy(update={"folder": f"{run.folder}/nowhere"})
    runs["no measurements"] = run.model_copy(
        update={"trials": tuple(trial.but(measurements=(), curves=()) for trial in trials)}
    )
    return runs
