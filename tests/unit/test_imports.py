"""Imports: every module imports, and planning, listing and reporting start without torch."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys

import pytest

import harmbench

MODULES = sorted(info.name for info in pkgutil.walk_packages(harmbench.__path__, "harmbench."))


@pytest.mark.parametrize("module", [name for name in MODULES if not name.endswith("__main__")])
def test_every_module_imports(module):
    importlib.import_module(module)


def test_public_names_are_sorted_and_exist():
    assert sorted(harmbench.__all__) == harmbench.__all__
    for name in harmbench.__all__:
        assert getattr(harmbench, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Harmonics'"):
        harmbench.Harmonics  # noqa: B018


@pytest.mark.parametrize(
    "command",
    [["--help"], ["ls"], ["plan", "vision"], ["validate", "smoke"], ["show", "harmonic"]],
    ids=lambda command: command[0],
)
def test_light_commands_do_not_import_torch(command):
    code = (
        "import sys; from harmbench.cli import app\n"
        f"try: app({command!r})\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def test_help_imports_no_heavy_package():
    code = (
        "import sys; from harmbench.cli import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'pandas', 'numpy', 'pydantic', 'codecarbon', 'timm'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
