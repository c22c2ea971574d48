"""Pictures: a run -> figures, one file for each kind of picture."""

from __future__ import annotations

from collections.abc import Iterator

from harmbench.formats import Figure
from harmbench.pictures._base import Picture, places_of
from harmbench.registry import Room
from harmbench.store import RunData

PICTURES: Room[Picture] = Room("pictures", Picture, "picture")

__all__ = ["PICTURES", "Picture", "for_report", "places_of"]


def for_report(run: RunData) -> Iterator[Figure]:
    """The figures that a report shows: of the kinds that are in reports and have something to show of this run."""
    kinds = sorted((kind for kind in PICTURES.every_variant() if kind.place), key=lambda kind: kind.place)
    for kind in kinds:
        if kind.applies(run) is None:
            yield from kind.reported(run)
