"""torchvision and timm import everywhere, also where torchvision's C++ extension cannot be loaded."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

import harmbench._torchvision as trap
from tests.support.commands import HANGS_AFTER


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=HANGS_AFTER)


def extension_loads() -> bool:
    return any(trap._loads(file) for file in trap._extension_files())


@pytest.mark.slow
def test_both_import_in_a_fresh_process() -> None:
    done = run(
        "from harmbench._torchvision import import_torchvision\n"
        "first = import_torchvision(); assert import_torchvision() is first\n"
        "import timm; print(first.__name__, len(timm.list_models()) > 0)"
    )
    assert (done.returncode, done.stdout.strip()) == (0, "torchvision True"), done.stderr


@pytest.mark.skipif(extension_loads(), reason="torchvision's extension loads on this machine: there is no trap")
def test_the_trap_is_there() -> None:
    done = run("import torchvision")
    assert done.returncode != 0
    assert "operator torchvision::nms does not exist" in done.stderr, "torchvision mends itself now: drop the module"


def test_a_declared_operator_says_that_it_has_no_implementation() -> None:
    if extension_loads():
        pytest.skip("the operators are real on this machine")
    trap.import_torchvision()
    with pytest.raises(NotImplementedError, match="torchvision::nms"):
        torch.ops.torchvision.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)


def test_nothing_is_declared_where_the_extension_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise AssertionError("declared an operator that exists")

    trap.import_torchvision()
    monkeypatch.setattr(trap, "_loads", lambda _: True)
    monkeypatch.setattr(trap, "_declare_missing_operators", refuse)
    assert trap.import_torchvision().__name__ == "torchvision"


def test_only_missing_operators_are_declared() -> None:
    trap.import_torchvision()
    before = len(trap._kept_alive)
    trap._declare_missing_operators()
    assert len(trap._kept_alive) == before
