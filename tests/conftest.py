"""Every test runs in a folder of its own session, and every process that it starts imports this checkout."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.support.paths import ROOT


@pytest.fixture(scope="session", autouse=True)
def _nowhere_in_particular(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test finds anything in the current folder, or leaves anything there but in a temporary one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("current"))
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))))
        yield
