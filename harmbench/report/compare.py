"""Changes between two runs, as a table and JSON."""

from __future__ import annotations

import json

from harmbench.analysis.compare import Changes
from harmbench.report.formats import Column, Table


def table(changes: Changes, show_all: bool = False) -> Table:
    """Return the decided changes and missed gates as a table, or all rows."""
    shown = [r for r in changes.rows if show_all or r.missed or r.decision in ("better", "worse", "changed")]
    columns = ("measure", "cell", "A", "B", "change", "pairs", "verdict", "gate", "note")
    numeric = {"A", "B", "pairs"}
    return Table(
        title="Changes",
        caption="From A to B, paired by seed (0 pairs: by means), with the uncorrected 95 % interval. Verdicts and "
        "gates "
        "are corrected over the whole table (Holm). A gate is missed if a change is decided to be beyond its limit.",
        columns=tuple(Column(label=label, numeric=label in numeric) for label in columns),
        rows=tuple(
            (
                row.measure,
                f"{row.head}, {row.condition}",
                "" if row.before is None else f"{row.before:.5g}",
                "" if row.after is None else f"{row.after:.5g}",
                row.text,
                str(row.pairs),
                row.decision,
                "MISSED" if row.missed else "",
                row.note,
            )
            for row in shown
        ),
    )


def as_json(changes: Changes) -> str:
    """Return all changes as a JSON object."""
    content = {"missed": changes.missed, "summary": changes.summary, **changes.model_dump(mode="json")}
    return json.dumps(content, indent=1, ensure_ascii=False)
