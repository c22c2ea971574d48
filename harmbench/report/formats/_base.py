"""Content of a report before it has a format, and the base class of formats."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

from pydantic import Field

from harmbench.registry import Component
from harmbench.results._rows import Record


class Column(Record):
    """A table's column: label, unit (empty for none) and whether its cells are numbers."""

    label: str
    unit: str = ""
    numeric: bool = True


class Table(Record):
    """A table for people. Its cells are texts, rounded according to their spread."""

    title: str
    caption: str = ""
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]


class Section(Record):
    """A heading with its tables. A section that `leads` stands before the figures, right after the summary."""

    title: str
    tables: tuple[Table, ...]
    leads: bool = False


class Figure(Record):
    """A plot before it is drawn: its data and its caption. `report.charts` has the kinds.

    Attributes:
        name: name of the file, without suffix.
        caption: description of the plot.
    """

    name: str
    caption: str

    @abstractmethod
    def table(self) -> Table:
        """Return the data behind every mark of the plot."""

    @abstractmethod
    def paint(self) -> Any:
        """Return the plot as a `matplotlib.figure.Figure`. `harmbench.report.figures.draw` writes it."""


class Report(Record):
    """Content of a report in its order: title, overview, summary, sections and notes, with the raw data.

    Attributes:
        title: title of the report.
        subtitle: the question that the suite asks.
        overview: the first table: verdicts, costs and minimum detectable effects. None without conditions.
        summary: sentences on verdicts, costs and caveats.
        conclusions: the overview as sentences, for terminals.
        figures: plots.
        sections: tables.
        notes: definitions and caveats.
        environment: pairs of label and text.
        measurements: tidy rows, one for each trial and measure, raw and unrounded.
        drawings: the figures as SVG, by name, if they have been drawn. They are not part of the report's content.
    """

    title: str
    subtitle: str
    overview: Table | None = None
    summary: tuple[str, ...]
    conclusions: tuple[str, ...] = ()
    figures: tuple[Figure, ...]
    sections: tuple[Section, ...]
    notes: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    measurements: tuple[dict[str, Any], ...]
    drawings: dict[str, str] = Field(default_factory=dict, exclude=True)

    @property
    def leading(self) -> tuple[Section, ...]:
        """The sections before the figures."""
        return tuple(section for section in self.sections if section.leads)

    @property
    def following(self) -> tuple[Section, ...]:
        """The sections after the figures."""
        return tuple(section for section in self.sections if not section.leads)


class Format(Component):
    """Base class of all formats.

    Class attributes:
        suffix: suffix of the file, with its dot.
        raw: whether the format shows the raw rows. Reports for other formats may omit them.
        plots: suffix of separate files with the report's figures. Empty if the format needs none.
        holds_drawings: whether the format contains the report's `drawings`.
    """

    suffix: ClassVar[str]
    raw: ClassVar[bool] = True
    plots: ClassVar[str] = ""
    holds_drawings: ClassVar[bool] = False

    @abstractmethod
    def render(self, report: Report) -> str:
        """Return the report as text of this format."""
