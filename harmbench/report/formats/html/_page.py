"""The report as the template's variables, and the page's security policy."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Any, NamedTuple

from markupsafe import Markup

from harmbench.report.formats._base import Figure, Report, Section, Table
from harmbench.report.formats.html._plots import inline
from harmbench.report.formats.html._tables import View, rich, view
from harmbench.report.formats.html._verdicts import compares, decided, decided_claims, states_verdicts, tally

MANY_DECIDED = 12  # a longer list of decided heads is folded up


class PageSection(NamedTuple):
    """A section with its anchor."""

    anchor: str
    title: str
    views: tuple[View, ...]


class Drawn(NamedTuple):
    """A figure with its drawing, if there is one, and its data."""

    anchor: str
    caption: str
    svg: Markup | None
    data: View | None


def page(report: Report) -> str:
    """The report as one HTML document."""
    from jinja2 import Environment

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    style, script = _resource("page.css"), _resource("page.js")
    return environment.from_string(_resource("page.html")).render(
        style=Markup(style),  # our own file
        script=Markup(script),  # our own file
        policy=_policy(style, script),
        rich=rich,
        report=report,
        **_content(report),
    )


def _resource(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """Return a policy that allows only the page's own style and script."""
    return (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _content(report: Report) -> dict[str, Any]:
    anchors = _Anchors()
    parts = [_part(section, anchors(section.title)) for section in report.sections]
    compared = [table for section in report.sections if (table := compares(section))]
    stated = [table for section in report.sections for table in section.tables if states_verdicts(table)]
    found = decided(report.sections)
    return {
        "verdicts": tally(compared) if compared else None,
        "claims": tally(stated) if stated else None,
        "decided": [view(table) for table in found],
        "decided_claims": list(decided_claims(stated)),
        "many_decided": sum(len(table.rows) for table in found) > MANY_DECIDED,
        "overview": view(report.overview) if report.overview else None,
        "sentences": [rich(sentence) for sentence in report.summary],
        "leading": [part for part, section in zip(parts, report.sections, strict=True) if section.leads],
        "parts": [part for part, section in zip(parts, report.sections, strict=True) if not section.leads],
        "figures": list(_drawn(report, anchors)),
    }


def _part(section: Section, anchor: str) -> PageSection:
    return PageSection(anchor, section.title, tuple(view(table) for table in section.tables))


def _drawn(report: Report, anchors: _Anchors) -> Iterator[Drawn]:
    for i, figure in enumerate(report.figures):
        anchor = anchors(figure.name)
        svg = report.drawings.get(figure.name)
        data = _data(figure)
        yield Drawn(
            anchor,
            figure.caption,
            inline(svg, f"P{i}", f"{anchor}--caption") if svg else None,
            view(data) if data else None,
        )


def _data(figure: Figure) -> Table | None:
    """Return the data behind a plot, if its kind has a table."""
    table = getattr(figure, "table", None)
    return table() if table else None


class _Anchors:
    """Unique ids from titles. Ids derived from them have two hyphens, which no title gives."""

    def __init__(self) -> None:
        self._taken: set[str] = {"main", "summary", "figures", "reading", "environment", "filter", "fold"}

    def __call__(self, title: str) -> str:
        stem = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "part"
        anchor, count = stem, 1
        while anchor in self._taken:
            count += 1
            anchor = f"{stem}-{count}"
        self._taken.add(anchor)
        return anchor
