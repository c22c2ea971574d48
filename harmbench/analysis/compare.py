"""Two runs -> changes, and missed gates. docs/how-to/gate-ci.md has a recipe for CI.

A and B are two versions of the same experiment: same cells, protocol, data and machine, but another state of the code.
Cells are compared in pairs by seed. With fewer than two common seeds, Welch's test compares the means. Holm corrects
over the whole table. A gate is missed only if a change is decided to be beyond its limit.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any, Literal, NamedTuple

from harmbench.analysis.cells import Cell, cells_of
from harmbench.analysis.comparisons import Difference, difference
from harmbench.analysis.measures import Measure, find_measure, measure_names
from harmbench.analysis.stats import LEVEL, MeanDifference, holm, minimum_detectable_effect, two_sided
from harmbench.errors import IncomparableError, OptionError, UnknownNameError
from harmbench.registry import split_names
from harmbench.results._rows import Record
from harmbench.results.records import TrialRecord
from harmbench.results.store import RunData

SHORT_NAMES = {
    "accuracy": "test_accuracy",
    "perplexity": "test_perplexity",
    "throughput": "throughput",
    "memory": "peak_memory",
    "energy": "joules",
}
_GATE = re.compile(r"^(?P<name>[A-Za-z0-9_]+):(?P<limit>[+-]\d+(\.\d+)?)%$")

Decision = Literal["better", "worse", "changed", "not decided", "no difference", "n/a"]


class Gate(NamedTuple):
    """A limit on a measure. -0.005 allows a fall by half a point of accuracy, and 0.1 a rise by 10 % of memory."""

    measure: str
    limit: float


class ChangeRow(Record):
    """One measure of one cell in both runs.

    Attributes:
        measure: name of the measure.
        head: head and loss of the cell.
        condition: backbone, data set and setting.
        before: mean in A.
        after: mean in B.
        change: B against A: the difference for a measure of unit 1, otherwise the ratio minus 1.
        low, high: bounds of its 95 % interval, not corrected.
        text: the change with its interval, for people.
        pairs: number of common seeds. 0 if the runs' means were compared.
        p_value: p-value corrected over the table. None if nothing was tested.
        decision: the decision.
        missed: whether a gate was missed here.
        note: why there is no decision, or why the gate was missed.
    """

    measure: str
    head: str
    condition: str
    before: float | None = None
    after: float | None = None
    change: float | None = None
    low: float | None = None
    high: float | None = None
    text: str = ""
    pairs: int = 0
    p_value: float | None = None
    decision: Decision = "n/a"
    missed: bool = False
    note: str = ""


class Changes(Record):
    """Result of comparing two runs.

    Attributes:
        rows: every measure of every cell that both runs have.
        notes: other differences between the runs, and cells that were left out.
        gated: whether any gate was given.
    """

    rows: tuple[ChangeRow, ...]
    notes: tuple[str, ...]
    gated: bool = False

    @property
    def missed(self) -> bool:
        """Whether any gate was missed."""
        return any(row.missed for row in self.rows)

    @property
    def summary(self) -> str:
        """The result as one sentence."""
        counts = {d: sum(row.decision == d for row in self.rows) for d in ("worse", "better", "changed")}
        decided = ", ".join(f"{count} {decision}" for decision, count in counts.items() if count)
        same = all(row.decision == "no difference" or not row.change for row in self.rows)
        outcome = decided or ("no difference" if same else "no decided change")
        none_missed = "; no gate missed" if self.gated else ""
        missed = f"; {sum(row.missed for row in self.rows)} gate(s) missed" if self.missed else none_missed
        return f"{len(self.rows)} comparisons: {outcome}{missed}."


def parse_gates(texts: Sequence[str]) -> tuple[Gate, ...]:
    """Return gates from texts such as `accuracy:-0.5%`.

    Raises:
        OptionError: for a text that is no gate.

    >>> parse_gates(["accuracy:-0.5%,memory:+10%"])
    (Gate(measure='accuracy', limit=-0.005), Gate(measure='memory', limit=0.1))
    """
    gates = []
    for text in split_names(texts):
        match = _GATE.match(text)
        if not match:
            raise OptionError(
                f"cannot read the gate '{text}'; write MEASURE:LIMIT%, such as accuracy:-0.5%,memory:+10%"
            )
        gates.append(Gate(match["name"], float(match["limit"]) / 100))
    return tuple(gates)


def compare(
    a: RunData, b: RunData, measures: Sequence[str] = (), gates: Sequence[Gate] = (), force: bool = False
) -> Changes:
    """Return the changes from run A to run B.

    Args:
        a: the run before.
        b: the run after.
        measures: names or short names. Default: the gates' measures, or the short names without gates.
        gates: limits on measures.
        force: compare runs of different machines, data, protocols or kernels too.

    Raises:
        IncomparableError: if the runs have no common cell, or differ in machine, data, protocol or kernels.
        UnknownNameError: for a measure that neither run has.
        OptionError: for a gate that cannot be judged.
    """
    pairs = _pairs(a, b)
    if differing := list(_differences_of_setting(a, b, pairs)):
        if not force:
            raise IncomparableError(
                f"{a.folder} and {b.folder} cannot be compared: they differ in {'; '.join(differing)}. "
                "Add --force to compare them anyway"
            )
        differing = [f"Compared although they differ in {'; '.join(differing)}."]
    trials = [t for pair in pairs for cell in pair for t in cell.trials]
    names = list(measures) or list(dict.fromkeys(gate.measure for gate in gates)) or _default_measures(trials)
    by_name = {name: _find(trials, name) for name in dict.fromkeys([*names, *(gate.measure for gate in gates)])}
    limits = [(by_name[gate.measure], gate) for gate in gates]
    for measure, gate in limits:
        _check_gate(pairs, measure, gate)
    rows = _rows(pairs, list(dict.fromkeys(by_name.values())), {measure.name: gate.limit for measure, gate in limits})
    notes = (*differing, *_notes(a, b, pairs, list(by_name.values())), *_minimum_detectable_effects(pairs, limits))
    return Changes(rows=tuple(rows), notes=notes, gated=bool(gates))


# --- what may be compared --------------------------------------------------------------------------------------


def _pairs(a: RunData, b: RunData) -> list[tuple[Cell, Cell]]:
    after = {cell.key: cell for cell in cells_of(b.trials)}
    pairs = [(cell, after[cell.key]) for cell in sorted(cells_of(a.trials), key=lambda c: c.key) if cell.key in after]
    if not pairs:
        raise IncomparableError(f"{a.folder} and {b.folder} have no cell in common; nothing can be compared")
    return pairs


def _differences_of_setting(a: RunData, b: RunData, pairs: Sequence[tuple[Cell, Cell]]) -> Iterator[str]:
    """Yield the settings that differ between the runs and should not, as `name (A; B)`."""
    before, after = ([t for cell in side for t in cell.trials] for side in zip(*pairs, strict=True))
    for name, one, other in zip(_SETTINGS, _settings(a, before), _settings(b, after), strict=True):
        if one != other:
            yield f"{name} ({', '.join(sorted(one - other)) or 'less'}; {', '.join(sorted(other - one)) or 'less'})"


_SETTINGS = ("device", "protocol", "data or model", "kernels")


def _settings(run: RunData, trials: Sequence[TrialRecord]) -> tuple[set[str], set[str], set[str], set[str]]:
    device, protocol, data, kernels = (set[str]() for _ in _SETTINGS)
    for trial in trials:
        device.add(_machine(run.environments.get(trial.environment, {}), trial.spec.device_kind))
        protocol |= {f"{field} {value}" for field, value in trial.spec.protocol.model_dump().items()}
        contents = {trial.spec.dataset: trial.spec.data_content, trial.spec.backbone: trial.spec.backbone_content}
        data |= {f"{name} with content {content}" for name, content in contents.items() if content}
        kernels |= {f"{what} {trial.kernels[what]}" for what in ("kernels", "instruction set") if what in trial.kernels}
    return device, protocol, data, kernels


def _machine(environment: dict[str, Any], kind: str) -> str:
    if kind == "cuda":
        return " and ".join(sorted({gpu["name"] for gpu in environment.get("gpus", [])})) or "unknown GPU"
    return f"{environment.get('cpu', 'unknown CPU')} with {environment.get('cpu_count', '?')} threads"


def _notes(a: RunData, b: RunData, pairs: Sequence[tuple[Cell, Cell]], measures: Sequence[Measure]) -> Iterator[str]:
    """Yield the differences that are allowed, and the cells that were left out."""
    before, after = ([t for cell in side for t in cell.trials] for side in zip(*pairs, strict=True))
    for what, one, other in zip(("versions", "meters"), _may_differ(before), _may_differ(after), strict=True):
        if one != other:
            only_in_a, only_in_b = (", ".join(sorted(names)) or "none" for names in (one - other, other - one))
            yield f"Other {what}: {only_in_a} in A, {only_in_b} in B."
    for name, run in (("A", a), ("B", b)):
        unmatched = {cell.key for cell in cells_of(run.trials)} - {cell.key for cell, _ in pairs}
        if unmatched:
            yield f"{len(unmatched)} cell(s) are in {name} only and were left out."
    for measure in measures:
        part = next((p for pair in pairs for cell in pair if (p := cell.modelled(measure.name))), "")
        if part:
            yield f"{measure.name}: {part} is modelled, not measured, so it is shown without a decision."


def _minimum_detectable_effects(
    pairs: Sequence[tuple[Cell, Cell]], limits: Sequence[tuple[Measure, Gate]]
) -> Iterator[str]:
    """Yield the minimum detectable effect of each gate. It is large with few seeds."""
    for measure, gate in limits:
        differences = [difference(after, before, measure) for before, after in pairs]
        estimates = [(d, e) for d in differences if isinstance(e := d.evidence, MeanDifference) and e.error > 0]
        effects = [
            abs(
                d.change(minimum_detectable_effect(e.error * math.sqrt(e.size), e.size, tests=len(pairs) * len(limits)))
            )
            for d, e in estimates
        ]
        if effects:
            text = measure.changed(median(effects), sign="")
            is_coarse = median(effects) > 2 * abs(gate.limit)
            advice = f" The gate is at {measure.changed(abs(gate.limit), sign='')}: use more seeds or fewer cells."
            yield (
                f"{measure.name}: the minimum detectable effect is {text} (decided with 80 % probability)."
                + (advice if is_coarse else "")
            )


def _may_differ(trials: Sequence[TrialRecord]) -> tuple[set[str], set[str]]:
    versions = {f"{name} {version}" for t in trials for name, version in t.spec.versions.items()}
    return versions, {meter for t in trials for meter in t.spec.meters}


# --- measures and gates ----------------------------------------------------------------------------------------


def _default_measures(trials: Sequence[TrialRecord]) -> list[str]:
    return [short for short, name in SHORT_NAMES.items() if find_measure(trials, name)]


def _find(trials: Sequence[TrialRecord], name: str) -> Measure:
    measure = find_measure(trials, SHORT_NAMES.get(name, name))
    if measure is None:
        names = measure_names(trials)
        names += [short for short, full in SHORT_NAMES.items() if full in names and short not in names]
        near = difflib.get_close_matches(name, names, n=6, cutoff=0.3) or names
        raise UnknownNameError("measure", name, near, see="harmbench report --format csv", partial=True)
    return measure


def _check_gate(pairs: Sequence[tuple[Cell, Cell]], measure: Measure, gate: Gate) -> None:
    """Raise an error for a gate that limits improvements, or whose measure is modelled."""
    if (measure.better, gate.limit > 0) in (("higher", True), ("lower", False)):
        wrong, right = f"{100 * gate.limit:+g}%", f"{-100 * gate.limit:+g}%"
        raise OptionError(f"{gate.measure} is better when {measure.better}; write {gate.measure}:{right}, not {wrong}")
    part = next((p for pair in pairs for cell in pair if (p := cell.modelled(measure.name))), "")
    if part:
        raise OptionError(f"{gate.measure} cannot be gated here: {part} is modelled, not measured; gate throughput")


# --- rows ------------------------------------------------------------------------------------------------------


def _rows(pairs: Sequence[tuple[Cell, Cell]], measures: Sequence[Measure], limits: dict[str, float]) -> list[ChangeRow]:
    tested = [(m, before, after, difference(after, before, m)) for m in measures for before, after in pairs]
    usable = [not (before.modelled(m.name) or after.modelled(m.name)) for m, before, after, _ in tested]
    change_p_values = holm(
        [_p_of_change(d) if use else math.nan for (_, _, _, d), use in zip(tested, usable, strict=True)]
    )
    gate_p_values = holm([_p_beyond(d, limits.get(m.name)) for m, _, _, d in tested])
    return [
        _row(m, before, after, comparison, use, change, gate if m.name in limits else None)
        for (m, before, after, comparison), use, change, gate in zip(
            tested, usable, change_p_values, gate_p_values, strict=True
        )
    ]


def _p_of_change(comparison: Difference) -> float:
    return two_sided(comparison.p_above(0.0), comparison.p_below(0.0))


def _p_beyond(comparison: Difference, limit: float | None) -> float:
    """Twice the one-sided p-value for "beyond the limit", to match a two-sided 95 % interval. NaN without a gate."""
    if limit is None:
        return math.nan
    p_value = comparison.p_below(limit) if limit < 0 else comparison.p_above(limit)
    return min(1.0, 2 * p_value) if not math.isnan(p_value) else math.nan


def _row(
    measure: Measure,
    before: Cell,
    after: Cell,
    comparison: Difference,
    is_usable: bool,
    p_change: float,
    p_gate: float | None,
) -> ChangeRow:
    values_before, values_after = before.by_seed(measure.name), after.by_seed(measure.name)
    pairs = values_before.keys() & values_after.keys()
    is_same = bool(pairs) and all(values_before[seed] == values_after[seed] for seed in pairs)
    more_ended_badly = after.ended_badly - before.ended_badly
    values: dict[str, Any] = {}
    if isinstance(comparison.evidence, MeanDifference):
        interval = comparison.evidence.interval()
        values["change"] = comparison.change(interval.mean)
        if not math.isnan(interval.half_width):
            values |= {"low": comparison.change(interval.low), "high": comparison.change(interval.high)}
        values["text"] = measure.interval(values["change"], values.get("low"), values.get("high"))
    return ChangeRow(
        **values,
        measure=measure.name,
        head=after.label,
        condition=after.condition,
        before=mean.mean if (mean := before.interval(measure.name)) else None,
        after=mean.mean if (mean := after.interval(measure.name)) else None,
        pairs=len(pairs),
        p_value=None if math.isnan(p_change) else p_change,
        decision="no difference" if is_same and is_usable else _decision(measure, comparison, p_change),
        # Failed trials are observed, not estimated. The remaining seeds may be the easy ones.
        missed=p_gate is not None and (p_gate < 1 - LEVEL or more_ended_badly > 0),
        note=_note(comparison, is_usable, more_ended_badly),
    )


def _decision(measure: Measure, comparison: Difference, p_value: float) -> Decision:
    if math.isnan(p_value):
        return "n/a"
    if p_value >= 1 - LEVEL:
        return "not decided"
    if measure.better == "neither":
        return "changed"
    rose = comparison.p_above(0.0) < comparison.p_below(0.0)
    return "better" if rose == (measure.better == "higher") else "worse"


def _note(comparison: Difference, is_usable: bool, more_ended_badly: int) -> str:
    if more_ended_badly > 0:
        return f"{more_ended_badly} more of its trials ended badly"
    if not is_usable:
        return "modelled, not measured"
    if isinstance(comparison.evidence, MeanDifference) and comparison.evidence.size == 1:
        return "one seed cannot decide"
    return comparison.reason
