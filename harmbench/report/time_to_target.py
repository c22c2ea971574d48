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
    """Return the table of steps, seconds and joules to the target, for cells of one condition."""
    trials = [trial for cell in cells for trial in cell.trials]
    methods = {c: origin.method for cell in cells for c, origin in cell.sources.items()}
    charged = [c for c in COMPONENTS if any(c in cell.charged for cell in cells)]
    names = ("steps", "seconds", *(f"{c}_joules" for c in charged))
    target = next(iter(targets(trials).values()), None)
    return Table(
        title="To target",
        caption=f"Training up to the first validation at {target_text(target)}. Medians over all trials that did not "
        "fail. Trials that do not reach the target are censored. `-`: at most half of the trials reached it.",
        columns=(
            Column(label="head", numeric=False),
            Column(label="loss", numeric=False),
            Column(label="reached", unit="trials"),
            Column(label="steps"),
            Column(label="time", unit="s"),
            *(Column(label=f"{c.upper()} energy", unit=f"J, {methods[c]}") for c in charged),
        ),
        rows=tuple((cell.head, cell.loss, count(cell), *(median_text(cell, name) for name in names)) for cell in cells),
    )


def target_text(target: Target | None) -> str:
    """Return a target as text."""
    return "the target (unknown: no baseline ended well)" if target is None else str(target)


def count(cell: Cell) -> str:
    """Return the share of trials that reached the target, of those that did not fail, as text."""
    return f"{len(cell.by_seed('steps_to_target'))}/{cell.count('ok') + cell.count('diverged')}"


def median_text(cell: Cell, quantity: str) -> str:
    """Return the censored median of steps, seconds or joules to the target, over all trials that did not fail.

    `-` means that at most half of the trials reached the target, and `n/a` that one reached it without a value.
    """
    reached = cell.by_seed("steps_to_target")
    values = cell.values(f"{quantity}{SUFFIX}")
    not_reached = [math.inf] * (cell.count("ok") + cell.count("diverged") - len(reached))
    if len(values) < len(reached):
        return "n/a"
    if len(values) <= len(not_reached):
        return "-"
    middle = median_low([*values, *not_reached])  # equals Kaplan-Meier's, since all are censored at the end
    return f"{middle:.0f}" if quantity == "steps" else f"{middle:.3g}"
