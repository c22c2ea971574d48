"""What changed between two runs, as a table and JSON."""

from __future__ import annotations

import json

from harmbench.analysis.compare import Changes
from harmbench.report.formats import Column, Table


def table(changes: Changes, everything: bool = False) -> Table:
    """What is decided or missed, or every row."""
    shown = [r for r in changes.rows if everything or r.missed or r.decision in ("better", "worse", "changed")]
    columns = ("measure", "cell", "A", "B", "change", "pairs", "verdict", "gate", "note")
    numeric = {"A", "B", "pairs"}
    return Table(
        title="What changed",
        caption="From A to B, paired by seed (0 pairs: by means); the interval is 95 %, not corrected. Verdicts and "
        "gates are, over the whole table (Holm): a gate is missed where a change is decided to be beyond its limit.",
        columns=tuple(Column(label=label, numeric=label in numeric) for label in columns),
        rows=tuple(
            (
                row.measure,
                f"{row.head}, {row.place}",
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
    """Everything, as a JSON object."""
    content = {"missed": changes.missed, "summary": changes.summary, **changes.model_dump(mode="json")}
    return json.dumps(content, indent=1, ensure_ascii=False)
