"""Verdicts on claims, as a table, a sentence and JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence

from harmbench.analysis.claims import ANSWERS, Verdict
from harmbench.report.formats import Column, Table

NOTE = (
    "Paired by seed. The interval is the 95 % interval of the comparison on which the verdict hangs, not corrected; "
    "verdicts are, for the comparisons of a claim and (Holm) for the number of claims: luck alone gives a wrong one in "
    "at most 5 % of runs. `not decided` is no proof of the contrary; the seeds it names are an estimate."
)


def ranked(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The decided ones first, and otherwise in the order given."""
    return sorted(verdicts, key=lambda verdict: ANSWERS.index(verdict.verdict))


def table(verdicts: Sequence[Verdict]) -> Table:
    """Verdicts as a table, the decided ones first."""
    columns = ("verdict", "claim", "found", "seeds", "why, and what next")
    return Table(
        title="Claims",
        caption=NOTE,
        columns=tuple(Column(label=label, numeric=label == "seeds") for label in columns),
        rows=tuple(
            (
                v.verdict,
                f"{v.claim.sentence} ({v.claim.id}; {v.claim.source})",
                f"{v.claim.measure} {v.decisive.text}" if v.decisive and v.decisive.text else "",
                str(v.decisive.pairs) if v.decisive else "",
                v.reason,
            )
            for v in ranked(verdicts)
        ),
    )


def summary(verdicts: Sequence[Verdict]) -> str:
    """How many of each verdict.

    >>> summary([])
    'Of 0 claims, none could be tested.'
    """
    counts = [(answer, sum(v.verdict == answer for v in verdicts)) for answer in ANSWERS]
    told = ", ".join(f"{count} {answer}" for answer, count in counts if count)
    plural = "" if len(verdicts) == 1 else "s"
    return f"Of {len(verdicts)} claim{plural}, {told or 'none could be tested'}."


def as_json(verdicts: Sequence[Verdict]) -> str:
    """Everything, as a JSON list."""
    return json.dumps([verdict.model_dump(mode="json") for verdict in verdicts], indent=1, ensure_ascii=False)
