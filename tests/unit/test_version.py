"""The version: one source, the same everywhere, and described in the changelog."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import yaml

import harmbench
from harmbench.planning.environment import result_versions

ROOT = Path(__file__).resolve().parents[2]


def test_the_package_has_the_version_of_the_code():
    assert version("harmbench") == harmbench.__version__, "install again: pip install -e ."


def test_the_build_reads_the_version_from_the_code():
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" in pyproject["project"]["dynamic"]
    assert pyproject["tool"]["hatch"]["version"]["path"] == "harmbench/__init__.py"


def test_trial_ids_contain_the_version_of_the_code():
    assert result_versions()["harmbench"] == harmbench.__version__


def test_the_changelog_and_the_citation_know_the_version():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## \[([^\]]+)\]", changelog, re.MULTILINE)
    assert headings[0] == ("Unreleased" if ".dev" in harmbench.__version__ else harmbench.__version__)
    first_entry = changelog.split("\n## ")[1]
    assert "### Results that differ" in first_entry
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == harmbench.__version__
