"""Import paths of harmbench 0.1 go on working for one release."""

from __future__ import annotations

import importlib
import sys

import pytest

from harmbench._moved import MOVED

# A submodule's parent warns too, and our own warnings are errors elsewhere.
pytestmark = pytest.mark.filterwarnings("default:.* is now harmbench:DeprecationWarning")


@pytest.mark.parametrize("old", sorted(MOVED))
def test_an_old_path_gives_the_new_module_and_warns(old, monkeypatch):
    monkeypatch.delitem(sys.modules, old, raising=False)
    with pytest.warns(DeprecationWarning, match=rf"{old} is now {MOVED[old]}"):
        module = importlib.import_module(old)
    assert module is importlib.import_module(MOVED[old])


def test_a_submodule_of_an_old_path_is_not_loaded_twice(monkeypatch):
    monkeypatch.delitem(sys.modules, "harmbench.distances.cosine", raising=False)
    with pytest.warns(DeprecationWarning, match="cosine"):
        old = importlib.import_module("harmbench.distances.cosine")
    assert old.Cosine is importlib.import_module("harmbench.nn.distances.cosine").Cosine
