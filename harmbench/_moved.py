"""Import paths of harmbench 0.1 that README and docs named. They go on working for one release, with a warning."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

MOVED = {
    "harmbench.artifacts": "harmbench.results.artifacts",
    "harmbench.charts": "harmbench.report.charts",
    "harmbench.claims": "harmbench.analysis.claims",
    "harmbench.distances": "harmbench.nn.distances",
    "harmbench.environment": "harmbench.planning.environment",
    "harmbench.figures": "harmbench.report.figures",
    "harmbench.formats": "harmbench.report.formats",
    "harmbench.losses": "harmbench.nn.losses",
    "harmbench.pictures": "harmbench.report.plots",
    "harmbench.plan": "harmbench.planning.plan",
    "harmbench.records": "harmbench.results.records",
    "harmbench.store": "harmbench.results.store",
    "harmbench.suite": "harmbench.planning.suite",
}


def new_path(old: str) -> str | None:
    """Where a module is now, or a submodule of one; None where it has not moved.

    >>> new_path("harmbench.distances.cosine")
    'harmbench.nn.distances.cosine'
    """
    package = ".".join(old.split(".")[:2])
    return MOVED[package] + old.removeprefix(package) if package in MOVED else None


class _Redirect:
    """Imports the module that took the place of an old one, and warns.

    It has no base class, because importlib.abc imports `random`, and `python -m harmbench` must not yet do that.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if new_path(fullname) else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        """Return None, so that Python creates the module."""

    def exec_module(self, module: ModuleType) -> None:
        old = module.__name__
        new = new_path(old)
        assert new is not None, "find_spec takes no other"
        warnings.warn(f"{old} is now {new}; the old path goes away in the next release", DeprecationWarning, 2)
        sys.modules[old] = importlib.import_module(new)


def install() -> None:
    """Let the old paths be imported."""
    sys.meta_path.insert(0, _Redirect())  # before Python's own, which would load a submodule twice
