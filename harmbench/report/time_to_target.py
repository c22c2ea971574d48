"""Steps, seconds and joules to the target, as a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median_low

from harmbench.analysis.cells import Cell
from harmbench.analysis.time_to_target import SUFFIX, targets
from harmbench.meters.convergence import Target
from harmbench.report.formats import Column, Table
from harmbench.results.vocabulary import COMPONENTS


def table(cells: Sequence[Cell]) -> Table:
    """Steps, seconds and joules to the target, of cells of one data set and backbone."""
    trials = [trial for cell in cells for trial in cell.trials]
    methods = {c: origin.method for cell in cells for c, origin in cell.sources.items()}
    charged = [c for c in COMPONENTS if any(c in cell.charged for cell in cells)]
    names = ("steps", "seconds", *(f"{c}_joules" for c in charged))
    target = next(iter(targets(trials).values()), None)
    return Table(
        title="To target",
        caption=f"Up to the first validation at {said(target)}, of training alone: medians over all trials that did "
        "not fail, those that never get there counted as later than all others; - where no more than half get there.",
        columns=(
            Column(label="head", numeric=False),
            Column(label="loss", numeric=False),
            Column(label="got there", unit="trials"),
            Column(label="steps"),
            Column(label="time", unit="s"),
            *(Column(label=f"{c.upper()} energy", unit=f"J, {methods[c]}") for c in charged),
        ),
        rows=tuple((cell.head, cell.loss, count(cell), *(typical(cell, name) for name in names)) for cell in cells),
    )


def said(target: Target | None) -> str:
    """A target as text."""
    return "the target (unknown: no baseline ended well)" if target is None else str(target)


def count(cell: Cell) -> str:
    """How many trials got to the target, of those that did not fail."""
    return f"{len(cell.by_seed('steps_to_target'))}/{cell.count('ok') + cell.count('diverged')}"


def typical(cell: Cell, what: str) -> str:
    """Censored median of steps, seconds or joules to the target, over all trials that did not fail.

    `-` where no more than half got there, since the rest are later; `n/a` where some got there and have no value.
    """
    there = cell.by_seed("steps_to_target")
    values = cell.values(f"{what}{SUFFIX}")
    never = [math.inf] * (cell.count("ok") + cell.count("diverged") - len(there))
    if len(values) < len(there):
        return "n/a"
    if len(values) <= len(never):
        return "-"
    middle = median_low([*values, *never])  # Kaplan and Meier's, where nobody is censored before the end
    return f"{middle:.0f}" if what == "steps" else f"{middle:.3g}"
