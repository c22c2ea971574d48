"""LaTeX: a document for pdflatex, with booktabs tables.

Tables are `longtable`s, which break over pages. A table that is too wide for a landscape page is split by its columns,
and the columns that name a row are repeated. A table can be copied into a paper from between its comment lines. It
needs the packages booktabs, longtable and array.
"""

# ruff: noqa: RUF001, SIM905 - signs that look like others are the point here, and tables of them

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Iterator, Sequence
from typing import ClassVar

from harmbench.report.formats._base import Column, Figure, Format, Report, Section, Table

LINE = 200  # characters of \footnotesize that a landscape page is wide
EM = 0.42  # mean width of a character
GAP = 2  # characters between two columns
WRAP = 34  # a column of longer texts is broken into lines
HEADER = 14  # so are labels longer than this

_PREAMBLE = r"""\documentclass[10pt]{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\IfFileExists{lmodern.sty}{\usepackage{lmodern}}{}
\usepackage{textcomp}
\usepackage[a4paper, landscape, margin=15mm]{geometry}
\usepackage{array, booktabs, longtable}
\usepackage{graphicx}
\setlength{\LTcapwidth}{\textwidth}
\setlength{\tabcolsep}{0.5em}
\setlength{\parindent}{0pt}
\setlength{\emergencystretch}{3em}
\pagestyle{plain}
\begin{document}"""


class Latex(Format):
    """A document that pdflatex compiles, with booktabs tables. Figures are pdf files in the same folder."""

    name: ClassVar[str] = "latex"
    suffix: ClassVar[str] = ".tex"
    raw: ClassVar[bool] = False
    plots: ClassVar[str] = ".pdf"

    def render(self, report: Report) -> str:
        return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    yield _PREAMBLE
    yield from (rf"\section*{{{inline(report.title)}}}", inline(report.subtitle), "")
    yield from _list("Summary", report.summary)
    if report.overview:
        yield from table_lines(report.overview)
    yield from _sections(report.leading)
    for figure in report.figures:
        yield from _figure(figure)
    yield from _sections(report.following)
    yield from _list("How to read this", report.notes)
    columns = (Column(label="", numeric=False), Column(label="", numeric=False))
    yield from table_lines(Table(title="Environment", columns=columns, rows=report.environment))
    yield r"\end{document}"


def _sections(sections: Sequence[Section]) -> Iterator[str]:
    for section in sections:
        yield rf"\section*{{{inline(section.title)}}}"
        for table in section.tables:
            yield from table_lines(table, section.title)


def _list(title: str, sentences: Sequence[str]) -> Iterator[str]:
    yield rf"\section*{{{title}}}"
    if sentences:
        yield r"\begin{itemize}\setlength{\itemsep}{0pt}"
        yield from (rf"\item {inline(sentence)}" for sentence in sentences)
        yield r"\end{itemize}"


def _figure(figure: Figure) -> Iterator[str]:
    file = f"{figure.name}{Latex.plots}"
    plot = rf"\includegraphics[width=\linewidth, height=0.8\textheight, keepaspectratio]{{{file}}}"
    yield r"\begin{figure}[htbp]\centering"
    yield rf"\IfFileExists{{{file}}}{{{plot}}}{{\fbox{{{inline(file)} is not beside this document}}}}"
    yield from (rf"\caption{{{inline(figure.caption)}}}", r"\end{figure}")


# --- tables ----------------------------------------------------------------------------------------------------


def table_lines(table: Table, section: str = "") -> Iterator[str]:
    """A table as one `longtable` or, where it is too wide, several.

    Args:
        table: the table. Its texts are escaped here.
        section: title of the section, for the caption.
    """
    widths = [_width(table, i) for i in range(len(table.columns))]
    parts = _parts(table, widths)
    for number, part in enumerate(parts, 1):
        title = f"{table.title}, {section}" if section else table.title
        title += f" ({number} of {len(parts)})" if len(parts) > 1 else ""
        yield from ("", f"% --- table: {_printable(title)}", r"\begingroup\footnotesize")
        yield from _longtable(table, part, widths, f"**{title}.** {table.caption if number == 1 else ''}".strip())
        yield r"\endgroup"


def _longtable(table: Table, part: Sequence[int], widths: Sequence[int], caption: str) -> Iterator[str]:
    chosen = [table.columns[i] for i in part]
    head = " & ".join(_header(column) for column in chosen) + r" \\"
    has_head = any(column.label or column.unit for column in chosen)
    rule = [r"\toprule", *([head, r"\midrule"] if has_head else [])]
    yield rf"\begin{{longtable}}{{@{{}}{''.join(_specification(table, part, widths))}@{{}}}}"
    yield from (rf"\caption{{{inline(caption)}}} \\", *rule, r"\endfirsthead", *rule, r"\endhead")
    yield from (r"\bottomrule", r"\endfoot")
    for row in table.rows:
        yield " & ".join(inline(_signed(row[i]) if table.columns[i].numeric else row[i]) for i in part) + r" \\"
    yield r"\end{longtable}"


def _width(table: Table, index: int) -> int:
    """Return the width of a column in characters."""
    column = table.columns[index]
    lines = [*textwrap.wrap(column.label, HEADER), column.unit and f"({column.unit})"]
    return max((len(re.sub(r"\*\*|`", "", text)) for text in [*lines, *(row[index] for row in table.rows)]), default=0)


def _parts(table: Table, widths: Sequence[int]) -> list[list[int]]:
    """Return the columns of each part of a table: as few parts as the page allows, and as even as possible."""
    keys: list[int] = []
    while len(keys) < min(2, len(widths) - 1) and not table.columns[len(keys)].numeric and widths[len(keys)] <= WRAP:
        keys.append(len(keys))
    needed = [min(width, WRAP) + GAP for width in widths]
    fewest = len(_packed(needed, keys, LINE))
    return next(parts for line in range(1, LINE + 1) if len(parts := _packed(needed, keys, line)) == fewest)


def _packed(needed: Sequence[int], keys: list[int], line: int) -> list[list[int]]:
    """Return columns in order, in parts as full as the line allows. Each part has the keys and one column or more."""
    parts: list[list[int]] = []
    for i in range(len(keys), len(needed)):
        if parts and sum(needed[j] for j in [*parts[-1], i]) <= line:
            parts[-1].append(i)
        else:
            parts.append([*keys, i])
    return parts


def _specification(table: Table, part: Sequence[int], widths: Sequence[int]) -> Iterator[str]:
    """Yield column specifications: numbers right, short texts left, long texts as paragraphs of the remaining width."""
    long = [i for i in part if widths[i] > WRAP]
    left = LINE - sum(GAP + widths[i] for i in part if i not in long) - GAP * len(long)
    for i in part:
        if i in long:
            share = min(widths[i], left * widths[i] / sum(widths[j] for j in long))
            yield rf">{{\raggedright\arraybackslash}}p{{{EM * max(share, WRAP / 2):.1f}em}}"
        else:
            yield "r" if table.columns[i].numeric else "l"


def _header(column: Column) -> str:
    lines = textwrap.wrap(column.label, HEADER) + ([f"({column.unit})"] if column.unit else [])
    side = "r" if column.numeric else "l"
    stack = r" \\ ".join(map(inline, lines))
    return rf"\begin{{tabular}}[b]{{@{{}}{side}@{{}}}}{stack}\end{{tabular}}"


def _signed(number: str) -> str:
    return re.sub(r"(?<![\w.])-(?=\d)", "−", number)


# --- text ------------------------------------------------------------------------------------------------------

_MATHS = r"""
α \alpha β \beta γ \gamma δ \delta ε \varepsilon ζ \zeta η \eta θ \theta ι \iota κ \kappa λ \lambda μ \mu ν \nu ξ \xi
π \pi ρ \rho ς \varsigma σ \sigma τ \tau υ \upsilon φ \varphi χ \chi ψ \psi ω \omega Γ \Gamma Δ \Delta Θ \Theta
Λ \Lambda Ξ \Xi Π \Pi Σ \Sigma Υ \Upsilon Φ \Phi Ψ \Psi Ω \Omega ± \pm × \times · \cdot ÷ \div − - ≤ \leq ≥ \geq
≠ \neq ≈ \approx ≡ \equiv ∞ \infty √ \surd ∑ \sum ∏ \prod ∈ \in → \rightarrow ← \leftarrow ↔ \leftrightarrow
⇒ \Rightarrow ↑ \uparrow ↓ \downarrow ¬ \neg ∂ \partial ∇ \nabla • \bullet ‖ \|
""".split()
_TEXT = r"""
# \# $ \$ % \% & \& _ \_ { \{ } \} \ \textbackslash{} ~ \textasciitilde{} ^ \textasciicircum{} ` \textasciigrave{}
< \textless{} > \textgreater{} | \textbar{} " \textquotedbl{} – \textendash{} — \textemdash{} … \textellipsis{}
€ \texteuro{} ‘ \textquoteleft{} ’ \textquoteright{} “ \textquotedblleft{} ” \textquotedblright{}
""".split()
_COMMANDS = {
    **{sign: f"${command}$" for sign, command in zip(_MATHS[::2], _MATHS[1::2], strict=True)},
    **dict(zip(_TEXT[::2], _TEXT[1::2], strict=True)),
    **{chr(0x2080 + digit): rf"\textsubscript{{{digit}}}" for digit in range(10)},
    "\u200b": r"\allowbreak{}",
}
_MARKED = re.compile(r"\*\*(?P<bold>[^*]+)\*\*|`(?P<code>[^`]+)`")


def inline(text: str) -> str:
    """Return a text as LaTeX. `**bold**` and code in backticks are formatted, and very long words may break.

    >>> print(inline("**better** by 50 % & `a_b` ± 1"))
    \\textbf{better} by 50 \\% \\& \\texttt{a\\_b} $\\pm$ 1
    """
    breakable = re.sub(r"([^\s`]{30})(?=[^\s*`])", "\\1\u200b", text)
    parts, end = [], 0
    for found in _MARKED.finditer(breakable):
        command, inner = ("textbf", found["bold"]) if found["bold"] else ("texttt", found["code"])
        parts += [escape(breakable[end : found.start()]), rf"\{command}{{{escape(inner)}}}"]
        end = found.end()
    return "".join([*parts, escape(breakable[end:])]).strip()


def escape(text: str) -> str:
    """Return a text on one line without any LaTeX commands.

    Characters of the T1 fonts stay. Others are shown by their code point.

    >>> print(escape(r"\\input{/etc/passwd} 100 % --- 中"))
    \\textbackslash{}input\\{/etc/passwd\\} 100 \\% -{}-{}- \\texttt{U+4E2D}
    """
    line = re.sub(r"\s+", " ", unicodedata.normalize("NFC", text.replace("\0", "\ufffd")))
    # Pairs that fonts draw as one sign, such as -- and '', are kept apart; [ and * would be arguments of \\ and \item.
    apart = re.sub(r"([-',?!])(?=\1|`)", "\\1\0", re.sub(r"^(?=[*\[])", "\0", line))
    found = "".join("{}" if c == "\0" else _COMMANDS.get(c) or _plain(c) for c in apart)
    return re.sub(r"CO2(?=e?\b)", r"CO\\textsubscript{2}", found)


def _plain(character: str) -> str:
    """Return the character itself, a simpler form, or its code point."""
    if " " <= character <= "~" or (0xA1 <= ord(character) <= 0x17E and character not in _NOT_IN_T1):
        return character
    simpler = unicodedata.normalize("NFKD", character)
    if simpler != character and simpler.isascii():
        return escape(simpler)
    return rf"\texttt{{U+{ord(character):04X}}}"


_NOT_IN_T1 = set("ĦħĸĿŀŉŦŧſ")


def _printable(text: str) -> str:
    return " ".join(text.split())
