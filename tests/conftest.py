"""Every test runs in a folder of its own session, and every process that it starts imports this checkout."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT

END_TO_END = ROOT / "tests" / "end_to_end"
EXAMPLES_THAT_TRAIN = ROOT / "harmbench" / "testing"


@pytest.fixture(scope="session", autouse=True)
def _nowhere_in_particular(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test finds anything in the current folder, or leaves anything there but in a temporary one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("current"))
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))))
        yield


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--quick", action="store_true", help="one case of each test, without end-to-end tests and slow ones"
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With `--quick`, leave the end-to-end tests out."""
    if config.getoption("--quick") and collection_path == END_TO_END:
        return True
    return None  # pytest decides


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Start with the longest modules, so that no worker ends alone.

    With `--quick`, keep the first case of each parametrized test: one representative of every contract.
    """
    if not config.getoption("--quick"):
        items.sort(key=lambda item: END_TO_END not in item.path.parents)
        return
    first = {item.nodeid.partition("[")[0]: item for item in reversed(items)}
    kept = [item for item in first.values() if not _is_slow(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
    items[:] = reversed(kept)


def _is_slow(item: pytest.Item) -> bool:
    return item.get_closest_marker("slow") is not None or EXAMPLES_THAT_TRAIN in item.path.parents
