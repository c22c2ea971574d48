"""The rooms, by the words that the command line uses for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harmbench.registry import Component, Room

OLD_WORDS = {"pictures": "plots"}  # words of harmbench 0.1, accepted for one release


def rooms() -> dict[str, Room[Any]]:
    """All rooms by name, such as `metrics`."""
    from harmbench.executors import EXECUTORS
    from harmbench.planning.suite import ROOMS
    from harmbench.report.formats import FORMATS
    from harmbench.report.plots import PLOTS

    return {**ROOMS, "formats": FORMATS, "plots": PLOTS, "executors": EXECUTORS}


def addresses(cls: type[Component]) -> list[str]:
    """The address of each variant of a component."""
    if cls.argument:
        return [f"{cls.name}:{cls.argument.upper()}"]
    return [str(cls.from_options(variant)) for variant in cls.variants]
