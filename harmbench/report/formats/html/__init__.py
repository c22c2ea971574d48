"""HTML: one page in one file, from a template, a style sheet and a script beside this module.

_page       the report as the template's variables; content security policy
_verdicts   what is decided, counted and gathered from all tables
_tables     cells as HTML with the numbers they are sorted by
_plots   drawings as parts of the page

page.html   the template: everything that it inserts is escaped
page.css    light, dark, narrow and printed
page.js     sorts and filters tables; without it the page only stands still
"""

from __future__ import annotations

from typing import ClassVar

from harmbench.report.formats._base import Format, Report
from harmbench.report.formats.html._page import page


class Html(Format):
    """One self-contained page: verdicts first, tables that sort and filter, plots inside; needs no network."""

    name: ClassVar[str] = "html"
    suffix: ClassVar[str] = ".html"
    raw: ClassVar[bool] = False
    holds_drawings: ClassVar[bool] = True

    def render(self, report: Report) -> str:
        return page(report)
