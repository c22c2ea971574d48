"""Two runs -> what changed, and whether a gate was missed. Pure; the recipe for CI is in docs/how-to/gate-ci.md.

A and B are two versions of the same experiment: same cells, protocol, data and machine, another state of the code.
Cells are compared in pairs by seed, or by Welch's test where they share fewer than two seeds; Holm corrects over the
whole table. A gate is missed only where a change is decided to be beyond its limit.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any, Literal, NamedTuple

from harmbench.analysis.cells import Cell, Measure, cells_of, find_measure, measure_names
from harmbench.analysis.comparisons import Difference, difference
from harmbench.analysis.stats import LEVEL, Estimate, detectable_difference, holm, two_sided
from harmbench.errors import IncomparableError, OptionError, UnknownNameError
from harmbench.registry import split_names
from harmbench.results.records import Record, TrialRecord
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
    """A limit on a measure: -0.005 allows a fall by half a point of accuracy, 0.1 a rise by 10 % of memory."""

    measure: str
    limit: float


class Row(Record):
    """One measure of one cell in both runs.

    Attributes:
        measure: its name.
        head: of the cell, with its loss.
        place: backbone and data set.
        before: mean in A.
        after: mean in B.
        change: B against A: their difference for a measure of unit 1, else their ratio less 1.
        low, high: of its 95 % interval, not corrected.
        text: the change with its interval, for people.
        pairs: seeds in common; 0 where the runs' means were compared.
        p_value: corrected over the table; None where nothing was tested.
        decision: what is decided.
        missed: whether a gate was missed here.
        note: why there is no decision, or why the gate was missed.
    """

    measure: str
    head: str
    place: str
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
    """What became of a comparison.

    Attributes:
        rows: every measure of every cell that both runs have.
        notes: what else differs, and what was left out.
        gated: whether there was a gate to miss.
    """

    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    gated: bool = False

    @property
    def missed(self) -> bool:
        """Whether any gate was missed."""
        return any(row.missed for row in self.rows)

    @property
    def summary(self) -> str:
        """One sentence."""
        counts = {d: sum(row.decision == d for row in self.rows) for d in ("worse", "better", "changed")}
        told = ", ".join(f"{count} {decision}" for decision, count in counts.items() if count)
        same = all(row.decision == "no difference" or not row.change for row in self.rows)
        found = told or ("no difference" if same else "no decided change")
        passed = "; no gate missed" if self.gated else ""
        gate = f"; {sum(row.missed for row in self.rows)} gate(s) missed" if self.missed else passed
        return f"{len(self.rows)} comparisons: {found}{gate}."


def parse_gates(texts: Sequence[str]) -> tuple[Gate, ...]:
    """Gates from texts such as `accuracy:-0.5%`.

    Raises:
        OptionError: for one that cannot be read.

    >>> parse_gates(["accuracy:-0.5%,memory:+10%"])
    (Gate(measure='accuracy', limit=-0.005), Gate(measure='memory', limit=0.1))
    """
    found = []
    for text in split_names(texts):
        match = _GATE.match(text)
        if not match:
            raise OptionError(
                f"cannot read the gate '{text}'; write MEASURE:LIMIT%, such as accuracy:-0.5%,memory:+10%"
            )
        found.append(Gate(match["name"], float(match["limit"]) / 100))
    return tuple(found)


def compare(
    a: RunData, b: RunData, measures: Sequence[str] = (), gates: Sequence[Gate] = (), anyway: bool = False
) -> Changes:
    """What changed from run A to run B.

    Args:
        a: the run before.
        b: the run after.
        measures: names or short names; the gates' unless given, and the short ones without gates.
        gates: limits.
        anyway: compare runs of different machines, data, protocols or kernels too.

    Raises:
        IncomparableError: where the runs differ in more than what is compared.
        UnknownNameError: for a measure that neither has.
        OptionError: for a gate that cannot be judged.
    """
    pairs = _pairs(a, b)
    if differing := list(_differences_of_setting(a, b, pairs)):
        if not anyway:
            raise IncomparableError(
                f"{a.folder} and {b.folder} cannot be compared: they differ in {'; '.join(differing)}. "
                "--anyway does it all the same"
            )
        differing = [f"Compared although they differ in {'; '.join(differing)}."]
    trials = [t for pair in pairs for cell in pair for t in cell.trials]
    asked = list(measures) or list(dict.fromkeys(gate.measure for gate in gates)) or _default_measures(trials)
    named = {name: _find(trials, name) for name in dict.fromkeys([*asked, *(gate.measure for gate in gates)])}
    limits = [(named[gate.measure], gate) for gate in gates]
    for measure, gate in limits:
        _check_gate(pairs, measure, gate)
    rows = _rows(pairs, list(dict.fromkeys(named.values())), {measure.name: gate.limit for measure, gate in limits})
    notes = (*differing, *_notes(a, b, pairs, list(named.values())), *_sight(pairs, limits))
    return Changes(rows=tuple(rows), notes=notes, gated=bool(gates))


# --- what may be compared --------------------------------------------------------------------------------------


def _pairs(a: RunData, b: RunData) -> list[tuple[Cell, Cell]]:
    after = {cell.key: cell for cell in cells_of(b.trials)}
    pairs = [(cell, after[cell.key]) for cell in sorted(cells_of(a.trials), key=lambda c: c.key) if cell.key in after]
    if not pairs:
        raise IncomparableError(f"{a.folder} and {b.folder} have no cell in common; nothing can be compared")
    return pairs


def _differences_of_setting(a: RunData, b: RunData, pairs: Sequence[tuple[Cell, Cell]]) -> Iterator[str]:
    """What differs that is not meant to, as `name (A; B)`."""
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


def _machine(here: dict[str, Any], kind: str) -> str:
    if kind == "cuda":
        return " and ".join(sorted({gpu["name"] for gpu in here.get("gpus", [])})) or "unknown GPU"
    return f"{here.get('cpu', 'unknown CPU')} with {here.get('cpu_count', '?')} threads"


def _notes(a: RunData, b: RunData, pairs: Sequence[tuple[Cell, Cell]], measures: Sequence[Measure]) -> Iterator[str]:
    """What differs and may, and what was left out."""
    before, after = ([t for cell in side for t in cell.trials] for side in zip(*pairs, strict=True))
    for what, one, other in zip(("versions", "meters"), _may_differ(before), _may_differ(after), strict=True):
        if one != other:
            gone, new = (", ".join(sorted(names)) or "none" for names in (one - other, other - one))
            yield f"Other {what}: {gone} in A, {new} in B."
    for name, run in (("A", a), ("B", b)):
        lost = {cell.key for cell in cells_of(run.trials)} - {cell.key for cell, _ in pairs}
        if lost:
            yield f"{len(lost)} cell(s) only {name} has."
    for measure in measures:
        part = next((p for pair in pairs for cell in pair if (p := cell.modelled(measure.name))), "")
        if part:
            yield f"{measure.name}: {part} is modelled, not measured; it is shown, and decides nothing."


def _sight(pairs: Sequence[tuple[Cell, Cell]], limits: Sequence[tuple[Measure, Gate]]) -> Iterator[str]:
    """How large a change the gates would see: with few seeds, none but a large one."""
    for measure, gate in limits:
        found = [difference(after, before, measure) for before, after in pairs]
        known = [(d, e) for d in found if isinstance(e := d.evidence, Estimate) and e.error > 0]
        sizes = [
            abs(d.change(detectable_difference(e.error * math.sqrt(e.size), e.size, tests=len(pairs) * len(limits))))
            for d, e in known
        ]
        if sizes:
            text = measure.changed(median(sizes), sign="")
            few = median(sizes) > 2 * abs(gate.limit)
            more = (
                f" The gate is at {measure.changed(abs(gate.limit), sign='')}: more seeds or fewer cells would see it."
            )
            yield (
                f"{measure.name}: with these seeds, a change of {text} has four chances in five to be decided."
                + (more if few else "")
            )


def _may_differ(trials: Sequence[TrialRecord]) -> tuple[set[str], set[str]]:
    versions = {f"{name} {version}" for t in trials for name, version in t.spec.versions.items()}
    return versions, {meter for t in trials for meter in t.spec.meters}


# --- measures and gates ----------------------------------------------------------------------------------------


def _default_measures(trials: Sequence[TrialRecord]) -> list[str]:
    return [short for short, name in SHORT_NAMES.items() if find_measure(trials, name)]


def _find(trials: Sequence[TrialRecord], name: str) -> Measure:
    found = find_measure(trials, SHORT_NAMES.get(name, name))
    if found is None:
        known = measure_names(trials)
        known += [short for short, full in SHORT_NAMES.items() if full in known and short not in known]
        near = difflib.get_close_matches(name, known, n=6, cutoff=0.3) or known
        raise UnknownNameError("measure", name, near, see="harmbench report --format csv", partial=True)
    return found


def _check_gate(pairs: Sequence[tuple[Cell, Cell]], measure: Measure, gate: Gate) -> None:
    """Refuse a gate that guards the good side, or that nothing measured can miss."""
    if (measure.better, gate.limit > 0) in (("higher", True), ("lower", False)):
        wrong, right = f"{100 * gate.limit:+g}%", f"{-100 * gate.limit:+g}%"
        raise OptionError(f"{gate.measure} is better when {measure.better}; write {gate.measure}:{right}, not {wrong}")
    part = next((p for pair in pairs for cell in pair if (p := cell.modelled(measure.name))), "")
    if part:
        raise OptionError(f"{gate.measure} cannot be gated here: {part} is modelled, not measured; gate throughput")


# --- rows ------------------------------------------------------------------------------------------------------


def _rows(pairs: Sequence[tuple[Cell, Cell]], measures: Sequence[Measure], limits: dict[str, float]) -> list[Row]:
    tested = [(m, before, after, difference(after, before, m)) for m in measures for before, after in pairs]
    usable = [not (before.modelled(m.name) or after.modelled(m.name)) for m, before, after, _ in tested]
    changed = holm([_p_of_change(d) if use else math.nan for (_, _, _, d), use in zip(tested, usable, strict=True)])
    beyond = holm([_p_beyond(d, limits.get(m.name)) for m, _, _, d in tested])
    return [
        _row(m, before, after, found, use, change, gate if m.name in limits else None)
        for (m, before, after, found), use, change, gate in zip(tested, usable, changed, beyond, strict=True)
    ]


def _p_of_change(found: Difference) -> float:
    return two_sided(found.p_above(0.0), found.p_below(0.0))


def _p_beyond(found: Difference, limit: float | None) -> float:
    """Twice the one-sided p-value for "beyond the limit", as if its 95 % interval were; NaN without a gate."""
    if limit is None:
        return math.nan
    p_value = found.p_below(limit) if limit < 0 else found.p_above(limit)
    return min(1.0, 2 * p_value) if not math.isnan(p_value) else math.nan


def _row(
    measure: Measure,
    before: Cell,
    after: Cell,
    found: Difference,
    is_usable: bool,
    p_change: float,
    p_gate: float | None,
) -> Row:
    old, new = before.by_seed(measure.name), after.by_seed(measure.name)
    pairs = old.keys() & new.keys()
    is_same = bool(pairs) and all(old[seed] == new[seed] for seed in pairs)
    more_ended_badly = after.ended_badly - before.ended_badly
    values: dict[str, Any] = {}
    if isinstance(found.evidence, Estimate):
        interval = found.evidence.interval()
        values["change"] = found.change(interval.mean)
        if not math.isnan(interval.half_width):
            values |= {"low": found.change(interval.low), "high": found.change(interval.high)}
        values["text"] = measure.interval(values["change"], values.get("low"), values.get("high"))
    return Row(
        **values,
        measure=measure.name,
        head=after.label,
        place=after.place,
        before=mean.mean if (mean := before.interval(measure.name)) else None,
        after=mean.mean if (mean := after.interval(measure.name)) else None,
        pairs=len(pairs),
        p_value=None if math.isnan(p_change) else p_change,
        decision="no difference" if is_same and is_usable else _decision(measure, found, p_change),
        # That trials broke is seen, not estimated; the seeds that are left may be the easy ones.
        missed=p_gate is not None and (p_gate < 1 - LEVEL or more_ended_badly > 0),
        note=_note(found, is_usable, more_ended_badly),
    )


def _decision(measure: Measure, found: Difference, p_value: float) -> Decision:
    if math.isnan(p_value):
        return "n/a"
    if p_value >= 1 - LEVEL:
        return "not decided"
    if measure.better == "neither":
        return "changed"
    rose = found.p_above(0.0) < found.p_below(0.0)
    return "better" if rose == (measure.better == "higher") else "worse"


def _note(found: Difference, is_usable: bool, more_ended_badly: int) -> str:
    if more_ended_badly > 0:
        return f"{more_ended_badly} more of its trials ended badly"
    if not is_usable:
        return "modelled, not measured"
    if isinstance(found.evidence, Estimate) and found.evidence.size == 1:
        return "one seed decides nothing"
    return found.reason
