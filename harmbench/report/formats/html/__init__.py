"""HTML: one page in one file, from a template, a style sheet and a script beside this module.

_page       variables of the template, and the content security policy
_verdicts   verdicts of all tables, counted and collected
_tables     cells as HTML with their sort keys
_plots      drawings as parts of the page

page.html   the template, which escapes everything that it inserts
page.css    styles: light, dark, narrow and printed
page.js     sorts and filters tables (optional)
"""

from __future__ import annotations

from typing import ClassVar

from harmbench.report.formats._base import Format, Report
from harmbench.report.formats.html._page import page


class Html(Format):
    """One self-contained page with verdicts first, sortable tables, and plots. It needs no network."""

    name: ClassVar[str] = "html"
    suffix: ClassVar[str] = ".html"
    raw: ClassVar[bool] = False
    holds_drawings: ClassVar[bool] = True

    def render(self, report: Report) -> str:
        return page(report)
