"""The summary of a report as sentences: verdicts, costs and caveats."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from statistics import median

from harmbench.analysis.cells import Cell, sources_of
from harmbench.analysis.measures import charged_components
from harmbench.analysis.primary import LOSS, PrimaryMetric
from harmbench.energy.carbon import Grid
from harmbench.energy.net import unsteady_idle
from harmbench.report.conditions import Condition, relative_to
from harmbench.report.numbers import MISSING, amount, plain, scaled
from harmbench.report.overview import best_of, headline
from harmbench.results.store import RunData
from harmbench.results.vocabulary import Component

DRIFT = 0.1  # relative change of the fixed workload's time from which on the report warns


def summarize(run: RunData, conditions: Sequence[Condition], grid: Grid) -> Iterator[str]:
    """Yield sentences on verdicts, numbers of trials, energy, the machine, and missing measures."""
    yield from headline(conditions)
    statuses = [trial.status for trial in run.trials]
    diverged, failed = statuses.count("diverged"), statuses.count("failed")
    collapsed = sum(cell.collapsed for condition in conditions for cell in condition.cells)
    yield (
        f"{len(run.trials)} of {run.planned} planned trials have a result: "
        f"{statuses.count('ok')} ended well, {diverged} diverged, {failed} failed."
        + (
            f" {collapsed} of those that ended well collapsed: no better than chance, or never predicting most classes."
            if collapsed
            else ""
        )
        + (f" {run.missing} are still to run. Run the same command to continue." if run.missing > 0 else "")
    )
    yield from _energy_summary(run, grid)
    yield from _machine_summary(run)
    yield from _energy_caveats(run)
    cells = [cell for condition in conditions for cell in condition.cells]
    measures = ((cell, name) for cell in cells for name in cell.measures if _is_of_the_machine(name))
    missing = sorted(
        f"{name} ({reason})" for name, reason in {(n, m.reason) for cell, n in measures for m in cell.missing_of(n)}
    )
    if missing:
        yield "Not measured here: " + "; ".join(missing) + "."
    if run.unreadable_lines:
        yield f"{run.unreadable_lines} unreadable line(s) of the results were skipped (a crash tears at most the last)."


def _is_of_the_machine(name: str) -> bool:
    """Whether the machine, and not the trial, is the reason if the measure is missing."""
    return name.endswith("_joules")


def summary_of(condition: Condition) -> str:
    """Return a sentence on the best cell of a condition, its cost, and the number of decided heads."""
    if not any(cell.count("ok") for cell in condition.cells):
        return f"**{condition.title}**: no trial ended well."
    best = best_of(condition)
    if best is None:
        return f"**{condition.title}**: no valid head. All had failed, diverged or collapsed trials."
    primary = condition.primary
    what = f"{'highest' if primary.sign > 0 else 'lowest'} mean {primary.label}"
    text = f"**{condition.title}**: {what} {_quality(best, primary)} ({best.label})"
    if condition.baseline is None:
        return text + ". The run has no baseline (linear + cross_entropy)."
    if best.is_baseline:
        text += ", the baseline itself"
    else:
        text += f", baseline {_quality(condition.baseline, primary)}"
        text += f" ({condition.baseline.disqualified})" if condition.baseline.disqualified else ""
        speed = relative_to(best, condition.baseline, "throughput")
        text += f", at {speed:.2f} times the baseline's throughput" if speed else ""
    verdicts = [condition.verdict(cell).split(" (")[0] for cell in condition.cells if not cell.is_baseline]
    counts = [f"{verdicts.count(v)} {v}" for v in ("better", "worse", "not decided", MISSING) if v in verdicts]
    return f"{text}. Of {len(verdicts)} heads against the baseline: {', '.join(counts)}."


def _quality(cell: Cell, primary: PrimaryMetric) -> str:
    """Return the primary metric as text, for text with perplexity and bits per byte."""
    text = f"{plain(scaled(cell.interval(primary.measure), primary.factor))} {primary.unit}"
    also = [
        f"{name} {plain(interval)}"
        for name, measure in (("perplexity", "test_perplexity"), ("bits per byte", "test_bits_per_byte"))
        if primary is LOSS and (interval := cell.interval(measure))
    ]
    return ", ".join([text, *also])


def _energy_summary(run: RunData, grid: Grid) -> Iterator[str]:
    methods = {component: origin.method for component, origin in sources_of(run.trials).items()}
    joules = {c: _total_joules(run, c) for c in charged_components(run.trials)}
    known = [value for value in joules.values() if value is not None]
    if not known:
        return
    parts = [f"{c.upper()} {amount(value)} J ({methods[c]})" for c, value in joules.items() if value is not None]
    yield (
        f"All trials together took {' and '.join(parts)}: {amount(grid.grams(sum(known)))} g CO2e at {grid}. "
        "Memory is left out, since its joules are a guess."
    )
    if methods.get("cpu") == "model" and methods.get("gpu") in (None, "missing"):
        yield (
            "Energy is **modelled, not measured**: this machine shows no energy counter, so joules follow from time "
            "and load. They decide no verdict on energy. Compare times instead."
        )


def _machine_summary(run: RunData) -> Iterator[str]:
    """Yield a caveat if the machine changed its speed or ran other work."""
    observed = [(trial, trial.machine) for trial in run.trials if trial.machine]
    if not observed:
        return
    times = [(machine.before, machine.after) for _, machine in observed]
    usual = median((before + after) / 2 for before, after in times)
    ratios = [max(before, after, usual) / min(before, after, usual) for before, after in times]
    drifted = [factor for factor in ratios if factor > 1 + DRIFT]
    crowded = [
        trial
        for trial, machine in observed
        if (machine.load_average or 0) > machine.cores + 0.5  # the run itself keeps up to `threads` cores busy
        or (trial.device == "cpu" and machine.busy_elsewhere + trial.spec.protocol.threads > machine.cores + 0.25)
    ]
    sentences = []
    if drifted:
        sentences.append(
            f"around {len(drifted)} of {len(observed)} trials a fixed workload took over {100 * DRIFT:.0f} % more "
            "or less "
            f"time than its median or than before the trial (at worst {max(drifted):.3g} times)"
        )
    if crowded:
        sentences.append(
            f"{len(crowded)} of {len(observed)} trials shared the machine with more work than it has cores"
        )
    if sentences:
        yield (
            f"**The machine was not steady**: {'; '.join(sentences)}. Times, and joules that follow from time, also "
            "reflect "
            "these changes, not only the heads."
        )


def _energy_caveats(run: RunData) -> Iterator[str]:
    """Yield each caveat on energy once, with its number of trials."""
    counts: dict[str, int] = defaultdict(int)
    for trial in run.trials:
        for kind in {_kind_of_caveat(caveat) for caveat in trial.caveats}:
            counts[kind] += 1
    for kind, count in counts.items():
        yield f"**Caveat on energy**, {count} trial(s): {kind}."
    yield from (f"**Caveat on energy**: {sentence}." for sentence in unsteady_idle(run.invocations))


def _kind_of_caveat(caveat: str) -> str:
    """Return a caveat without the numbers that differ between trials."""
    if ": CodeCarbon (" in caveat:
        return f"{caveat.split(':')[0]}: CodeCarbon and the counter itself are more than 10 % apart (see the record)"
    if caveat.startswith("went on after an interruption"):
        return re.sub(r", from step [0-9, ]+:", ":", caveat)
    return caveat


def _total_joules(run: RunData, component: Component) -> float | None:
    values = [phase.joules[component] for trial in run.trials for phase in trial.phases]
    known = [value for value in values if value is not None]
    return sum(known) if known else None
