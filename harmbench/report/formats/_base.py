"""What a report is, before it has a format."""

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
    """A table for people: cells are texts, rounded as their spread allows; `strong` rows are marked."""

    title: str
    caption: str = ""
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]


class Section(Record):
    """A heading with its tables; one that `leads` stands before the figures, right after the summary."""

    title: str
    tables: tuple[Table, ...]
    leads: bool = False


class Figure(Record):
    """A plot before it is drawn: the data it shows, and what one sees in it. `report.charts` has the kinds.

    Attributes:
        name: of the file, without suffix.
        caption: says what one sees.
    """

    name: str
    caption: str

    @abstractmethod
    def table(self) -> Table:
        """The data behind the plot, every mark of it."""

    @abstractmethod
    def paint(self) -> Any:
        """The plot as a `matplotlib.figure.Figure`; `harmbench.report.figures.draw` writes it."""


class Report(Record):
    """Everything a report says, in order: title, overview, summary, sections, notes; and the raw data beside it.

    Attributes:
        title: of the report.
        subtitle: the question that the suite asks.
        overview: the first table: what holds, at what cost, how sure; None where there is nothing to tell.
        summary: sentences that a busy person reads.
        places: the overview as sentences, where there is no room for a table.
        figures: plots.
        sections: tables.
        notes: definitions and caveats.
        environment: pairs of label and text.
        measurements: tidy rows, one for each trial and measure, raw and unrounded.
        drawings: the figures as SVG, by name, where they have been drawn; no part of the report's content.
    """

    title: str
    subtitle: str
    overview: Table | None = None
    summary: tuple[str, ...]
    places: tuple[str, ...] = ()
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
    """Base of all formats; not itself a format.

    Class attributes:
        suffix: of the file, with its dot.
        raw: whether it shows the raw rows; where it does not, a report may come without them.
        plots: suffix of the files beside it in which it expects the report's figures; empty where it expects none.
        holds_drawings: whether it shows the report's `drawings` itself.
    """

    suffix: ClassVar[str]
    raw: ClassVar[bool] = True
    plots: ClassVar[str] = ""
    holds_drawings: ClassVar[bool] = False

    @abstractmethod
    def render(self, report: Report) -> str:
        """The report as text of this format."""
