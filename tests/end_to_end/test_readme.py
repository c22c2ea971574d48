"""README's results are those of the committed run; examples are whole and small."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from harmbench.results import store
from tests.support.folders import fill
from tests.support.paths import ROOT

EXAMPLES = sorted((ROOT / "reports").glob("example-*"))


def script(name: str) -> ModuleType:
    """A script of docs/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_results_are_those_of_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert script("readme").main(["--check"]) == 0, "write them again with `make docs`"


def test_a_number_typed_wrong_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    readme = script("readme")
    there = readme.README.read_text()
    spoilt = re.sub(r"(\| euclidean +\| +)\d", r"\g<1>5", there, count=1)
    assert spoilt != there
    monkeypatch.setattr(readme, "README", tmp_path / "README.md")
    (tmp_path / "README.md").write_text(spoilt)
    assert readme.main(["--check"]) == 1
    assert "stale" in capsys.readouterr().err
    assert readme.main([]) == 0
    assert (tmp_path / "README.md").read_text() == there
    with pytest.raises(SystemExit, match="lacks the lines"):
        readme.written("no marks", "results")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_whole_and_small(example: Path) -> None:
    files = [path for path in example.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < script("examples").LARGEST
    assert not any(b"/tmp/" in path.read_bytes() or b"/home/" in path.read_bytes() for path in files)
    linked = re.findall(r"\]\(([^)#]+\.svg)\)", (example / "report.md").read_text())
    assert linked
    assert all((example / name).exists() for name in linked)


def test_a_run_that_is_kept_reads_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    examples, asked = script("examples"), []
    monkeypatch.setattr(examples, "_harmbench", lambda *arguments: asked.append(arguments))
    fill(tmp_path / "run", 2)
    examples.keep(tmp_path / "run", tmp_path / "example")
    assert store.read(tmp_path / "example").trials == store.read(tmp_path / "run").trials
    assert [arguments[-1] for arguments in asked] == ["md", "html"]
    examples.keep(shutil.copytree(tmp_path / "example", tmp_path / "again"), tmp_path / "example")  # packed already
    assert len(store.read(tmp_path / "example").trials) == 2
    monkeypatch.setattr(examples, "LARGEST", 1)
    with pytest.raises(SystemExit, match="too much for an example"):
        examples.keep(tmp_path / "run", tmp_path / "example")
