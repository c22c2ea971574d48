"""Formats: a Report -> md, html, csv, json."""

from __future__ import annotations

from harmbench.registry import Room
from harmbench.report.formats._base import Column, Figure, Format, Report, Section, Table

FORMATS: Room[Format] = Room("formats", Format, "format")

__all__ = ["FORMATS", "Column", "Figure", "Format", "Report", "Section", "Table"]
