"""Trials -> tables of how soon heads generalize, from how much data, and in what shape. Pure.

    task_tables     one for each task and backbone: lasting accuracy, grokking gap, structure of the embedding
    data_tables     one for each task that was run with several shares of its training part: what a target takes

A run that never gets there is not dropped: it counts as later than it was watched, and medians are Kaplan and Meier's.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from harmbench.analysis.cells import Cell, cells_of
from harmbench.analysis.comparisons import watched_for
from harmbench.analysis.conditions import in_order, place
from harmbench.analysis.stats import SURE, Median, censored_median
from harmbench.meters.grokking import lasting
from harmbench.report.formats import Column, Section, Table
from harmbench.results.records import TrialRecord

Time = tuple[str, str]
Shape = tuple[str, str, str, float, str]
MISSING = "n/a"
TIMES: tuple[Time, ...] = (
    ("steps_to_lasting_train", "steps to lasting train accuracy"),
    ("steps_to_lasting_validation", "to lasting validation accuracy"),
    ("grokking_gap", "grokking gap"),
)
SHAPES: tuple[Shape, ...] = (  # measure, label, unit, factor, what noise gives
    ("embedding_variance_2", "embedding variance on PC 1-2", "%", 100, ""),
    ("structure_correlation", "structure correlation", "", 1, "0"),
    ("lattice_defect", "lattice defect", "", 1, "1"),
    ("circle_radius_cv", "circle radius CV", "", 1, "0.5"),
    ("equivalence_ratio", "equivalence ratio", "", 1, "1"),
    ("order_spacing_cv", "order spacing CV", "", 1, "0.2"),
    ("tree_line_defect", "tree line defect", "", 1, "0.8"),
    ("permutation_symmetry", "permutation symmetry", "", 1, "0.8"),
)


def sections(trials: Sequence[TrialRecord]) -> Iterator[Section]:
    """A section for the report; none where no trial has such a measure."""
    cells = cells_of(trials)
    tables = (*task_tables(cells), *data_tables(cells))
    if tables:
        yield Section(title="How soon, from how little, in what shape", tables=tables)


# --- tasks -----------------------------------------------------------------------------------------------------


def task_tables(cells: Sequence[Cell]) -> Iterator[Table]:
    """A table for each data set and backbone whose trials were watched by the meters `grokking` or `structure`."""
    for (dataset, backbone), members in _by_place(cells).items():
        times = [entry for entry in TIMES if _has(members, entry[0])]
        shapes = [entry for entry in SHAPES if any(_mean(cell, entry[0]) for cell in members)]
        if not times and not shapes:
            continue
        varied = any(cell.setting for cell in members)
        columns = (
            *((Column(label="setting", numeric=False),) if varied else ()),
            Column(label="head", numeric=False),
            Column(label="loss", numeric=False),
            Column(label="test accuracy", unit="%"),
            *(Column(label=label, unit="reached") for _, label in times),
            *(Column(label=label, unit=unit) for _, label, unit, _, _ in shapes),
            *((Column(label="weight norm"),) if times else ()),
        )
        rows = [
            (
                *((cell.setting,) if varied else ()),
                cell.head,
                cell.loss,
                _mean(cell, "test_accuracy", 100) or MISSING,
                *(told(time_to(cell, name)) for name, _ in times),
                *(_mean(cell.sound, name, factor) or MISSING for name, _, _, factor, _ in shapes),
                *((_mean(cell, "weight_norm") or MISSING,) if times else ()),
            )
            for cell in members
        ]
        yield Table(
            title=place(dataset, backbone, ""),
            caption=_caption(members, times, shapes),
            columns=columns,
            rows=tuple(rows),
        )


def time_to(cell: Cell, name: str) -> Median:
    """Median over seeds of a time that some trials never reach, with the count of those that did.

    Failed trials are left out. A trial that never learned its training part has no gap, which is all it says:
    it counts, and is watched for no time at all.
    """
    reached = cell.by_seed(name)
    others = [trial for trial in cell.trials if trial.spec.seed not in reached]
    watched = [watch for trial in others if (watch := watched_for(trial, name)) is not None]
    at_once = min([0.0, *reached.values()])  # a gap may be negative
    return censored_median(list(reached.values()), [max(watch, at_once) for watch in watched])


def told(median: Median) -> str:
    """A median for people; without an interval where all got there at the same time, or only one was watched.

    >>> told(Median(1200.0, 900.0, None, 3, 5)), told(Median(None, None, None, 1, 5)), told(Median(0.4, 0.2, 0.6, 5, 5))
    ('1,200 [900, later] (3/5)', 'later (1/5)', '0.4 [0.2, 0.6] (5/5)')
    """
    count = f"({median.reached}/{median.size})"
    if median.value is None:
        return f"later {count}"
    value, high = _number(median.value), "later" if median.high is None else _number(median.high)
    return f"{value} {count}" if median.low is None else f"{value} [{_number(median.low)}, {high}] {count}"


def _caption(cells: Sequence[Cell], times: Sequence[Time], shapes: Sequence[Shape]) -> str:
    trials = [trial for cell in cells for trial in cell.trials]
    meter = next((m for t in trials for m in t.spec.meters if m.startswith("grokking")), "")
    threshold = meter.partition("threshold=")[2].rstrip("]") or "0.9"
    apart = sorted({trial.curve[0].step for trial in trials if trial.curve})
    resolution = f", read every {apart[0]:,} steps" if apart else ""
    by_noise = ", ".join(f"{label} {noise}" for _, label, _, _, noise in shapes if noise)
    lasting = (
        f"Lasting: accuracy of at least {threshold} from that validation to the last one{resolution}. Median over "
        f"seeds (Kaplan-Meier) with its {SURE} interval; `later` is beyond the last step, in brackets how many "
        "got there. Gap: validation less train. "
    )
    shape = (
        "Shapes are of the token embedding, mean ± half of the t interval, without the trials that collapsed. "
        f"Noise gives about: {by_noise}."
    )
    return ((lasting if times else "") + (shape if shapes else "")).strip()


def _by_place(cells: Sequence[Cell]) -> dict[tuple[str, str], list[Cell]]:
    """Cells by data set and backbone, those of one setting together, the baseline first among them."""
    found: dict[tuple[str, str], list[Cell]] = defaultdict(list)
    for cell in sorted(cells, key=lambda cell: (in_order(cell.setting), not cell.is_baseline, cell.loss, cell.head)):
        found[cell.dataset, cell.backbone].append(cell)
    return {key: found[key] for key in sorted(found)}


def _has(cells: Iterable[Cell], name: str) -> bool:
    return any(name in cell.measures for cell in cells)


# --- data ------------------------------------------------------------------------------------------------------


def data_tables(cells: Sequence[Cell]) -> Iterator[Table]:
    """A table for each task that was run with several shares of its training part."""
    tasks: dict[tuple[str, str, str], dict[tuple[str, str], dict[float, Cell]]] = defaultdict(lambda: defaultdict(dict))
    for cell in sorted(cells, key=lambda cell: (not cell.is_baseline, cell.loss, cell.head)):
        task, share = train_fraction(cell.dataset)
        tasks[task, cell.backbone, cell.setting][cell.head, cell.loss][share] = cell
    for (task, backbone, setting), heads in sorted(tasks.items()):
        shares = sorted({share for found in heads.values() for share in found})
        target = next(iter(next(iter(heads.values())).values())).trials[0].spec.protocol.target
        if len(shares) < 2 or target is None:  # a target of each share's own tells nothing of the data it takes
            continue
        yield Table(
            title=f"Data for {100 * target:g} %: {place(task, backbone, setting)}",
            caption=(
                f"Smallest share of the training part from which on test accuracy is at least {100 * target:g} % at it "
                "and all larger shares that were run; its median over seeds (Kaplan-Meier) with the "
                f"{SURE} interval, `later` beyond the largest, in brackets how many got there; `≤` where the "
                "smallest that was run is enough, n/a for a head that was not run at every share. Beside it the mean "
                "test accuracy at each share."
            ),
            columns=(
                Column(label="head", numeric=False),
                Column(label="loss", numeric=False),
                Column(label="share needed", unit="reached"),
                Column(label="samples needed", unit="reached"),
                *(Column(label=f"accuracy at {100 * share:g} %", unit="%") for share in shares),
            ),
            rows=tuple(
                (
                    head,
                    loss,
                    *_needed(found, shares, target),
                    *((_mean(found[s], "test_accuracy", 100) or MISSING) if s in found else MISSING for s in shares),
                )
                for (head, loss), found in heads.items()
            ),
        )


def _needed(found: dict[float, Cell], shares: Sequence[float], target: float) -> Iterator[str]:
    """The share that a head needs, and the samples; of a head that was run at every share."""
    for in_samples in (False, True):
        if found.keys() != set(shares):
            yield MISSING
            continue
        median = data_needed(found, target, in_samples)
        least = _samples(found[shares[0]]) if in_samples else shares[0]
        yield ("≤ " if median.value == least else "") + told(median)


def data_needed(found: dict[float, Cell], target: float, in_samples: bool = False) -> Median:
    """Median over seeds of the share of the training part that a target takes, with the count of those that got there.

    Of the seeds that have a result at every share. A trial that diverged has not got there.

    Args:
        found: cells that differ in nothing but the share, by share.
        target: of the test accuracy, at the share and at all larger ones.
        in_samples: give the number of training samples in place of the share.
    """
    shares = sorted(found)
    accuracies = [_test_accuracies(found[share]) for share in shares]
    amounts = [_samples(found[share]) if in_samples else share for share in shares]
    reached, censored = [], []
    for seed in sorted(set.intersection(*(set(by_seed) for by_seed in accuracies))):
        first = lasting([by_seed[seed] for by_seed in accuracies], target)
        if first is None:
            censored.append(amounts[-1])
        else:
            reached.append(amounts[first])
    return censored_median(reached, censored)


def train_fraction(dataset: str) -> tuple[str, float]:
    """The task behind a data set's address, and the share of its training part.

    >>> train_fraction("lattice[side=6,train_fraction=0.1]"), train_fraction("digits")
    (('lattice[side=6]', 0.1), ('digits', 1.0))
    """
    name, _, options = dataset.partition("[")
    parts = [part for part in options.rstrip("]").split(",") if part]
    kept = [part for part in parts if not part.startswith("train_fraction=")]
    share = next((float(part.partition("=")[2]) for part in parts if part not in kept), 1.0)
    return name + (f"[{','.join(kept)}]" if kept else ""), share


def _test_accuracies(cell: Cell) -> dict[int, float]:
    diverged = {trial.spec.seed: 0.0 for trial in cell.trials if trial.status == "diverged"}
    return diverged | cell.by_seed("test_accuracy")


def _samples(cell: Cell) -> float:
    return float(max((trial.sizes.get("train", 0) for trial in cell.trials), default=0))


# --- numbers as text -------------------------------------------------------------------------------------------


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _mean(cell: Cell, name: str, factor: float = 1) -> str:
    """Mean over seeds with half of its interval; empty where there is none."""
    found = cell.interval(name)
    if found is None:
        return ""
    spread = "" if math.isnan(found.half_width) else f" ± {factor * found.half_width:.2g}"
    return f"{factor * found.mean:.3g}{spread}"
