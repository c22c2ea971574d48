"""Trials -> tables of grokking, data efficiency and embedding structure.

    task_tables     one for each task and backbone: lasting accuracy, grokking gap, structure of the embedding
    data_tables     one for each task that was run with several shares of its training part: data that a target needs

Trials that do not reach the target are censored at their last step, and medians are Kaplan-Meier's.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from harmbench.analysis.cells import Cell, cells_of
from harmbench.analysis.comparisons import watched_for
from harmbench.analysis.conditions import condition_name, setting_order
from harmbench.analysis.stats import SURE, CensoredMedian, censored_median
from harmbench.meters.grokking import lasting
from harmbench.report.formats import Column, Section, Table
from harmbench.results.records import TrialRecord

TimeColumn = tuple[str, str]
StructureColumn = tuple[str, str, str, float, str]
MISSING = "n/a"
TIMES: tuple[TimeColumn, ...] = (
    ("steps_to_lasting_train", "steps to lasting train accuracy"),
    ("steps_to_lasting_validation", "to lasting validation accuracy"),
    ("grokking_gap", "grokking gap"),
)
SHAPES: tuple[StructureColumn, ...] = (  # measure, label, unit, factor, value for noise
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
    """Yield the report's section, if any trial has such a measure."""
    cells = cells_of(trials)
    tables = (*task_tables(cells), *data_tables(cells))
    if tables:
        yield Section(title="Grokking, data efficiency, embedding structure", tables=tables)


# --- tasks -----------------------------------------------------------------------------------------------------


def task_tables(cells: Sequence[Cell]) -> Iterator[Table]:
    """Yield a table for each data set and backbone with measures of the meters `grokking` or `structure`."""
    for (dataset, backbone), members in _by_condition(cells).items():
        times = [entry for entry in TIMES if _has(members, entry[0])]
        shapes = [entry for entry in SHAPES if any(_mean(cell, entry[0]) for cell in members)]
        if not times and not shapes:
            continue
        has_settings = any(cell.setting for cell in members)
        columns = (
            *((Column(label="setting", numeric=False),) if has_settings else ()),
            Column(label="head", numeric=False),
            Column(label="loss", numeric=False),
            Column(label="test accuracy", unit="%"),
            *(Column(label=label, unit="reached") for _, label in times),
            *(Column(label=label, unit=unit) for _, label, unit, _, _ in shapes),
            *((Column(label="weight norm"),) if times else ()),
        )
        rows = [
            (
                *((cell.setting,) if has_settings else ()),
                cell.head,
                cell.loss,
                _mean(cell, "test_accuracy", 100) or MISSING,
                *(formatted(time_to(cell, name)) for name, _ in times),
                *(_mean(cell.without_collapsed, name, factor) or MISSING for name, _, _, factor, _ in shapes),
                *((_mean(cell, "weight_norm") or MISSING,) if times else ()),
            )
            for cell in members
        ]
        yield Table(
            title=condition_name(dataset, backbone, ""),
            caption=_caption(members, times, shapes),
            columns=columns,
            rows=tuple(rows),
        )


def time_to(cell: Cell, name: str) -> CensoredMedian:
    """Return the median over seeds of a time that some trials do not reach.

    Failed trials are left out. A trial that did not learn its training part has no gap. It counts as censored at the
    earliest possible time.
    """
    reached = cell.by_seed(name)
    censored = [trial for trial in cell.trials if trial.spec.seed not in reached]
    observed = [time for trial in censored if (time := watched_for(trial, name)) is not None]
    earliest = min([0.0, *reached.values()])  # a gap may be negative
    return censored_median(list(reached.values()), [max(time, earliest) for time in observed])


def formatted(median: CensoredMedian) -> str:
    """Return a median as text, with its interval unless all trials reached it at one time or there is one trial.

    >>> formatted(CensoredMedian(1200.0, 900.0, None, 3, 5)), formatted(CensoredMedian(None, None, None, 1, 5))
    ('1,200 [900, later] (3/5)', 'later (1/5)')
    """
    count = f"({median.reached}/{median.size})"
    if median.value is None:
        return f"later {count}"
    value, high = _number(median.value), "later" if median.high is None else _number(median.high)
    return f"{value} {count}" if median.low is None else f"{value} [{_number(median.low)}, {high}] {count}"


def _caption(cells: Sequence[Cell], times: Sequence[TimeColumn], shapes: Sequence[StructureColumn]) -> str:
    trials = [trial for cell in cells for trial in cell.trials]
    meter = next((m for t in trials for m in t.spec.meters if m.startswith("grokking")), "")
    threshold = meter.partition("threshold=")[2].rstrip("]") or "0.9"
    steps = sorted({trial.curve[0].step for trial in trials if trial.curve})
    resolution = f", read every {steps[0]:,} steps" if steps else ""
    by_noise = ", ".join(f"{label} {noise}" for _, label, _, _, noise in shapes if noise)
    lasting = (
        f"Lasting: accuracy of at least {threshold} from that validation to the last one{resolution}. Median over "
        f"seeds (Kaplan-Meier) with its {SURE} interval. `later`: beyond the last step. In brackets: number of "
        "trials that "
        "reached it. Gap: validation minus train. "
    )
    shape = (
        "Structure: scores of the token embedding, mean ± half of the t interval, without collapsed trials. "
        f"Random embeddings give about: {by_noise}."
    )
    return ((lasting if times else "") + (shape if shapes else "")).strip()


def _by_condition(cells: Sequence[Cell]) -> dict[tuple[str, str], list[Cell]]:
    """Return cells by data set and backbone, sorted by setting, with the baseline first."""
    by_condition: dict[tuple[str, str], list[Cell]] = defaultdict(list)
    for cell in sorted(
        cells, key=lambda cell: (setting_order(cell.setting), not cell.is_baseline, cell.loss, cell.head)
    ):
        by_condition[cell.dataset, cell.backbone].append(cell)
    return {key: by_condition[key] for key in sorted(by_condition)}


def _has(cells: Iterable[Cell], name: str) -> bool:
    return any(name in cell.measures for cell in cells)


# --- data ------------------------------------------------------------------------------------------------------


def data_tables(cells: Sequence[Cell]) -> Iterator[Table]:
    """Yield a table for each task that was run with several shares of its training part."""
    tasks: dict[tuple[str, str, str], dict[tuple[str, str], dict[float, Cell]]] = defaultdict(lambda: defaultdict(dict))
    for cell in sorted(cells, key=lambda cell: (not cell.is_baseline, cell.loss, cell.head)):
        task, share = train_fraction(cell.dataset)
        tasks[task, cell.backbone, cell.setting][cell.head, cell.loss][share] = cell
    for (task, backbone, setting), heads in sorted(tasks.items()):
        shares = sorted({share for cells_by_share in heads.values() for share in cells_by_share})
        target = next(iter(next(iter(heads.values())).values())).trials[0].spec.protocol.target
        if len(shares) < 2 or target is None:  # a target per share says nothing about the data needed
            continue
        yield Table(
            title=f"Data for {100 * target:g} %: {condition_name(task, backbone, setting)}",
            caption=(
                f"Smallest share of the training part with a test accuracy of at least {100 * target:g} % at it and "
                "at all "
                "larger shares of this run. Median over seeds (Kaplan-Meier) with its "
                f"{SURE} interval. `later`: beyond the largest share. In brackets: number of seeds that reached it. "
                "`≤`: "
                "the smallest share is enough. n/a: the head was not run at every share. Then the mean test "
                "accuracy at "
                "each share."
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
                    *_needed(cells_by_share, shares, target),
                    *(
                        (_mean(cells_by_share[s], "test_accuracy", 100) or MISSING) if s in cells_by_share else MISSING
                        for s in shares
                    ),
                )
                for (head, loss), cells_by_share in heads.items()
            ),
        )


def _needed(cells: dict[float, Cell], shares: Sequence[float], target: float) -> Iterator[str]:
    """Yield the share and the number of samples that a head needs, if it was run at every share."""
    for in_samples in (False, True):
        if cells.keys() != set(shares):
            yield MISSING
            continue
        median = data_needed(cells, target, in_samples)
        smallest = _samples(cells[shares[0]]) if in_samples else shares[0]
        yield ("≤ " if median.value == smallest else "") + formatted(median)


def data_needed(cells: dict[float, Cell], target: float, in_samples: bool = False) -> CensoredMedian:
    """Return the median over seeds of the share of the training part that a target needs.

    Only seeds with a result at every share count. Diverged trials do not reach the target.

    Args:
        cells: cells that differ only in the share, by share.
        target: test accuracy to reach at the share and at all larger ones.
        in_samples: return the number of training samples instead of the share.
    """
    shares = sorted(cells)
    accuracies = [_test_accuracies(cells[share]) for share in shares]
    amounts = [_samples(cells[share]) if in_samples else share for share in shares]
    reached, censored = [], []
    for seed in sorted(set.intersection(*(set(by_seed) for by_seed in accuracies))):
        first = lasting([by_seed[seed] for by_seed in accuracies], target)
        if first is None:
            censored.append(amounts[-1])
        else:
            reached.append(amounts[first])
    return censored_median(reached, censored)


def train_fraction(dataset: str) -> tuple[str, float]:
    """Return the task in a data set's address, and the share of its training part.

    >>> train_fraction("lattice[side=6,train_fraction=0.1]"), train_fraction("digits")
    (('lattice[side=6]', 0.1), ('digits', 1.0))
    """
    name, _, options = dataset.partition("[")
    parts = [part for part in options.rstrip("]").split(",") if part]
    rest = [part for part in parts if not part.startswith("train_fraction=")]
    share = next((float(part.partition("=")[2]) for part in parts if part not in rest), 1.0)
    return name + (f"[{','.join(rest)}]" if rest else ""), share


def _test_accuracies(cell: Cell) -> dict[int, float]:
    diverged = {trial.spec.seed: 0.0 for trial in cell.trials if trial.status == "diverged"}
    return diverged | cell.by_seed("test_accuracy")


def _samples(cell: Cell) -> float:
    return float(max((trial.sizes.get("train", 0) for trial in cell.trials), default=0))


# --- numbers as text -------------------------------------------------------------------------------------------


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _mean(cell: Cell, name: str, factor: float = 1) -> str:
    """Return the mean over seeds with half of its interval, or an empty text."""
    interval = cell.interval(name)
    if interval is None:
        return ""
    spread = "" if math.isnan(interval.half_width) else f" ± {factor * interval.half_width:.2g}"
    return f"{factor * interval.mean:.3g}{spread}"
