"""Rules that the tests themselves keep."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.support.paths import ROOT

MODULES = sorted((ROOT / "tests").rglob("*.py"))


def imported_tests(source: str) -> list[str]:
    """Names of the test modules that a source imports."""
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names if alias.name.startswith("tests.")]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "tests":
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return [name for name in names if any(part.startswith("test_") for part in name.split("."))]


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT / "tests")))
def test_no_module_imports_a_test_module(module: Path) -> None:
    assert not imported_tests(module.read_text("utf-8")), "shared helpers belong in tests/support"


def test_an_import_of_a_test_module_is_seen() -> None:
    source = "from tests.unit.test_store import fill\nimport tests.support.runs\nfrom tests.unit import test_rows\n"
    assert imported_tests(source) == ["tests.unit.test_store.fill", "tests.unit.test_rows"]
