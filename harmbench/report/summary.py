"""What a busy person reads: what holds, what it cost, what was odd."""

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
from harmbench.report.groups import Group, relative_to
from harmbench.report.numbers import MISSING, amount, plain, scaled
from harmbench.report.overview import best_of, headline
from harmbench.results.store import RunData
from harmbench.results.vocabulary import Component

DRIFT = 0.1  # relative change of the fixed workload's time from which on the report warns


def summarize(run: RunData, groups: Sequence[Group], grid: Grid) -> Iterator[str]:
    """What is decided, what became of the trials, what they took, and what was odd."""
    yield from headline(groups)
    statuses = [trial.status for trial in run.trials]
    diverged, failed = statuses.count("diverged"), statuses.count("failed")
    collapsed = sum(cell.collapsed for group in groups for cell in group.cells)
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
    yield from _energy_summary(run, grid)
    yield from _machine_summary(run)
    yield from _energy_caveats(run)
    cells = [cell for group in groups for cell in group.cells]
    named = ((cell, name) for cell in cells for name in cell.measures if _is_of_the_machine(name))
    gone = sorted(f"{name} ({reason})" for name, reason in {(n, m.reason) for cell, n in named for m in cell.gaps(n)})
    if gone:
        yield "Could not be measured here: " + "; ".join(gone) + "."
    if run.unreadable_lines:
        yield f"{run.unreadable_lines} unreadable line(s) of the results were skipped (a crash tears at most the last)."


def _is_of_the_machine(name: str) -> bool:
    """Whether a measure, where it is missing, is so for a reason of the machine's, and not of the trial's."""
    return name.endswith("_joules")


def said_of(group: Group) -> str:
    """The best cell of a group, what it costs, and how many heads are decided, as a sentence."""
    if not any(cell.count("ok") for cell in group.cells):
        return f"**{group.title}**: no trial ended well."
    best = best_of(group)
    if best is None:
        return f"**{group.title}**: no head is the best: of every one, trials ended badly or collapsed."
    lead = group.lead
    what = f"{'highest' if lead.sign > 0 else 'lowest'} mean {lead.label}"
    text = f"**{group.title}**: {what} {_quality(best, lead)} ({best.label})"
    if group.baseline is None:
        return text + "; the run has no baseline (linear + cross_entropy) to compare with."
    if best.is_baseline:
        text += ", the baseline itself"
    else:
        text += f", baseline {_quality(group.baseline, lead)}"
        text += f" ({group.baseline.unsound})" if group.baseline.unsound else ""
        speed = relative_to(best, group.baseline, "throughput")
        text += f"; it trains at {speed:.2f} times the baseline's speed" if speed else ""
    verdicts = [group.verdict(cell).split(" (")[0] for cell in group.cells if not cell.is_baseline]
    counts = [f"{verdicts.count(v)} {v}" for v in ("better", "worse", "not decided", MISSING) if v in verdicts]
    return f"{text}. Against the baseline, of {len(verdicts)} heads: {', '.join(counts)}."


def _quality(cell: Cell, lead: PrimaryMetric) -> str:
    """The lead measure, and of text what people know better."""
    text = f"{plain(scaled(cell.interval(lead.measure), lead.factor))} {lead.unit}"
    also = [
        f"{name} {plain(interval)}"
        for name, measure in (("perplexity", "test_perplexity"), ("bits per byte", "test_bits_per_byte"))
        if lead is LOSS and (interval := cell.interval(measure))
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
    times = [(machine.before, machine.after) for _, machine in watched]
    usual = median((before + after) / 2 for before, after in times)
    off = [max(before, after, usual) / min(before, after, usual) for before, after in times]
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
            f"beside {len(drifted)} of {len(watched)} trials a fixed workload took over {100 * DRIFT:.0f} % more or "
            f"less time than usual or than a moment before (at worst {max(drifted):.3g} times)"
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
    yield from (f"**Caveat on energy**: {sentence}." for sentence in unsteady_idle(run.invocations))


def _kind_of_caveat(caveat: str) -> str:
    """A caveat without the numbers that differ from trial to trial."""
    if ": CodeCarbon (" in caveat:
        return f"{caveat.split(':')[0]}: CodeCarbon and the counter itself are more than 10 % apart (see the record)"
    if caveat.startswith("went on after an interruption"):
        return re.sub(r", from step [0-9, ]+:", ":", caveat)
    return caveat


def _total_joules(run: RunData, component: Component) -> float | None:
    values = [phase.joules[component] for trial in run.trials for phase in trial.phases]
    known = [value for value in values if value is not None]
    return sum(known) if known else None
