"""LaTeX: what the texts of a run cannot do to a document, and that pdflatex compiles it."""

# ruff: noqa: RUF001 - signs that look like others are the point here

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from harmbench.report.formats import FORMATS, Column, Report, Section, Table
from harmbench.report.formats.latex import escape, inline
from tests.support.runs import RUNS, composed, table_report

HOSTILE = [
    r"\input{/etc/passwd}",
    r"\end{longtable} $\infty$ & x_1^2 # ~ % {unclosed",
    "}{}}\\",
    "[looks like an argument]",
    "*starred",
    "** not bold ` not code",
    "--option 'a' \"b\" ``c'' <<d>> ,,e ?`",
    "97.0 ± 1.0 µm², −5 ≤ α·β → ∞, CO₂, “x” – ‘y’ — …",
    "Ünïcödé Łódź ŉ ħ ſ ﬁ Ⅳ 中文 🙂 е\u0301",
    "nul \0 bell \a escape \x1b[31m tab \t vertical \v next \x85 line \u2028",
    "a" * 300,
    "/a/long/path" * 30,
]
ALLOWED = set("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ .,:;!?()[]/+-=*@'")
COMMAND = re.compile(r"\\(text(backslash|asciitilde|asciicircum|asciigrave|less|greater|bar|quotedbl)\{\}|[#$%&_{}])")


@pytest.mark.parametrize("text", [chr(code) for code in range(32, 127)])
def test_every_ascii_character_is_itself_or_a_harmless_command(text):
    found = escape(text)
    assert COMMAND.fullmatch(found) or set(found.replace("{}", "")) <= ALLOWED


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_of_a_text_is_obeyed(text):
    found = escape(text)
    assert "\n" not in found
    assert "\0" not in found
    depth = 0
    for brace in re.sub(r"\\[{}\\]", "", found):
        depth += {"{": 1, "}": -1}.get(brace, 0)
        assert depth >= 0
    assert depth == 0
    assert not re.search(r"(?<!\\)[%#&_]", re.sub(r"\\[#$%&_{}]", "", found))
    assert not re.match(r"[*\[]", found)


def test_marks_become_commands_and_bare_ones_stay():
    assert inline("**97.0 ± 1.0**, `a_b` and **c") == r"\textbf{97.0 $\pm$ 1.0}, \texttt{a\_b} and **c"


def wide(columns: int) -> Table:
    numbers = (Column(label=f"measure number {i}", unit="J") for i in range(columns))
    names = (Column(label="head", numeric=False), Column(label="loss", numeric=False))
    row = ("linear", "cross_entropy", *(f"-{i}.5 ± 0.1" for i in range(columns)))
    return Table(title="wide", columns=(*names, *numbers), rows=(row,) * 3)


def with_tables(*tables: Table) -> Report:
    return composed(RUNS["nothing yet"]).model_copy(update={"sections": (Section(title="s", tables=tables),)})


def longtables(text: str) -> list[str]:
    return re.findall(r"\\begin\{longtable\}.*?\\end\{longtable\}", text, re.DOTALL)


def body(table: str) -> list[list[str]]:
    """Cells of the rows below the head."""
    lines = table.partition(r"\endfoot")[2].strip().split("\n")[:-1]
    return [[cell.strip() for cell in re.split(r"(?<!\\)&", line.removesuffix(r"\\"))] for line in lines]


def test_a_wide_table_is_split_evenly_and_loses_nothing():
    parts = [body(found)[0] for found in longtables(FORMATS.parse("latex").render(with_tables(wide(30))))[:-1]]
    assert len(parts) > 1
    assert {tuple(part[:2]) for part in parts} == {("linear", r"cross\_entropy")}
    assert [cell for part in parts for cell in part[2:]] == [rf"$-${i}.5 $\pm$ 0.1" for i in range(30)]
    assert max(map(len, parts)) - min(map(len, parts)) <= 3


def test_a_narrow_table_stays_whole():
    assert len(longtables(FORMATS.parse("latex").render(with_tables(wide(3))))) == 2  # and the environment


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_every_row_has_as_many_cells_as_its_table_has_columns(run):
    for table in longtables(FORMATS.parse("latex").render(composed(run))):
        rows = body(table)
        assert len({len(row) for row in rows}) <= 1


def compile_pdf(text: str, folder: Path) -> str:
    (folder / "report.tex").write_text(text, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "report.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=600)
    said = done.stdout.decode(errors="replace")
    assert done.returncode == 0, said[-2000:]
    return said


needs_pdflatex = pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")


@needs_pdflatex
def test_hostile_texts_compile(tmp_path):
    report = table_report(HOSTILE)
    everywhere = {"title": HOSTILE[1], "subtitle": HOSTILE[3], "summary": tuple(HOSTILE), "notes": tuple(HOSTILE)}
    report = report.model_copy(update={**everywhere, "environment": tuple((text, text) for text in HOSTILE)})
    compile_pdf(FORMATS.parse("latex").render(report), tmp_path)


@needs_pdflatex
def test_a_whole_report_compiles_and_stays_within_its_margins(tmp_path):
    said = compile_pdf(FORMATS.parse("latex").render(composed()), tmp_path)
    too_wide = [float(points) for points in re.findall(r"Overfull \\hbox \(([\d.]+)pt", said)]
    assert max(too_wide, default=0.0) < 30


@needs_pdflatex
def test_a_text_that_is_not_escaped_is_caught(tmp_path):
    with pytest.raises(AssertionError):
        compile_pdf(FORMATS.parse("latex").render(composed()).replace(r"\_", "_"), tmp_path)
