"""Verdicts on claims, as a table, a sentence and JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence

from harmbench.analysis.claims import ANSWERS, Verdict
from harmbench.report.formats import Column, Table

NOTE = (
    "Paired by seed. The interval is the uncorrected 95 % interval of the comparison that decides. Verdicts are "
    "corrected "
    "for the comparisons of a claim and (Holm) for the number of claims, so at most 5 % of runs have a wrong "
    "verdict by "
    "chance. `not decided` does not prove the contrary. The number of seeds is an estimate."
)


def ranked(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Return verdicts with the decided ones first, and otherwise in the order given."""
    return sorted(verdicts, key=lambda verdict: ANSWERS.index(verdict.verdict))


def table(verdicts: Sequence[Verdict]) -> Table:
    """Return verdicts as a table, with the decided ones first."""
    columns = ("verdict", "claim", "result", "seeds", "reason and next step")
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
    """Return the number of each verdict as a sentence.

    >>> summary([])
    'Of 0 claims, none could be tested.'
    """
    counts = [(answer, sum(v.verdict == answer for v in verdicts)) for answer in ANSWERS]
    decided = ", ".join(f"{count} {answer}" for answer, count in counts if count)
    plural = "" if len(verdicts) == 1 else "s"
    return f"Of {len(verdicts)} claim{plural}, {decided or 'none could be tested'}."


def result_line(verdict: Verdict) -> str:
    """Return the decisive comparison and the reason of a verdict as one line."""
    decisive = verdict.decisive
    if not decisive or not decisive.text:
        return f"Reason: {verdict.reason}."
    seeds = "1 seed" if decisive.pairs == 1 else f"{decisive.pairs} seeds"
    change = f"{verdict.claim.measure} {decisive.text} against {verdict.claim.baseline}, {seeds}"
    return f"Result: {change}; {verdict.reason}."


def next_step(verdicts: Sequence[Verdict]) -> str:
    """Return the next step for claims that are not decided, or an empty text."""
    seeds = [verdict.seeds_needed for verdict in verdicts if verdict.seeds_needed]
    if not seeds:
        return ""
    return f"Next: `harmbench run` with --seeds {min(seeds)} may decide at least one claim that is not decided yet."


def as_json(verdicts: Sequence[Verdict]) -> str:
    """Return all verdicts as a JSON list."""
    return json.dumps([verdict.model_dump(mode="json") for verdict in verdicts], indent=1, ensure_ascii=False)
