"""The template plug-in works by real commands, and `harmbench check` refuses wrong components.

Nothing is fetched: the package is copied to a folder with the metadata that pip would write.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "examples" / "plugin"
PROJECT = tomllib.loads((TEMPLATE / "pyproject.toml").read_text())["project"]
KINDS = {  # rooms as `harmbench ls` names them
    "harmbench.distances": "metrics",
    "harmbench.losses": "losses",
    "harmbench.backbones": "backbones",
    "harmbench.datasets": "datasets",
    "harmbench.meters": "meters",
    "harmbench.formats": "formats",
    "harmbench.plots": "plots",
}
COMPONENTS = [(KINDS[group], name) for group, entries in PROJECT["entry-points"].items() for name in entries]

Command = Callable[..., subprocess.CompletedProcess[str]]


def write_metadata(site: Path, name: str, version: str, entry_points: Mapping[str, Mapping[str, str]]) -> None:
    """Write a package's name, version and entry points as pip does."""
    folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    sections = [
        "\n".join([f"[{group}]", *(f"{key} = {value}" for key, value in entries.items())])
        for group, entries in entry_points.items()
    ]
    (folder / "entry_points.txt").write_text("\n\n".join(sections) + "\n")


def command_in(folder: Path, site: Path) -> Command:
    """Runs `harmbench` in a folder, with the packages of another one."""
    paths = [str(site), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "250"}

    def command(*arguments: object) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "harmbench", *map(str, arguments)]
        return subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, check=False)

    return command


@pytest.fixture(scope="module")
def harmbench(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """The command, where the template is installed."""
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copytree(TEMPLATE / "src" / "harmbench_example", folder / "site" / "harmbench_example")
    write_metadata(folder / "site", PROJECT["name"], PROJECT["version"], PROJECT["entry-points"])
    shutil.copy(TEMPLATE / "suite.yaml", folder)
    return command_in(folder, folder / "site")


def test_there_is_a_component_for_each_room() -> None:
    assert [kind for kind, _ in COMPONENTS] == list(KINDS.values())


def test_each_component_is_listed(harmbench: Command) -> None:
    done = harmbench("ls", *(kind for kind, _ in COMPONENTS))
    assert done.returncode == 0, done.stderr
    listed = {tuple(line.split()[:2]) for line in done.stdout.splitlines() if line.strip()}
    assert set(COMPONENTS) <= listed


@pytest.mark.parametrize(("kind", "name"), COMPONENTS)
def test_each_component_passes_its_check(harmbench: Command, kind: str, name: str) -> None:
    done = harmbench("check", name)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{name} in {kind}: " in done.stdout
    assert done.stdout.rstrip().endswith(", 0 failed")


def test_each_component_takes_part_in_a_run(harmbench: Command) -> None:
    done = harmbench("run", "suite.yaml", "--out", "run", "--idle", 0)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 ok" in done.stdout
    report = harmbench("report", "run", "--format", "txt", "--out", "-")
    assert report.returncode == 0, report.stderr
    assert "residual_mlp on breast_cancer" in report.stdout
    assert "lorentzian" in report.stdout
    assert "student_softmax" in report.stdout
    raw = harmbench("report", "run", "--format", "csv", "--out", "-")
    assert "test_top2_accuracy" in raw.stdout
    drawing = harmbench("plot", "run", "--kind", "test_loss")
    assert drawing.returncode == 0, drawing.stdout + drawing.stderr


WRONG = '''
from harmbench.nn.distances import Distance, Facts
from harmbench.nn.kernels.operators import Operator


class InnerProduct(Distance):
    """Minus the inner product, which is no distance."""

    name = "inner_product"

    @property
    def facts(self):
        return Facts(is_metric=False, is_symmetric=True, is_scale_invariant=False)

    def pairwise(self, x, centers, parameters, training):
        return -x @ centers.T


class Squared(Distance):
    """Squared Euclidean distance, which breaks the triangle inequality."""

    name = "squared"

    @property
    def facts(self):
        return Facts(is_metric=True, is_symmetric=True, is_scale_invariant=False)

    def pairwise(self, x, centers, parameters, training):
        return (x[:, None] - centers[None]).square().sum(-1)


class Unknown(Distance):
    """Euclidean distance of cubes, with an operator that no kernel knows."""

    name = "unknown"

    @property
    def facts(self):
        return Facts(is_metric=True, is_symmetric=True, is_scale_invariant=False)

    @property
    def operator(self):
        return Operator("gemm", "euclidean_of_cubes")

    def pairwise(self, x, centers, parameters, training):
        return (x.pow(3)[:, None] - centers.pow(3)[None]).norm(dim=-1)


class Mlp(InnerProduct):
    """A distance with the name of a backbone."""

    name = "mlp"
'''


@pytest.fixture
def with_wrong(tmp_path: Path) -> Callable[[str, str], Command]:
    """The command, where a package with one wrong distance is installed."""

    def install(name: str, cls: str) -> Command:
        site = tmp_path / "site"
        site.mkdir()
        (site / "wrong_distances.py").write_text(WRONG)
        write_metadata(site, "wrong-distances", "1.0", {"harmbench.distances": {name: f"wrong_distances:{cls}"}})
        return command_in(tmp_path, site)

    return install


@pytest.mark.parametrize(
    ("name", "cls", "contract", "reason"),
    [
        ("inner_product", "InnerProduct", "is_not_negative", "negative on ordinary inputs"),
        ("squared", "Squared", "has_exactly_its_facts", "is_metric is wrong: True is declared, and the triangle"),
        ("unknown", "Unknown", "is_its_formula_in_every_form", ""),
    ],
)
def test_a_wrong_distance_is_refused(
    with_wrong: Callable[[str, str], Command], name: str, cls: str, contract: str, reason: str
) -> None:
    done = with_wrong(name, cls)("check", name)
    assert done.returncode == 1, done.stdout + done.stderr
    if name == "unknown" and "euclidean_of_cubes" in done.stderr:  # refused before anything is computed
        return
    (row,) = [line for line in done.stdout.splitlines() if line.startswith(f"{contract} ")]
    assert "failed" in row
    assert reason in row


def test_a_name_in_two_rooms_needs_its_room(with_wrong: Callable[[str, str], Command]) -> None:
    harmbench = with_wrong("mlp", "Mlp")
    done = harmbench("check", "mlp")
    assert (done.returncode, done.stdout) == (2, "")
    assert "'mlp' is in 2 rooms; add --room backbones or --room metrics" in done.stderr
    assert harmbench("check", "mlp", "--room", "backbones").returncode == 0
    assert harmbench("check", "mlp", "--room", "metrics").returncode == 1
