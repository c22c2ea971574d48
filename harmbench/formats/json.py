"""JSON."""

from __future__ import annotations

import json
from typing import ClassVar

from harmbench.formats._base import Format, Report
from harmbench.records import SCHEMA_VERSION


class Json(Format):
    """The whole report as one JSON object: summary, tables, notes, environment and the tidy raw rows."""

    name: ClassVar[str] = "json"
    suffix: ClassVar[str] = ".json"

    def render(self, report: Report) -> str:
        content = {"schema_version": SCHEMA_VERSION, **report.model_dump(mode="json")}
        return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
