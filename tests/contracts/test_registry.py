"""Rooms: what they find, what they refuse, and how a component is addressed."""

from __future__ import annotations

import importlib
import pkgutil
import re
import sys

import pytest
import torch
from typer.testing import CliRunner

from harmbench.backbones import BACKBONES
from harmbench.cli import app
from harmbench.cli._options import renamed_option
from harmbench.datasets import DATASETS
from harmbench.errors import OptionError, RegistryError, UnknownNameError
from harmbench.executors import EXECUTORS, Executor
from harmbench.meters import METERS
from harmbench.nn.distances import DISTANCES, Distance
from harmbench.nn.losses import LOSSES
from harmbench.planning.make import make_plan
from harmbench.registry import Room, split_names
from harmbench.report.formats import FORMATS
from harmbench.results.records import TrialRecord
from harmbench.runner import RunOptions, run
from harmbench.testing.distances import (
    has_exactly_its_facts,
    is_float32_under_autocast,
    is_not_negative,
    lets_nan_through,
)

ROOMS = [
    pytest.param(room, id=room.room) for room in (BACKBONES, DATASETS, DISTANCES, EXECUTORS, FORMATS, LOSSES, METERS)
]


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_finds_exactly_its_files(room):
    package = importlib.import_module(room.package)
    files = sorted(m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_"))
    assert list(room.members) == files


@pytest.mark.parametrize("room", ROOMS)
def test_every_component_says_what_it_is(room):
    for cls in room.members.values():
        assert len(cls.summary()) > 10
        assert cls.summary() != room.base.summary()


@pytest.mark.parametrize("room", ROOMS)
def test_variants_have_addresses_of_their_own(room):
    addresses = [str(component) for component in room.every_variant()]
    assert len(set(addresses)) == len(addresses)
    assert [str(room.parse(address)) for address in addresses] == addresses


# Plugins: a package that another distribution installs.

PLUGIN = '''
from harmbench.nn.distances import Distance, Facts

class Matusita(Distance):
    """Euclidean distance of the square roots of the sizes."""

    name = "{name}"

    @property
    def facts(self):
        return Facts(is_metric={is_metric}, is_symmetric=True, is_scale_invariant=False)

    def pairwise(self, x, centers, parameters, training):
        return (x.abs().sqrt()[:, None] - centers.abs().sqrt()[None]).norm(dim=-1)

not_a_distance = 3
'''


@pytest.fixture
def install_package(tmp_path, monkeypatch):
    """Installs a package with one entry point."""

    def _install(package: str, code: str, group: str, name: str, entry: str) -> None:
        (tmp_path / f"{package}.py").write_text(code)
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        distribution = package.replace("_", "-")
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {package}:{entry}\n")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, package, raising=False)

    return _install


@pytest.fixture
def install(install_package):
    """Installs a package that registers one distance, and returns the room as a fresh process would see it."""

    def _install(entry: str = "Matusita", name: str = "matusita", is_metric: bool = False) -> Room[Distance]:
        code = PLUGIN.format(name=name, is_metric=is_metric)
        install_package("strange_metrics", code, "harmbench.distances", name, entry)
        return Room("distances", Distance, "metric")

    return _install


def test_a_plugin_is_listed_and_addressed(install):
    room = install()
    assert set(room.members) == {*DISTANCES.members, "matusita"}
    assert str(room.parse("matusita")) == "matusita"
    assert "matusita" in map(str, room.every_variant())


def test_a_plugin_goes_through_the_contract(install):
    distance = install().parse("matusita")
    for check in (has_exactly_its_facts, is_not_negative, is_float32_under_autocast, lets_nan_through):
        check(distance)


def test_a_plugin_that_claims_too_much_is_caught(install):
    distance = install(is_metric=True).parse("matusita")
    with pytest.raises(AssertionError, match="is_metric is wrong"):
        has_exactly_its_facts(distance)


BROKEN = {
    "is not there": (
        {"entry": "Helinger"},
        r"plugin strange-metrics \(strange_metrics:Helinger\) does not load: .*Helin",
    ),
    "is no distance": (
        {"entry": "not_a_distance"},
        r"plugin strange-metrics .* is not a finished subclass of harmbench\.nn\.distances",
    ),
    "has no name": (
        {"name": ""},
        r"plugin strange-metrics .*: Matusita needs a docstring and a name of a-z, 0-9 and _, got ''",
    ),
    "has a taken name": ({"name": "euclidean"}, r"plugin strange-metrics .*: the metric 'euclidean' exists already"),
}


@pytest.mark.parametrize(("options", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_plugin_is_named(install, options, message):
    with pytest.raises(RegistryError, match=message):
        list(install(**options).members)


def test_a_file_with_two_components_is_refused(monkeypatch):
    module = importlib.import_module("harmbench.nn.distances.manhattan")
    twin = type("Twin", (Distance,), {"__module__": module.__name__, "name": "twin", "__doc__": "Second."})
    monkeypatch.setattr(module, "Twin", twin, raising=False)
    with pytest.raises(
        RegistryError, match=r"harmbench\.nn\.distances\.manhattan must hold one public Distance, not 2"
    ):
        list(Room("distances", Distance, "metric").members)


# An executor of another package.

EXECUTOR = '''
from harmbench.executors import Executor, Finished, Progress, Session, Started

class InProcess(Executor):
    """In the process of the command, one trial after the other."""

    name = "in_process"

    def session(self, task, devices, open_source, preload=()):
        return OneByOne(task, devices, open_source, preload)

class OneByOne(Session):
    def run(self, makers):
        device = self.devices[0]
        with self.open_source(device, self) as source:
            for make in makers:
                job = make(device, source)
                if job is None or self.stopping.is_set():
                    break
                yield Started(job, device)
                link = DirectLink(self, source)
                result = self.task(job, link)
                yield from (Progress(job, step, steps) for step, steps in link.steps)
                yield Finished(job, device, result)

class DirectLink:
    def __init__(self, session, source):
        self.session, self.source, self.steps = session, source, []

    def read_energy(self):
        return self.session.reading(self.source)

    def progress(self, step, steps):
        self.steps.append((step, steps))

class Unfinished(Executor):
    """Cannot run anything."""

    name = "in_process"
'''


@pytest.fixture
def install_executor(install_package, monkeypatch):
    """Installs a package that registers one executor, and returns the room as a fresh process would see it."""

    def _install(entry: str) -> Room[Executor]:
        install_package("strange_places", EXECUTOR, "harmbench.executors", "in_process", entry)
        room = Room("executors", Executor, "executor")
        monkeypatch.setitem(EXECUTORS.__dict__, "members", room.members)
        return room

    return _install


def accuracies(folder, executor):
    """The test accuracies of a real run, by trial."""
    overrides = {"metrics": "euclidean", "seeds": 2, "protocol": {"steps": 20}, "meters": ["quality"]}
    planned = make_plan("smoke", overrides, ["cpu"], folder)
    records = list(run(planned, RunOptions(folder / executor, ("cpu",), folder, executor=executor)))[1:-1]
    trials = [record for record in records if isinstance(record, TrialRecord)]
    assert len(trials) == len(planned.trials)
    return {trial.id: trial.value("test_accuracy") for trial in trials}


@pytest.mark.slow
def test_a_run_goes_through_an_executor_of_another_package(install_executor, tmp_path):
    assert set(install_executor("InProcess").members) == {"in_process", "local"}
    before = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    try:
        found = accuracies(tmp_path, "in_process")
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.set_num_threads(before[1])
    assert None not in found.values()
    assert found == accuracies(tmp_path, "local")


def test_an_unfinished_executor_is_named(install_executor):
    with pytest.raises(RegistryError, match=r"plugin strange-places .* is not a finished subclass of .*Executor"):
        install_executor("Unfinished")


# Addresses.


def test_names_split_at_commas_outside_brackets():
    assert split_names(["cosine, hamming[variant=hard,threshold=1]", "manhattan,"]) == [
        "cosine",
        "hamming[variant=hard,threshold=1]",
        "manhattan",
    ]


UNKNOWN = {
    "near": (
        DISTANCES,
        "manhatan",
        r"unknown metric 'manhatan'; did you mean 'manhattan'\? Known: angular, .*poincare, squared_euclidean\.",
    ),
    "far": (DISTANCES, "zzz", r"unknown metric 'zzz'\. Known: angular"),
    "with options": (DISTANCES, "minkovski[p=3]", r"unknown metric 'minkovski'; did you mean 'minkowski'\?"),
    "executor": (
        EXECUTORS,
        "locl",
        r"unknown executor 'locl'; did you mean 'local'\? Known: local\. See `harmbench ls executors`",
    ),
    "loss": (LOSSES, "crossentropy", r"unknown loss 'crossentropy'; did you mean 'cross_entropy'\?"),
}


@pytest.mark.parametrize(("room", "address", "message"), UNKNOWN.values(), ids=UNKNOWN)
def test_an_unknown_name_shows_the_nearest(room, address, message):
    with pytest.raises(UnknownNameError, match=message):
        room.parse(address)


@pytest.mark.parametrize("address", ["", "euclidean[", "euclidean]", "[p=3]", "eucl idean", "minkowski[p=[3]]"])
def test_an_address_that_cannot_be_read_is_refused(address):
    with pytest.raises(OptionError, match=r"cannot read metric '.*'; write name or name\[option=value,option=value\]"):
        DISTANCES.parse(address)


def test_all_problems_of_an_address_come_at_once():
    with pytest.raises(OptionError, match=r"variant: input should be .*; temperature: input .*; no option 'size'"):
        DISTANCES.parse("hamming[variant=loud,temperature=-1,size=3]")


def test_components_are_values():
    assert LOSSES.parse("harmonic[n=2]") == LOSSES.parse("harmonic[n=2.0]")
    assert len({LOSSES.parse("harmonic"), LOSSES.parse("harmonic[n=sqrt_d]")}) == 1


# Words of the command line.


def test_executors_are_listed_and_shown():
    listed = CliRunner().invoke(app, ["ls", "executors"])
    assert re.search(r"executors +local +On this machine", listed.stdout)
    assert "one trial at a time on each device" in CliRunner().invoke(app, ["show", "local"]).stdout


def test_old_words_still_work(capsys):
    new, old = (CliRunner().invoke(app, ["ls", word]).stdout for word in ("plots", "pictures"))
    assert "pareto" in new
    assert new == old
    assert renamed_option("--idle", 2.0, "--idle-seconds", None) == 2.0
    assert capsys.readouterr().err == "--idle is now --idle-seconds; the old name goes away in the next release\n"
    assert renamed_option("--idle", None, "--idle-seconds", 3.0) == 3.0
