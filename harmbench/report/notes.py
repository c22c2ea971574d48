"""Definitions and caveats for readers of a report."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from harmbench.analysis.cells import cells_of
from harmbench.analysis.stats import LEVEL
from harmbench.energy.carbon import Grid
from harmbench.results.store import RunData


def notes_of(run: RunData, grid: Grid) -> Iterator[str]:
    protocol, kinds = run.header["suite"]["protocol"], _kinds(run)
    budget = f"{protocol['steps']} steps" if protocol["steps"] else f"{protocol['epochs']:g} epochs"
    yield (
        f"Every head got the same {budget}, batch {protocol['batch_size']}, {protocol['optimizer']} at learning rate "
        f"{protocol['lr']:g} ({protocol['schedule']}), and at each seed the same initial backbone and data order. "
        + (f"The state with {_best(kinds)}" if protocol["select"] == "best" else "The last state")
        + " was kept and tested once."
    )
    for field, values in run.header["suite"].get("vary", {}).items():
        formatted = ", ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values)
        yield f"The suite varies {field} over {formatted}. Heads are compared at equal values only."
    yield (
        f"Verdicts: paired t test of {_ranked_by(kinds)} by seed against linear + cross_entropy, Holm-corrected over "
        f"the table at {100 * (1 - LEVEL):.0f} %. The spread is at least the rounding of an accuracy on this number of "
        "samples. A head with failed, diverged or collapsed trials is never better or best. "
        "`not decided` does not prove equality. The number of seeds is an estimate. "
        "The interval in `to baseline` is not corrected."
    )
    yield "Bold marks a head that is decided to be better. A harmonic exponent n acts on the distance itself."
    yield (
        f"Target: {_target(kinds, protocol)}, read at the "
        "validations. Trials that do not reach it are censored: they count as later than all others."
    )
    yield from _meter_notes(run)
    yield (
        "Energy comes from CodeCarbon's component counters, read at the boundaries of the training windows. `model`: "
        "estimated from the whole machine's load and nominal power, so it follows time and other programs, not the "
        "work. "
        "`counter`: a hardware counter of the whole package or board. The window includes the meters' own work between "
        "steps. None of these is a wall meter."
    )
    yield "RAM energy is a guess (watts for each assumed memory module). It is in no sum and no comparison."
    yield (
        f"CO2e is energy x PUE x grid intensity: {grid}. An annual grid average; `--region`, `--intensity` and `--pue` "
        "change it without a new run."
    )
    for entry in run.header.get("excluded", []):
        yield f"Left out: {entry['what']}: {entry['reason']}."


Kinds = tuple[bool, bool]


def _kinds(run: RunData) -> Kinds:
    """Return whether the run has trials of text, and whether it has others."""
    kinds = {trial.is_of_text for trial in run.trials if trial.sizes}
    return True in kinds, False in kinds or not kinds


def _best(kinds: Kinds) -> str:
    of_text, others = kinds
    texts = (["the best validation accuracy"] if others else []) + (["the lowest validation loss"] if of_text else [])
    return f"{texts[0]} ({texts[1]} of text)" if len(texts) > 1 else texts[0]


def _ranked_by(kinds: Kinds) -> str:
    of_text, others = kinds
    if of_text and others:
        return "test accuracy (test loss for text)"
    return "test loss" if of_text else "test accuracy"


def _target(kinds: Kinds, protocol: dict[str, Any]) -> str:
    """Return the protocol's target, or the rule by which the baseline sets it, as text."""
    if protocol.get("target_nll"):
        return f"a validation loss of {protocol['target_nll']:g} nat"
    of_text, others = kinds
    what = " (loss for text)" if of_text and others else ""
    measure = "loss" if of_text and not others else "accuracy"
    whose = "the median of what the baseline's seeds end with, on the same data with the same backbone"
    if protocol["target"]:
        return f"a validation accuracy of {protocol['target']:g}"
    return f"the validation {measure}{what} that is {whose}"


NOTED = (
    "gradient_norm_cv",
    "gradient_spike_rate",
    "flops_per_step",
    "collapsed",
    "test_perplexity",
    "parallelogram_loss_2",
)


def _note(run: RunData, name: str) -> str | None:
    """Return the note of the last trial with a value of this measure, or None."""
    if not any(name in cell.measures for cell in cells_of(run.trials)):
        return None
    backwards = (m for trial in reversed(run.trials) for m in trial.measurements if m.name == name)
    return next((m.reason for m in backwards if m.value is not None), None)


def _meter_notes(run: RunData) -> Iterator[str]:
    """Yield definitions of the measures of this run's meters."""
    notes = {name: note for name in NOTED if (note := _note(run, name)) is not None}
    if "gradient_norm_cv" in notes:
        measured_at = notes["gradient_norm_cv"]
        spike = notes.get("gradient_spike_rate") or "above a multiple of the median of earlier norms"
        yield (
            "Gradient stability is harmbench's own definition, since the papers give none. The gradient is read at "
            f"{measured_at.removeprefix('at ') or 'every step'}. CV: standard deviation over mean of its norm before "
            f"clipping. Spike: a norm {spike.partition(';')[0]}. Cosine: of successive gradients. Roughness: standard "
            "deviation of successive loss differences over that of the smoothed loss. The "
            "head includes the loss's own parameters. All fall with the gradient itself, so compare accuracies too."
        )
    if "flops_per_step" in notes:
        yield (
            "A step includes loading its batch, forward, backward and optimizer. Warm-up, which lasts until step time "
            "settles, and the first step are left out. Operations of backbone and linear head are counted by torch. "
            "Those of a distance head are **modelled**: pairs x features x operations a coordinate, three passes. MFU "
            "is their rate over the data sheet's peak."
        )
    if "collapsed" in notes:
        yield (
            "Representation: of held-out test samples, as the head reads them. Effective rank: exp of the entropy of "
            "the normalized singular values. Participation ratio: squared sum of the eigenvalues over the sum of their "
            "squares. NC1 to NC4 follow Papyan et al. (2020): 0, and 100 % for NC4, is full collapse of the classes "
            "onto a simplex. A trial counts as collapsed where accuracy is not above chance by three standard errors, "
            "under half of the classes are ever predicted (not of text), or, with more than two classes, the effective "
            "rank is below 1.5. Anisotropy: mean cosine of two samples' features, not centered (Ethayarajh 2019)."
        )
    if "test_perplexity" in notes:
        yield (
            "Loss is the mean negative log-likelihood of a token of the test part, without label smoothing: the same "
            "function for every head. Perplexity is its exponential; bits per byte are its sum over the length of the "
            "same tokens in UTF-8. Tokens per second are those that a step reads."
        )
    if "parallelogram_loss_2" in notes:
        yield (
            f"Word pairs: {notes['parallelogram_loss_2']}; mean over relations. Parallelogram loss: |a + d - b - c|^2 "
            "of two pairs over 4 times the mean |e|^2 of the vocabulary, on principal components of the centered "
            "embedding (arXiv 2502.01628 leaves out the 4). Offset loss: the same over |a - b|^2 + |c - d|^2, which "
            "words that merely lie close together do not lower."
        )
