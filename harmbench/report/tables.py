"""The tables of a condition."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from harmbench.analysis.cells import Cell
from harmbench.analysis.primary import ACCURACY, PrimaryMetric
from harmbench.analysis.stats import SURE, Interval, mean_interval
from harmbench.energy.carbon import Grid
from harmbench.report import time_to_target
from harmbench.report.conditions import Condition, relative_to
from harmbench.report.formats import Column, Table
from harmbench.report.numbers import MISSING, plain, scaled
from harmbench.results.records import Measurement
from harmbench.results.vocabulary import COMPONENTS, Component


def tables_of(condition: Condition, grid: Grid) -> Iterator[Table]:
    yield _main_table(condition, grid)
    yield _measure_table(
        "Calibration and learning" if condition.primary is ACCURACY else "Learning", condition, LEARNING
    )
    yield _measure_table("Steps and memory", condition, STEPS)
    if _known(condition.cells, TO_TARGET):
        yield time_to_target.table(condition.cells)
    if _known(condition.cells, REPRESENTATION):
        yield _representation_table(condition, "Representation", FEATURES_CAPTION, REPRESENTATION)
    if _measured(condition.cells, EMBEDDING):
        yield _representation_table(condition, "Token embedding", EMBEDDING_CAPTION, EMBEDDING)
    yield from _energy_table(condition)


def _main_table(condition: Condition, grid: Grid) -> Table:
    origins = {c: o for cell in condition.cells for c, o in cell.sources.items()}
    origin: Callable[[Component], str] = lambda c: origins[c].method if c in origins else "missing"  # noqa: E731
    parts = [c for c in COMPONENTS if any(c in cell.charged for cell in condition.cells)]
    charged = " + ".join(f"{c.upper()} ({origin(c)})" for c in parts) or "no source"
    speed, per = _speed(condition)
    columns = (
        Column(label="head", numeric=False),
        Column(label="loss", numeric=False),
        *(Column(label=label, unit=unit) for _, label, unit, _ in _quality(condition)),
        Column(label=f"{_of(condition.primary)}to baseline", unit=condition.primary.step),
        Column(label="verdict", numeric=False),
        Column(label="gradient norm CV"),
        Column(label="steps to target", unit="reached"),
        Column(label=speed.replace("_", " "), unit=per),
        Column(label="x baseline"),
        Column(label="CPU energy", unit=f"J, {origin('cpu')}"),
        Column(label="GPU energy", unit=f"J, {origin('gpu')}"),
        Column(label="RAM energy", unit=f"J, {origin('ram')}"),
        Column(label=f"CO2e {grid.region}", unit=f"mg, {charged}"),
        Column(label="trials", numeric=False),
    )
    return Table(
        title="Accuracy, stability, speed, energy"
        if condition.primary is ACCURACY
        else "Loss, stability, speed, energy",
        caption=f"Mean ± half of the {SURE} t interval over seeds. Energy: the training window of one trial."
        + ("" if condition.primary is ACCURACY else f" {TEXT_CAPTION}"),
        columns=columns,
        rows=tuple(_main_row(condition, cell, grid) for cell in condition.cells),
    )


def _quality(condition: Condition) -> Shown:
    """Return the columns of quality: the accuracy, or for text the known forms of the loss."""
    return ACCURACY_COLUMNS if condition.primary is ACCURACY else _known(condition.cells, TEXT)


def _of(primary: PrimaryMetric) -> str:
    return "" if primary is ACCURACY else "loss "


def _speed(condition: Condition) -> tuple[str, str]:
    """Return the measure of throughput, and its unit."""
    return ("throughput", "sample/s") if condition.primary is ACCURACY else ("tokens_per_second", "token/s")


def _main_row(condition: Condition, cell: Cell, grid: Grid) -> tuple[str, ...]:
    verdict = condition.verdict(cell)
    of_speed, _ = _speed(condition)
    speed = relative_to(cell, condition.baseline, of_speed) if condition.baseline else None
    first, *more = _shown_values(cell, _quality(condition))
    change = condition.comparisons[cell.label][0].interval if cell.label in condition.comparisons else None
    return (
        f"**{cell.head}**" if verdict == "better" else cell.head,
        cell.loss,
        f"**{first}**" if verdict == "better" else first,
        *more,
        "" if change is None else plain(scaled(change, condition.primary.factor), sign=True),
        verdict,
        plain(cell.interval("gradient_norm_cv")),
        f"{time_to_target.median_text(cell, 'steps')} ({time_to_target.count(cell)})",
        plain(cell.interval(of_speed)),
        f"{speed:.2f}" if speed else MISSING,
        *(plain(cell.interval(f"{component}_joules")) for component in COMPONENTS),
        plain(_co2_milligrams(cell, grid)),
        _trials(cell),
    )


def _co2_milligrams(cell: Cell, grid: Grid) -> Interval | None:
    """Return CO2e of the training window, or None if a component has no joules, since a partial sum is no sum."""
    parts = [cell.by_seed(f"{component}_joules") for component in cell.charged]
    seeds = set.intersection(*(set(part) for part in parts)) if parts else set()
    grams = [grid.grams(sum(part[seed] for part in parts)) for seed in sorted(seeds)]
    return scaled(mean_interval(grams), 1000) if grams else None


def _trials(cell: Cell) -> str:
    parts = [f"{cell.count('ok')} ok"]
    parts += [f"{n} {status}" for status in ("diverged", "failed") if (n := cell.count(status))]
    parts += [f"{cell.collapsed} collapsed"] if cell.collapsed else []
    reasons = sorted({trial.reason for trial in cell.trials if trial.reason})
    return ", ".join(parts) + (f": {'; '.join(reasons)}" if reasons else "")


Shown = tuple[tuple[str, str, str, float], ...]  # measure, label, unit, factor

ACCURACY_COLUMNS: Shown = (("test_accuracy", "test accuracy", "%", 100),)
TEXT: Shown = (
    ("test_perplexity", "perplexity", "", 1),
    ("test_bits_per_byte", "bits per byte", "bit/B", 1),
    ("test_nll", "test loss", "nat", 1),
    ("test_accuracy", "test accuracy", "%", 100),
)
TEXT_CAPTION = (
    "On the test part. Perplexity: exp of the loss, the mean NLL of a token, which depends on the tokenizer. Bits "
    "per byte "
    "do not. Those of masked models are pseudo-likelihoods and not comparable with causal models. Accuracy: share of "
    "tokens whose probability was the highest."
)
LEARNING: Shown = (
    ("test_macro_f1", "macro F1", "%", 100),
    ("test_nll", "NLL", "nat", 1),
    ("test_calibration_error", "calibration error", "%", 100),
    ("gradient_norm_cv_head", "gradient norm CV, head", "", 1),
    ("gradient_norm_cv_backbone", "gradient norm CV, backbone", "", 1),
    ("gradient_spike_rate", "gradient spikes", "% of readings", 100),
    ("nonfinite_step_share", "non-finite steps", "%", 100),
    ("clipped_step_share", "clipped steps", "%", 100),
    ("loss_roughness", "loss roughness", "", 1),
    ("gradient_cosine", "gradient cosine", "", 1),
)
STEPS: Shown = (
    ("step_seconds_p50", "step p50", "ms", 1000),
    ("step_seconds_p95", "step p95", "ms", 1000),
    ("step_seconds_p99", "step p99", "ms", 1000),
    ("data_wait_share", "data wait", "% of step", 100),
    ("flops_per_step", "operations", "MFLOP/step", 1e-6),
    ("head_flops_per_step", "of the head", "MFLOP/step", 1e-6),
    ("mfu", "MFU", "%", 100),
    ("peak_memory", "peak memory", "MB", 1e-6),
    ("cpu_joules_per_token", "CPU energy", "mJ/token", 1000),
    ("gpu_joules_per_token", "GPU energy", "mJ/token", 1000),
)
TO_TARGET: Shown = (("steps_to_target", "steps to target", "", 1),)
REPRESENTATION: Shown = (
    ("pca_variance_1", "variance on PC 1", "%", 100),
    ("pca_variance_2", "PC 1-2", "%", 100),
    ("pca_variance_5", "PC 1-5", "%", 100),
    ("pca_components_90", "PCs for 90 %", "", 1),
    ("pca_components_95", "PCs for 95 %", "", 1),
    ("effective_rank", "effective rank", "", 1),
    ("participation_ratio", "participation ratio", "", 1),
    ("anisotropy", "anisotropy", "", 1),
    ("nc1", "NC1", "", 1),
    ("nc2_norm_cv", "NC2 norms", "", 1),
    ("nc2_angle", "NC2 angles", "", 1),
    ("nc3", "NC3", "", 1),
    ("nc4", "NC4", "%", 100),
    ("weight_mean_cosine", "weight-mean cosine", "", 1),
    ("center_mean_distance", "center-mean distance", "", 1),
    ("class_separation", "variance between classes", "%", 100),
    ("near_zero_weight_share", "near-zero weights", "%", 100),
)
FEATURES_CAPTION = "Of held-out features, without collapsed trials. No value is good or bad by itself."
EMBEDDING: Shown = (
    ("embedding_variance_5", "variance on PC 1-5", "%", 100),
    ("embedding_variance_10", "PC 1-10", "%", 100),
    ("embedding_components_90", "PCs for 90 %", "", 1),
    ("embedding_effective_rank", "effective rank", "", 1),
    ("embedding_anisotropy", "anisotropy", "", 1),
    ("parallelogram_loss_2", "parallelogram loss, 2 PCs", "", 1),
    ("parallelogram_loss_10", "10 PCs", "", 1),
    ("parallelogram_loss_all", "all", "", 1),
    ("offset_loss_2", "offset loss, 2 PCs", "", 1),
    ("offset_loss_10", "10 PCs", "", 1),
    ("offset_loss_all", "all", "", 1),
    ("analogy_pairs", "word pairs", "", 1),
)
EMBEDDING_CAPTION = (
    "Of the table of token embeddings, without collapsed trials. Parallelogram and offset loss: over word pairs of one "
    "relation. 0: the step between the words of a pair is always the same. 1: unrelated words."
)


def _known(cells: Sequence[Cell], shown: Shown) -> Shown:
    """Return the measures that any trial has, missing values included. Older runs and other meters lack some."""
    return tuple(entry for entry in shown if any(entry[0] in cell.measures for cell in cells))


def _has_values(cells: Sequence[Cell], shown: Shown) -> bool:
    return any(cell.by_seed(name) for cell in cells for name, *_ in shown)


def _measured(cells: Sequence[Cell], shown: Shown) -> Shown:
    """Return the measures of which any cell has a value."""
    return tuple(entry for entry in _known(cells, shown) if _has_values(cells, (entry,)))


def _measure_table(title: str, condition: Condition, shown: Shown) -> Table:
    known = _known(condition.cells, shown)
    if condition.primary is not ACCURACY:  # the first table has the rest already
        shown_before = {name for name, *_ in _quality(condition)}
        known = tuple(entry for entry in _measured(condition.cells, known) if entry[0] not in shown_before)
    columns = (
        Column(label="head", numeric=False),
        Column(label="loss", numeric=False),
        *(Column(label=label, unit=unit) for _, label, unit, _ in known),
    )
    rows = tuple((cell.head, cell.loss, *_shown_values(cell, known)) for cell in condition.cells)
    return Table(title=title, columns=columns, rows=rows)


def _shown_values(cell: Cell, shown: Shown) -> Iterator[str]:
    return (plain(scaled(cell.interval(name), factor)) for name, _, _, factor in shown)


def _representation_table(condition: Condition, title: str, caption: str, shown: Shown) -> Table:
    """Return a table of representation measures with the quality. Collapsed trials are left out: they look perfect."""
    is_text = condition.primary is not ACCURACY
    known = _measured(condition.cells, shown) if is_text else _known(condition.cells, shown)
    quality = (("test_perplexity", "perplexity", "", 1.0), *ACCURACY_COLUMNS) if is_text else ACCURACY_COLUMNS
    columns = (
        Column(label="head", numeric=False),
        Column(label="loss", numeric=False),
        *(Column(label=label, unit=unit) for _, label, unit, _ in quality),
        Column(label="collapsed", unit="trials"),
        *(Column(label=label, unit=unit) for _, label, unit, _ in known),
    )
    return Table(
        title=title,
        caption=caption,
        columns=columns,
        rows=tuple(_representation_row(cell, quality, known) for cell in condition.cells),
    )


def _representation_row(cell: Cell, quality: Shown, shown: Shown) -> tuple[str, ...]:
    collapsed = cell.by_seed("collapsed")
    return (
        cell.head,
        cell.loss,
        *_shown_values(cell, quality),
        f"{sum(collapsed.values()):.0f}/{len(collapsed)}" if collapsed else MISSING,
        *_shown_values(cell.without_collapsed, shown),
    )


def _energy_table(condition: Condition) -> Iterator[Table]:
    """Yield joules above idle and from direct counters, if either was measured."""
    known = {name for cell in condition.cells for name in cell.measures}
    if not any(name.endswith(("_joules_net", "_joules_direct")) for name in known):
        return
    shown = [
        (name, label, m)
        for component in COMPONENTS
        for name, label in (
            (f"{component}_joules", f"{component.upper()} gross"),
            (f"{component}_joules_net", f"{component.upper()} above idle"),
            (f"{component}_joules_direct", f"{component.upper()} by the counter itself"),
        )
        if (m := _last(condition, name)) is not None and not (name == "ram_joules" and m.origin == "modelled")
    ]
    if not any(name.endswith(("_net", "_direct")) for name, _, _ in shown):
        return
    columns = (
        Column(label="head", numeric=False),
        Column(label="loss", numeric=False),
        *(Column(label=label, unit=f"J, {m.energy.method if m.energy else m.origin}") for _, label, m in shown),
    )
    rows = tuple(
        (cell.head, cell.loss, *(plain(cell.interval(name)) for name, _, _ in shown)) for cell in condition.cells
    )
    yield Table(
        title="Energy of the training window",
        caption="Above idle: minus the mean idle power at the start and the end of the run.",
        columns=columns,
        rows=rows,
    )


def _last(condition: Condition, name: str) -> Measurement | None:
    """Return the condition's last measurement with a value."""
    backwards = (m for cell in reversed(condition.cells) for m in reversed(cell.measurements_of(name)))
    return next((m for m in backwards if m.value is not None), None)
