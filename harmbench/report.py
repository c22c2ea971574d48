"""RunData -> Report: what holds, what it cost, how sure we are. Knows no format."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from harmbench import generalisation
from harmbench.carbon import Grid
from harmbench.cells import Cell, cells_of, charged_components, in_order, is_collapsed, place
from harmbench.claims import judge
from harmbench.claims import summary as claims_summary
from harmbench.claims import table as claims_table
from harmbench.energy.net import net_of_idle, unsteady_idle
from harmbench.formats import Column, Figure, Panel, Point, Report, Section, Table
from harmbench.records import COMPONENTS, Component, Measurement, TrialRecord
from harmbench.stats import (
    LEVEL,
    Comparison,
    Interval,
    censored_median,
    holm,
    mean_interval,
    paired_difference,
    seeds_to_decide,
)
from harmbench.store import RunData
from harmbench.suite import check_claims

MISSING = "n/a"
DRIFT = 0.1  # relative change of the fixed workload's time from which on the report warns


@dataclass(frozen=True)
class Group:
    """The cells of one table: one dataset, backbone and setting, the best mean test accuracy first, those of which a
    trial ended badly or collapsed after all others.

    Attributes:
        comparisons: of test accuracy with the baseline, by label; with Holm-adjusted p-values.
    """

    dataset: str
    backbone: str
    cells: tuple[Cell, ...]
    baseline: Cell | None
    comparisons: dict[str, tuple[Comparison, float]]
    setting: str = ""

    @property
    def title(self) -> str:
        return place(self.dataset, self.backbone, self.setting)

    def verdict(self, cell: Cell) -> str:
        """Better, worse or not decided against the baseline."""
        if cell.is_baseline:
            return "baseline"
        if cell.label not in self.comparisons:
            return MISSING
        comparison, p_value = self.comparisons[cell.label]
        if p_value < 1 - LEVEL:  # of the seeds that ended well; the others may have been the hard ones
            is_behind = comparison.interval.mean < 0
            ahead = self.baseline if is_behind else cell
            if ahead and ahead.unsound:
                return f"not decided ({'of the baseline ' if is_behind else ''}{ahead.unsound})"
            return "worse" if is_behind else "better"
        needed = seeds_to_decide(comparison, tests=len(self.comparisons))
        return f"not decided ({needed} seeds would)" if needed else "not decided"


def compose(run: RunData, grid: Grid) -> Report:
    """The report of a run.

    Args:
        run: as `store.read` gives it.
        grid: turns joules into CO2.
    """
    suite = run.header["suite"]
    run = _with_net(run)
    groups = sorted(group_cells(run.trials), key=lambda group: _place(group, suite))
    verdicts = judge(check_claims(suite.get("claims", ()), f"{run.folder}/run.json"), run.trials)
    return Report(
        title=f"harmbench: {suite['name']}",
        subtitle=suite.get("question", ""),
        summary=(*_summary(run, groups, grid), *([claims_summary(verdicts)] if verdicts else [])),
        figures=tuple(_figures(groups)),
        sections=(
            *(Section(title=group.title, tables=tuple(_tables(group, grid))) for group in groups),
            *generalisation.sections(run.trials),
            *([Section(title="What the suite claims", tables=(claims_table(verdicts),))] if verdicts else []),
        ),
        notes=tuple(_notes(run, grid)),
        environment=tuple(_environment(run)),
        measurements=tuple(_tidy(run, grid)),
    )


def _with_net(run: RunData) -> RunData:
    """The run, with energy above idle among each trial's measurements, where idle power was measured."""
    trials = [
        trial.model_copy(update={"measurements": trial.measurements + net_of_idle(trial, run.blocks)})
        for trial in run.trials
    ]
    return run.model_copy(update={"trials": tuple(trials)})


def group_cells(trials: Sequence[TrialRecord]) -> Iterator[Group]:
    """Trials as groups of cells, in the order in which they first ran."""
    groups: dict[tuple[str, str, str], list[Cell]] = defaultdict(list)
    for cell in cells_of(trials):
        groups[cell.dataset, cell.backbone, cell.setting].append(cell)
    for (dataset, backbone, setting), found in groups.items():
        ranked = sorted(found, key=_rank)
        baseline = next((cell for cell in ranked if cell.is_baseline), None)
        yield Group(dataset, backbone, tuple(ranked), baseline, _compare(ranked, baseline), setting)


def _place(group: Group, suite: dict[str, Any]) -> tuple[int, int, tuple[tuple[float, str], ...]]:
    """Where the suite names the group's data set and backbone; settings by their values."""
    place_of_set, place_of_net = suite["datasets"].index(group.dataset), suite["backbones"].index(group.backbone)
    return place_of_set, place_of_net, in_order(group.setting)


def _rank(cell: Cell) -> tuple[bool, float]:
    accuracy = cell.interval("test_accuracy")
    return bool(cell.unsound), -accuracy.mean if accuracy else math.inf


def _compare(cells: Sequence[Cell], baseline: Cell | None) -> dict[str, tuple[Comparison, float]]:
    if baseline is None:
        return {}
    reference = baseline.by_seed("test_accuracy")
    resolution = max((1 / t.sizes["test"] for cell in cells for t in cell.trials if t.sizes.get("test")), default=0.0)
    found = {
        cell.label: comparison
        for cell in cells
        if not cell.is_baseline
        and (comparison := paired_difference(cell.by_seed("test_accuracy"), reference, resolution))
    }
    adjusted = holm([comparison.p_value for comparison in found.values()])
    return {label: (found[label], p) for label, p in zip(found, adjusted, strict=True)}


# --- summary ---------------------------------------------------------------------------------------------------


def _summary(run: RunData, groups: Sequence[Group], grid: Grid) -> Iterator[str]:
    statuses = [trial.status for trial in run.trials]
    diverged, failed = statuses.count("diverged"), statuses.count("failed")
    collapsed = sum(is_collapsed(trial) for trial in run.trials)
    yield (
        f"{len(run.trials)} of {run.planned} planned trials have a result: "
        f"{statuses.count('ok')} ended well, {diverged} diverged, {failed} failed."
        + (
            f" {collapsed} of those that ended well collapsed: no better than chance, or blind to most classes."
            if collapsed
            else ""
        )
        + (f" {run.missing} are still to run: the same command goes on." if run.missing > 0 else "")
    )
    for group in groups:
        yield _best(group)
    yield from _energy_summary(run, grid)
    yield from _machine_summary(run)
    yield from _energy_caveats(run)
    gone = sorted({f"{m.name} ({m.reason})" for t in run.trials for m in t.measurements if _unmeasurable(m)})
    if gone:
        yield "Could not be measured here: " + "; ".join(gone) + "."
    if run.unreadable_lines:
        yield f"{run.unreadable_lines} unreadable line(s) of the results were skipped (a crash tears at most the last)."


def _unmeasurable(measurement: Measurement) -> bool:
    """Missing for a reason of the machine's, and not of the trial's."""
    return measurement.value is None and measurement.name.endswith("_joules")


def _best(group: Group) -> str:
    """The best cell of a group, what it costs, and how many heads are decided."""
    if not any(cell.count("ok") for cell in group.cells):
        return f"**{group.title}**: no trial ended well."
    best = next((cell for cell in group.cells if cell.interval("test_accuracy") and not cell.unsound), None)
    if best is None:
        return f"**{group.title}**: no head is the best: of every one, trials ended badly or collapsed."
    text = f"**{group.title}**: highest mean test accuracy {_percent(best.interval('test_accuracy'))} % ({best.label})"
    if group.baseline is None:
        return text + "; the run has no baseline (linear + cross_entropy) to compare with."
    if best.is_baseline:
        text += ", the baseline itself"
    else:
        text += f", baseline {_percent(group.baseline.interval('test_accuracy'))} %"
        text += f" ({group.baseline.unsound})" if group.baseline.unsound else ""
        speed = _relative(best, group.baseline, "throughput")
        text += f"; it trains at {speed:.2f} times the baseline's speed" if speed else ""
    verdicts = [group.verdict(cell).split(" (")[0] for cell in group.cells if not cell.is_baseline]
    counts = [f"{verdicts.count(v)} {v}" for v in ("better", "worse", "not decided", MISSING) if v in verdicts]
    return f"{text}. Against the baseline, of {len(verdicts)} heads: {', '.join(counts)}."


def _relative(cell: Cell, baseline: Cell, name: str) -> float | None:
    """Mean over seeds of the ratio to the baseline at the same seed."""
    ours, theirs = cell.by_seed(name), baseline.by_seed(name)
    shared = ours.keys() & theirs.keys()
    return sum(ours[s] / theirs[s] for s in shared) / len(shared) if shared else None


def _energy_summary(run: RunData, grid: Grid) -> Iterator[str]:
    origins = {c: o for t in run.trials for c, o in t.energy_origins.items()}
    methods = {component: origin.method for component, origin in origins.items()}
    joules = {c: _total_joules(run, c) for c in charged_components(run.trials)}
    known = [value for value in joules.values() if value is not None]
    if not known:
        return
    parts = [f"{c.upper()} {_amount(value)} J ({methods[c]})" for c, value in joules.items() if value is not None]
    yield (
        f"All trials together took {' and '.join(parts)}: {_amount(grid.grams(sum(known)))} g CO2e at {grid}. "
        "Memory is left out: its joules are a guess."
    )
    if methods.get("cpu") == "model" and methods.get("gpu") in (None, "missing"):
        yield (
            "Energy is **modelled, not measured**: this machine shows no energy counter, so joules follow from time "
            "and load. No verdict on energy rests on them; compare times instead."
        )


def _machine_summary(run: RunData) -> Iterator[str]:
    """A caveat where the machine changed its speed or was not the run's alone."""
    watched = [(trial, trial.machine) for trial in run.trials if trial.machine]
    if not watched:
        return
    usual = median((machine.before + machine.after) / 2 for _, machine in watched)
    ratios = [(m.after / m.before, m.before / usual, m.after / usual) for _, m in watched]
    off = [max(max(ratio, 1 / ratio) for ratio in found) for found in ratios]
    drifted = [factor for factor in off if factor > 1 + DRIFT]
    crowded = [
        trial
        for trial, machine in watched
        if (machine.load_average or 0) > machine.cores + 0.5  # the run itself keeps up to `threads` cores busy
        or (trial.device == "cpu" and machine.busy_elsewhere + trial.spec.protocol.threads > machine.cores + 0.25)
    ]
    found = []
    if drifted:
        found.append(
            f"beside {len(drifted)} of {len(watched)} trials a fixed workload took over {DRIFT:.0%} more or less time "
            f"than usual or than a moment before (at worst {max(drifted):.3g} times)"
        )
    if crowded:
        found.append(f"{len(crowded)} of {len(watched)} trials shared it with more work than it has cores")
    if found:
        yield (
            f"**The machine was not steady**: {'; '.join(found)}. Times, and joules that follow from time, compare the "
            "machine's moments as well as the heads."
        )


def _energy_caveats(run: RunData) -> Iterator[str]:
    """What was odd about energy, each once, with the number of trials."""
    counts: dict[str, int] = defaultdict(int)
    for trial in run.trials:
        for kind in {_kind_of_caveat(caveat) for caveat in trial.caveats}:
            counts[kind] += 1
    for kind, count in counts.items():
        yield f"**Caveat on energy**, {count} trial(s): {kind}."
    yield from (f"**Caveat on energy**: {sentence}." for sentence in unsteady_idle(run.blocks))


def _kind_of_caveat(caveat: str) -> str:
    """A caveat without the numbers that differ from trial to trial."""
    if ": CodeCarbon (" in caveat:
        return f"{caveat.split(':')[0]}: CodeCarbon and the counter itself are more than 10 % apart (see the record)"
    return caveat


def _total_joules(run: RunData, component: Component) -> float | None:
    values = [phase.joules[component] for trial in run.trials for phase in trial.phases]
    return sum(v for v in values if v is not None) if any(v is not None for v in values) else None


# --- figures ---------------------------------------------------------------------------------------------------


def _figures(groups: Sequence[Group]) -> Iterator[Figure]:
    """Test accuracy of every head, a panel for each group, heads in the order of their mean over the panels, those that
    went wrong anywhere last."""
    means: dict[str, list[float]] = defaultdict(list)
    unsound = {cell.head for group in groups for cell in group.cells if cell.unsound}
    for group in groups:
        for cell in group.cells:
            if accuracy := cell.interval("test_accuracy"):
                means[cell.head].append(accuracy.mean)
    rows = sorted(means, key=lambda head: (head in unsound, -sum(means[head]) / len(means[head])))
    if not rows:
        return
    losses = sorted({cell.loss for group in groups for cell in group.cells})
    yield Figure(
        name="accuracy",
        caption="Test accuracy of every head: mean over seeds with its 95 % t interval. The dashed line is the "
        "baseline; numbers at the left edge are means too low for the axis.",
        axis="test accuracy (%)",
        series=tuple(losses),
        panels=tuple(_panel(group, rows) for group in groups),
    )


def _panel(group: Group, rows: Sequence[str]) -> Panel:
    baseline = group.baseline and group.baseline.interval("test_accuracy")
    points = [
        Point(
            row=cell.head,
            series=cell.loss,
            mean=100 * accuracy.mean,
            half_width=100 * accuracy.half_width if accuracy.size > 1 else None,
        )
        for head in rows
        for cell in group.cells
        if cell.head == head and (accuracy := cell.interval("test_accuracy"))
    ]
    return Panel(title=group.title, points=tuple(points), reference=100 * baseline.mean if baseline else None)


# --- tables ----------------------------------------------------------------------------------------------------


def _tables(group: Group, grid: Grid) -> Iterator[Table]:
    yield _main_table(group, grid)
    yield _measure_table("Calibration and learning", group, LEARNING)
    yield _measure_table("Steps and memory", group, STEPS)
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
        caption=f"Mean ± half of the {LEVEL:.0%} t interval over seeds. Energy: the training window of one trial.",
        columns=columns,
        rows=tuple(_main_row(group, cell, grid) for cell in group.cells),
    )


def _main_row(group: Group, cell: Cell, grid: Grid) -> tuple[str, ...]:
    verdict = group.verdict(cell)
    speed = _relative(cell, group.baseline, "throughput") if group.baseline else None
    accuracy = _percent(cell.interval("test_accuracy"))
    return (
        f"**{cell.head}**" if verdict == "better" else cell.head,
        cell.loss,
        f"**{accuracy}**" if verdict == "better" else accuracy,
        _percent(group.comparisons[cell.label][0].interval, sign=True) if cell.label in group.comparisons else "",
        verdict,
        _plain(cell.interval("gradient_norm_cv")),
        _steps_to_target(cell),
        _plain(cell.interval("throughput")),
        f"{speed:.2f}" if speed else MISSING,
        *(_plain(cell.interval(f"{component}_joules")) for component in COMPONENTS),
        _plain(_co2_milligrams(cell, grid)),
        _trials(cell),
    )


def _co2_milligrams(cell: Cell, grid: Grid) -> Interval | None:
    """CO2e of the training window; None where a component that takes part has no joules, since a part is no sum."""
    parts = [cell.by_seed(f"{component}_joules") for component in charged_components(cell.trials)]
    seeds = set.intersection(*(set(part) for part in parts)) if parts else set()
    grams = [grid.grams(sum(part[seed] for part in parts)) for seed in sorted(seeds)]
    return _scaled(mean_interval(grams), 1000) if grams else None


def _steps_to_target(cell: Cell) -> str:
    """Median of those that got there, and how many did; a median only where most did, since the rest are later."""
    steps = list(cell.by_seed("steps_to_target").values())
    never = [math.inf] * (cell.count("ok") + cell.count("diverged") - len(steps))
    median = censored_median(steps, never).value
    shown = "-" if median is None or len(steps) <= len(never) else f"{median:.0f}"
    return f"{shown} ({len(steps)}/{len(steps) + len(never)})"


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
    names = {m.name for cell in cells for trial in cell.trials for m in trial.measurements}
    return tuple(entry for entry in shown if entry[0] in names)


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
    return (_plain(_scaled(cell.interval(name), factor)) for name, _, _, factor in shown)


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
        _percent(cell.interval("test_accuracy")),
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
    rows = tuple((cell.head, cell.loss, *(_plain(cell.interval(name)) for name, _, _ in shown)) for cell in group.cells)
    yield Table(
        title="Energy of the training window",
        caption="Above idle: less the mean of the idle power at the start and at the end of the run.",
        columns=columns,
        rows=rows,
    )


# --- notes and environment -------------------------------------------------------------------------------------


def _notes(run: RunData, grid: Grid) -> Iterator[str]:
    protocol = run.header["suite"]["protocol"]
    budget = f"{protocol['steps']} steps" if protocol["steps"] else f"{protocol['epochs']:g} epochs"
    yield (
        f"Every head got the same {budget}, batch {protocol['batch_size']}, {protocol['optimizer']} at learning rate "
        f"{protocol['lr']:g} ({protocol['schedule']}), and at each seed the same initial backbone and data order. "
        + ("The state with the best validation accuracy" if protocol["select"] == "best" else "The last state")
        + " was kept and tested once."
    )
    for field, values in run.header["suite"].get("vary", {}).items():
        told = ", ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values)
        yield f"In place of the one above, {field} takes the values {told}; heads are compared at the same one only."
    yield (
        "Verdicts: paired t test of test accuracy by seed against linear + cross_entropy, Holm-corrected over the "
        f"table at {1 - LEVEL:.0%}. The spread counts as no less than the rounding of an accuracy on so few images; no "
        "head is better, or named the best, while trials of its ended badly or collapsed. "
        "`not decided` is no proof of equality; the seeds it names are "
        "an estimate. "
        "The interval in `to baseline` is not corrected."
    )
    yield "Bold marks a head that is decided to be better. A harmonic exponent n acts on the distance itself."
    yield (
        "Steps to target: median number of steps until validation accuracy reaches "
        f"{protocol['target']:g}, read at the validations; runs that never do are counted, not dropped."
    )
    yield from _meter_notes(run)
    yield (
        "Energy comes from CodeCarbon's component counters, read at the borders of the training windows; `model` means "
        "estimated from the whole machine's load and nominal power: it follows time and whatever else runs, not the "
        "work; `counter` is a hardware counter of the whole package or board. The window includes the meters' own work "
        "between steps. Nothing here is a wall meter."
    )
    yield "RAM energy is a guess (watts for each assumed memory module): shown apart, left out of sums and comparisons."
    yield (
        f"CO2e is energy x PUE x grid intensity: {grid}. An annual grid average; `--region`, `--intensity` and `--pue` "
        "change it without a new run."
    )
    for entry in run.header.get("excluded", []):
        yield f"Left out: {entry['what']}: {entry['reason']}."


def _meter_notes(run: RunData) -> Iterator[str]:
    """Definitions of what the meters of this run measured."""
    notes = {m.name: m.reason for t in run.trials for m in t.measurements if m.value is not None}
    if "gradient_norm_cv" in notes:
        looked = notes["gradient_norm_cv"]
        spike = notes.get("gradient_spike_rate") or "above a multiple of the median of those before it"
        yield (
            "Gradient stability is harmbench's own definition, the papers give none. The gradient is looked at "
            f"{looked.removeprefix('at ') or 'every step'}. CV: standard deviation over mean of its norm before "
            f"clipping. Spike: a norm {spike.partition(';')[0]}. Cosine: of successive gradients. Roughness: standard "
            "deviation of successive loss differences over that of the smoothed loss. The trunk is the backbone, the "
            "head has the loss's own parameters. All fall with the gradient itself: read them beside the accuracy."
        )
    if "flops_per_step" in notes:
        yield (
            "A step is taking its batch, forward, backward and optimiser; warm-up, which goes on until step time "
            "settles, and the first step are left out. Operations of trunk and linear head are counted by torch; those "
            "of a distance head are **modelled**: pairs x features x operations a coordinate, three passes. MFU is "
            "their rate over the data sheet's peak."
        )
    if "collapsed" in notes:
        yield (
            "Representation: of held-out test samples, as the head reads them. Effective rank: exp of the entropy of "
            "the normalised singular values. Participation ratio: squared sum of the eigenvalues over the sum of their "
            "squares. NC1 to NC4 follow Papyan et al. (2020): 0, and 100 % for NC4, is full collapse of the classes "
            "onto a simplex. A trial counts as collapsed where accuracy is not above chance by three standard errors, "
            "under half of the classes are ever predicted, or, with more than two classes, the effective rank is below "
            "1.5."
        )


def _environment(run: RunData) -> Iterator[tuple[str, str]]:
    for here in run.environments.values():
        gpus = ", ".join(gpu["name"] for gpu in here["gpus"]) or "none"
        versions = ", ".join(f"{name} {version}" for name, version in here["versions"].items())
        yield (
            "machine",
            f"{here['cpu']}, {here['cpu_count']} threads, {here['memory_bytes'] / 2**30:.0f} GiB; GPU: {gpus}",
        )
        yield "system", f"{here['platform']}, Python {here['python']}"
        yield "versions", versions + (f", commit {here['commit']}" if here["commit"] else "")
        outside = here.get("codecarbon_settings_from_outside", [])
        yield "variables", ", ".join(f"{k}={v}" for k, v in here["variables"].items()) or "none that matter"
        yield "CodeCarbon settings from outside", ", ".join(outside) or "none"
    for component, origin in {c: o for t in run.trials for c, o in t.energy_origins.items()}.items():
        renewed = f"every {origin.period_s:g} s" if origin.period_s else ""
        yield f"energy: {component}", ", ".join(filter(None, (origin.method, origin.scope, renewed, origin.detail)))
    yield from _instruments(run)
    yield "protocol", ", ".join(f"{field} {value}" for field, value in run.header["suite"]["protocol"].items())
    told = ("kernels", "instruction set", "compiler")
    for status in dict.fromkeys(tuple(t.kernels[what] for what in told) for t in run.trials if t.kernels):
        yield "kernels", ", ".join(f"{what} {said}" for what, said in zip(told, status, strict=True))
    if run.trials:
        spent = sum(phase.seconds for trial in run.trials for phase in trial.phases)
        yield "first trial", run.trials[0].started
        yield "time in trials", f"{spent:.0f} s" + _by_phase(run)
    speeds = [(t.machine.before + t.machine.after) / 2 for t in run.trials if t.machine]
    if speeds:
        usual, least, most = (1000 * seconds for seconds in (median(speeds), min(speeds), max(speeds)))
        yield "fixed workload", f"median {usual:.3g} ms, {least:.3g} to {most:.3g} ms beside the trials"


def _by_phase(run: RunData) -> str:
    """Shares of the trials' own time, and how much of it the phases account for."""
    timed = [trial for trial in run.trials if trial.wall_seconds]
    wall = sum(trial.wall_seconds or 0.0 for trial in timed)
    seconds: dict[str, float] = defaultdict(float)
    for trial in timed:
        for phase in trial.phases:
            seconds[phase.phase] += phase.seconds
    shares = ", ".join(f"{phase} {spent / wall:.0%}" for phase, spent in seconds.items())
    return f": {shares}; together {sum(seconds.values()) / wall:.1%} of the trials' wall time" if wall else ""


def _instruments(run: RunData) -> Iterator[tuple[str, str]]:
    """What stood beside CodeCarbon, what idle power was, and what to beware of."""
    starts = [block for block in run.blocks if block.moment == "start"]
    direct = {c: o["detail"] for block in starts for c, o in block.instruments.get("direct_origins", {}).items()}
    yield from ((f"read directly: {component}", detail) for component, detail in direct.items())
    for block in run.blocks:
        if block.idle is not None:
            watts = [(c, block.idle.watts(c)) for c in COMPONENTS]
            told = ", ".join(f"{c} {_amount(value)} W" for c, value in watts if value is not None) or MISSING
            yield f"idle power, {block.device}, {block.moment}", f"{told}, over {block.idle.seconds:.1f} s"
    traps = {trap["name"]: trap["text"] for block in starts for trap in block.instruments.get("traps", [])}
    yield from ((f"beware: {name}", text) for name, text in traps.items() if name != "no-region")


# --- tidy data -------------------------------------------------------------------------------------------------


def _tidy(run: RunData, grid: Grid) -> Iterator[dict[str, Any]]:
    """One row for each trial and measure, CO2e among them."""
    for trial in run.trials:
        spec = trial.spec
        lead = {
            "trial": trial.id,
            "dataset": spec.dataset,
            "backbone": spec.backbone,
            "head": spec.head,
            "loss": spec.loss,
            "setting": spec.setting,
            "seed": spec.seed,
            "status": trial.status,
            "device": trial.device,
            "order": trial.order,
        }
        for m in (*trial.measurements, *_co2_measurements(trial, grid)):
            yield {
                **lead,
                "measure": m.name,
                "value": m.value,
                "unit": m.unit,
                "better": m.better,
                "origin": m.origin,
                **_facts(m),
                "note": m.reason,
            }
        if not trial.measurements:
            yield {
                **lead,
                "measure": "",
                "value": None,
                "unit": "",
                "better": "",
                "origin": "missing",
                **_facts(None),
                "note": trial.reason,
            }


def _facts(measurement: Measurement | None) -> dict[str, Any]:
    """How joules were come by; empty for all else."""
    facts = measurement.energy if measurement else None
    if facts is None:
        return {"method": "", "scope": "", "period_s": None, "coverage": None}
    return {"method": facts.method, "scope": facts.scope, "period_s": facts.period_s, "coverage": facts.coverage}


def _co2_measurements(trial: TrialRecord, grid: Grid) -> Iterator[Measurement]:
    for component in ("cpu", "gpu"):
        energy = next((m for m in trial.measurements if m.name == f"{component}_joules"), None)
        if energy is not None and energy.value is not None:
            note = f"{component} energy ({energy.origin}) x {grid}"
            grams = grid.grams(energy.value)
            yield Measurement.of(
                f"{component}_co2", grams, "gCO2e", "lower", note, origin="derived", energy=energy.energy
            )


# --- numbers as text -------------------------------------------------------------------------------------------


def _scaled(interval: Interval | None, factor: float) -> Interval | None:
    return interval and Interval(interval.mean * factor, interval.half_width * factor, interval.size)


def _percent(interval: Interval | None, sign: bool = False) -> str:
    return _plain(_scaled(interval, 100), sign)


def _plain(interval: Interval | None, sign: bool = False) -> str:
    """Mean ± half-width, both to the digit that the half-width's first two digits reach."""
    if interval is None:
        return MISSING
    plus = "+" if sign else ""
    half = interval.half_width
    if math.isnan(half) or half == 0:
        return f"{interval.mean:{plus},.0f}" if abs(interval.mean) >= 1000 else f"{interval.mean:{plus}.4g}"
    decimals = max(0, 1 - math.floor(math.log10(half)))
    return f"{interval.mean:{plus},.{decimals}f} ± {half:,.{decimals}f}"


def _amount(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
