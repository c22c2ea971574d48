"""JSON."""

from __future__ import annotations

import json
from typing import ClassVar

from harmbench.report.formats._base import Format, Report
from harmbench.results.records import SCHEMA_VERSION


class Json(Format):
    """The whole report as one JSON object: summary, figures as tables, tables, notes, environment, tidy raw rows."""

    name: ClassVar[str] = "json"
    suffix: ClassVar[str] = ".json"

    def render(self, report: Report) -> str:
        figures = [
            {"name": figure.name, "caption": figure.caption, "table": figure.table().model_dump(mode="json")}
            for figure in report.figures
        ]
        content = {"schema_version": SCHEMA_VERSION, **report.model_dump(mode="json"), "figures": figures}
        return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
