"""Write the results in README.md from a committed run, so that no number there is typed by hand.

python docs/readme.py            write them
python docs/readme.py --check    exit 1 if they are stale
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harmbench.analysis.cells import Cell
from harmbench.analysis.claims import Verdict, judge
from harmbench.analysis.time_to_target import read_run
from harmbench.planning import suite as suites
from harmbench.report import Condition, claims, conditions_of
from harmbench.report.conditions import relative_to
from harmbench.report.formats import Column, Table
from harmbench.report.formats.md import table_lines
from harmbench.report.grokking import train_fraction
from harmbench.report.numbers import MISSING, plain, scaled
from harmbench.report.overview import headline
from harmbench.results.store import RunData

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
RUN = Path("reports/example-vision")
START, END = "<!-- results: written by docs/readme.py -->", "<!-- /results -->"
LOSSES = ("cross_entropy", "harmonic")  # losses of the table; the report has the others


def results(folder: Path = RUN) -> str:
    """The section between the marks, for a run folder under the root of the repository."""
    return "\n".join([START, *_lines(read_run(ROOT / folder), folder), END])


def written(readme: str, section: str) -> str:
    """Return a README with its results replaced.

    Raises:
        SystemExit: if the marks are missing.
    """
    pattern = re.compile(re.escape(START) + ".*?" + re.escape(END), re.DOTALL)
    if not pattern.search(readme):
        raise SystemExit(f"README.md lacks the lines {START} and {END}")
    return pattern.sub(lambda _: section, readme)


def _lines(run: RunData, folder: Path) -> Iterator[str]:
    conditions = list(conditions_of(run.trials))
    conditions.sort(key=lambda condition: _place(condition, run))
    verdicts = _verdicts(run)
    suite = run.header["suite"]
    yield from ("## What comes out", "")
    yield from _wrapped(
        f"The command was `{_command(suite)}`, on {_machine(run)}. The table shows test accuracy in percent: mean ± "
        f"half of the 95 % t interval over {suite['seeds']} seeds. Rows are the linear head with cross-entropy and "
        "every distance with the harmonic loss, the best mean over all columns first. Bold means decided to be "
        "better. Speed is training throughput relative to the linear head, on the first data set. The whole report is "
        f"[{folder}]({folder}/report.md)."
    )
    yield ""
    yield from list(table_lines(_table(conditions)))[3:]
    yield ""
    yield from _wrapped(" ".join(headline(conditions)) + " The report shows how many seeds would decide the rest.")
    yield from ("", f"![Test accuracy of every head]({folder}/accuracy.svg)")
    if verdicts:
        yield ""
        yield from _wrapped(f"The papers' claims on this run: {claims.summary(verdicts)} These are decided:")
        yield ""
        for verdict in claims.ranked(verdicts):
            if verdict.decisive and verdict.verdict in ("supported", "refuted"):
                yield from _item(verdict)


def _item(verdict: Verdict) -> Iterator[str]:
    assert verdict.decisive
    claim = verdict.claim
    evidence = f"`{claim.measure}` {verdict.decisive.text} against {claim.baseline}"
    first, *rest = _wrapped(f"- **{verdict.verdict}**: {claim.sentence} ({evidence}; {claim.source})")
    yield first
    yield from (f"  {line}" for line in rest)


def _verdicts(run: RunData) -> Sequence[Verdict]:
    """Verdicts on the run's own claims, or on those of the shipped suite if the run has none."""
    suite = run.header["suite"]
    stated = suites.check_claims(suite.get("claims", ()), "run.json") or suites.load(suite["name"]).claims
    return judge(stated, run.trials)


def _place(condition: Condition, run: RunData) -> tuple[int, int]:
    suite = run.header["suite"]
    return suite["datasets"].index(condition.dataset), suite["backbones"].index(condition.backbone)


def _machine(run: RunData) -> str:
    machine = next(iter(run.environments.values()))
    gpus = ", ".join(gpu["name"] for gpu in machine["gpus"])
    threads = f"{run.header['suite']['protocol']['threads']} of {machine['cpu_count']} threads"
    return gpus or f"{threads} of an {machine['cpu']} (torch {machine['versions']['torch']})"


def _command(suite: dict[str, Any]) -> str:
    more = suite["seeds"] != suites.load(suite["name"]).seeds
    return f"harmbench run {suite['name']}" + (f" --seeds {suite['seeds']}" if more else "")


def _table(conditions: Sequence[Condition]) -> Table:
    first = [condition for condition in conditions if condition.dataset == conditions[0].dataset]
    columns = (
        Column(label="head", numeric=False),
        *(Column(label=_name(condition)) for condition in conditions),
        *(Column(label=f"speed, {condition.backbone}") for condition in first),
    )
    of = [{cell.head: cell for cell in condition.cells if cell.loss in LOSSES} for condition in conditions]
    heads = [head for head in of[0] if all(head in cells for cells in of)]
    rows = [
        (
            head,
            *(_accuracy(condition, cells[head]) for condition, cells in zip(conditions, of, strict=True)),
            *(_speed(condition, cells[head]) for condition, cells in zip(first, of, strict=False)),
        )
        for head in sorted(heads, key=lambda head: _rank([cells[head] for cells in of]))
    ]
    return Table(title="", columns=columns, rows=tuple(rows))


def _name(condition: Condition) -> str:
    task, share = train_fraction(condition.dataset)
    return f"{condition.backbone}, {task}" + (f", {100 * share:g} % of it" if share < 1 else "")


def _rank(cells: Sequence[Cell]) -> tuple[bool, float]:
    """Sort key: the baseline first, then the mean over all columns."""
    means = [interval.mean for cell in cells if (interval := cell.interval("test_accuracy"))]
    return not cells[0].is_baseline, -sum(means) / len(means) if means else 0.0


def _accuracy(condition: Condition, cell: Cell) -> str:
    text = plain(scaled(cell.interval("test_accuracy"), 100))
    disqualified = f" ({cell.disqualified})" if cell.disqualified else ""
    return f"**{text}**" if condition.verdict(cell) == "better" else text + disqualified


def _speed(condition: Condition, cell: Cell) -> str:
    ratio = relative_to(cell, condition.baseline, "throughput") if condition.baseline else None
    return f"{ratio:.2f}" if ratio else MISSING


def _wrapped(text: str) -> list[str]:
    """Lines of at most 120 characters, broken between words."""
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) >= 118:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def main(arguments: list[str]) -> int:
    """Write the results. With `--check`, return 1 if they are stale."""
    present = README.read_text(encoding="utf-8")
    fresh = written(present, results())
    if "--check" in arguments:
        if fresh != present:
            sys.stderr.write("README.md is stale; run python docs/readme.py\n")
        return int(fresh != present)
    README.write_text(fresh, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
