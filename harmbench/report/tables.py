"""A group's tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from harmbench import targets
from harmbench.carbon import Grid
from harmbench.cells import Cell, charged_components
from harmbench.formats import Column, Table
from harmbench.records import COMPONENTS, Component
from harmbench.report.groups import Group, relative_to
from harmbench.report.numbers import MISSING, percent, plain, scaled
from harmbench.stats import SURE, Interval, mean_interval


def tables_of(group: Group, grid: Grid) -> Iterator[Table]:
    yield _main_table(group, grid)
    yield _measure_table("Calibration and learning", group, LEARNING)
    yield _measure_table("Steps and memory", group, STEPS)
    if _known(group.cells, TO_TARGET):
        yield targets.table(group.cells)
    if _known(group.cells, REPRESENTATION):
        yield _representation_table(group)
    yield from _energy_table(group)


def _main_table(group: Group, grid: Grid) -> Table:
    origins = {c: o for cell in group.cells for t in cell.trials for c, o in t.energy_origins.items()}
    origin: Callable[[Component], str] = lambda c: origins[c].method if c in origins else "missing"  # noqa: E731
    parts = charged_components([t for cell in group.cells for t in cell.trials])
    charged = " + ".join(f"{c.upper()} ({origin(c)})" for c in parts) or "no source"
    columns = (
        Column(label="head", numeric=False),
        Column(label="loss", numeric=False),
        Column(label="test accuracy", unit="%"),
        Column(label="to baseline", unit="points"),
        Column(label="verdict", numeric=False),
        Column(label="gradient norm CV"),
        Column(label="steps to target", unit="reached"),
        Column(label="throughput", unit="sample/s"),
        Column(label="x baseline"),
        Column(label="CPU energy", unit=f"J, {origin('cpu')}"),
        Column(label="GPU energy", unit=f"J, {origin('gpu')}"),
        Column(label="RAM energy", unit=f"J, {origin('ram')}"),
        Column(label=f"CO2e {grid.region}", unit=f"mg, {charged}"),
        Column(label="trials", numeric=False),
    )
    return Table(
        title="Accuracy, stability, speed, energy",
        caption=f"Mean ± half of the {SURE} t interval over seeds. Energy: the training window of one trial.",
        columns=columns,
        rows=tuple(_main_row(group, cell, grid) for cell in group.cells),
    )


def _main_row(group: Group, cell: Cell, grid: Grid) -> tuple[str, ...]:
    verdict = group.verdict(cell)
    speed = relative_to(cell, group.baseline, "throughput") if group.baseline else None
    accuracy = percent(cell.interval("test_accuracy"))
    return (
        f"**{cell.head}**" if verdict == "better" else cell.head,
        cell.loss,
        f"**{accuracy}**" if verdict == "better" else accuracy,
        percent(group.comparisons[cell.label][0].interval, sign=True) if cell.label in group.comparisons else "",
        verdict,
        plain(cell.interval("gradient_norm_cv")),
        f"{targets.typical(cell, 'steps')} ({targets.count(cell)})",
        plain(cell.interval("throughput")),
        f"{speed:.2f}" if speed else MISSING,
        *(plain(cell.interval(f"{component}_joules")) for component in COMPONENTS),
        plain(_co2_milligrams(cell, grid)),
        _trials(cell),
    )


def _co2_milligrams(cell: Cell, grid: Grid) -> Interval | None:
    """CO2e of the training window; None where a component that takes part has no joules, since a part is no sum."""
    parts = [cell.by_seed(f"{component}_joules") for component in charged_components(cell.trials)]
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

LEARNING: Shown = (
    ("test_macro_f1", "macro F1", "%", 100),
    ("test_nll", "NLL", "nat", 1),
    ("test_calibration_error", "calibration error", "%", 100),
    ("gradient_norm_cv_head", "gradient norm CV, head", "", 1),
    ("gradient_norm_cv_trunk", "gradient norm CV, trunk", "", 1),
    ("gradient_spike_rate", "gradient spikes", "% of looks", 100),
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
    ("nc1", "NC1", "", 1),
    ("nc2_norm_cv", "NC2 norms", "", 1),
    ("nc2_angle", "NC2 angles", "", 1),
    ("nc3", "NC3", "", 1),
    ("nc4", "NC4", "%", 100),
    ("weight_mean_cosine", "weight-mean cosine", "", 1),
    ("centre_mean_distance", "centre-mean distance", "", 1),
    ("class_separation", "variance between classes", "%", 100),
    ("near_zero_weight_share", "near-zero weights", "%", 100),
)


def _known(cells: Sequence[Cell], shown: Shown) -> Shown:
    """Those that a trial has measured or said why not: older runs, and other choices of meters, lack some."""
    return tuple(entry for entry in shown if any(entry[0] in cell.measures for cell in cells))


def _measure_table(title: str, group: Group, shown: Shown) -> Table:
    known = _known(group.cells, shown)
    columns = (
        Column(label="head", numeric=False),
        Column(label="loss", numeric=False),
        *(Column(label=label, unit=unit) for _, label, unit, _ in known),
    )
    rows = tuple((cell.head, cell.loss, *_shown_values(cell, known)) for cell in group.cells)
    return Table(title=title, columns=columns, rows=rows)


def _shown_values(cell: Cell, shown: Shown) -> Iterator[str]:
    return (plain(scaled(cell.interval(name), factor)) for name, _, _, factor in shown)


def _representation_table(group: Group) -> Table:
    """Beside the accuracy, and without the trials that collapsed: a collapsed model looks perfect here."""
    known = _known(group.cells, REPRESENTATION)
    columns = (
        Column(label="head", numeric=False),
        Column(label="loss", numeric=False),
        Column(label="test accuracy", unit="%"),
        Column(label="collapsed", unit="trials"),
        *(Column(label=label, unit=unit) for _, label, unit, _ in known),
    )
    return Table(
        title="Representation",
        caption="Of held-out features, over the trials that did not collapse. None of it is good or bad by itself.",
        columns=columns,
        rows=tuple(_representation_row(cell, known) for cell in group.cells),
    )


def _representation_row(cell: Cell, shown: Shown) -> tuple[str, ...]:
    collapsed = cell.by_seed("collapsed")
    sound = replace(cell, trials=tuple(trial for trial in cell.trials if trial.value("collapsed") == 0))
    return (
        cell.head,
        cell.loss,
        percent(cell.interval("test_accuracy")),
        f"{sum(collapsed.values()):.0f}/{len(collapsed)}" if collapsed else MISSING,
        *_shown_values(sound, shown),
    )


def _energy_table(group: Group) -> Iterator[Table]:
    """Joules above idle, and by the counters themselves, where either was measured."""
    trials = [trial for cell in group.cells for trial in cell.trials]
    names = {m.name: m for trial in trials for m in trial.measurements if m.value is not None}
    shown = [
        (name, label, names[name])
        for component in COMPONENTS
        for name, label in (
            (f"{component}_joules", f"{component.upper()} gross"),
            (f"{component}_joules_net", f"{component.upper()} above idle"),
            (f"{component}_joules_direct", f"{component.upper()} by the counter itself"),
        )
        if name in names and not (name == "ram_joules" and names[name].origin == "modelled")
    ]
    if not any(name.endswith(("_net", "_direct")) for name, _, _ in shown):
        return
    columns = (
        Column(label="head", numeric=False),
        Column(label="loss", numeric=False),
        *(Column(label=label, unit=f"J, {m.energy.method if m.energy else m.origin}") for _, label, m in shown),
    )
    rows = tuple((cell.head, cell.loss, *(plain(cell.interval(name)) for name, _, _ in shown)) for cell in group.cells)
    yield Table(
        title="Energy of the training window",
        caption="Above idle: less the mean of the idle power at the start and at the end of the run.",
        columns=columns,
        rows=rows,
    )
