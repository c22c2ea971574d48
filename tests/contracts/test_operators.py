"""Operators: each is declared once, in `OPERATORS`; an unknown one is refused; Python and C++ agree on the codes."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import resources

import pytest
import torch

from harmbench.errors import OptionError, RegistryError
from harmbench.nn.distances import DISTANCES, Distance
from harmbench.nn.kernels import Finish, Operator
from harmbench.nn.kernels.operators import OPERATORS
from harmbench.registry import Room

CPP = resources.files("harmbench.nn.kernels").joinpath("cpp")
PLUGIN = '''
from harmbench.nn.distances import Distance, Facts
from harmbench.nn.kernels import Operator

class Doubled(Distance):
    """Twice the Euclidean distance."""

    name = "doubled"

    @property
    def facts(self):
        return Facts(is_metric=True, is_symmetric=True, is_scale_invariant=False)

    def pairwise(self, x, centers, parameters, training):
        return 2 * (x[:, None] - centers[None]).norm(dim=-1)

    @property
    def operator(self):
        return {operator}
'''


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Installs a package that registers one distance with this operator, and returns the room of a fresh process."""

    def _install(operator: str) -> Room[Distance]:
        (tmp_path / "doubled_metric.py").write_text(PLUGIN.format(operator=operator))
        info = tmp_path / "doubled_metric-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: doubled-metric\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[harmbench.distances]\ndoubled = doubled_metric:Doubled\n")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "doubled_metric", raising=False)
        return Room("distances", Distance, "metric")

    return _install


@pytest.mark.parametrize(
    ("operator", "nearest"),
    [('Operator("gemm", "euclidian2")', "euclidean"), ('Operator("elementwise", "manhatan")', "manhattan")],
    ids=["gemm", "elementwise"],
)
def test_a_plugin_with_an_unknown_operator_is_refused_when_it_is_registered(plugin, operator, nearest):
    with pytest.raises(RegistryError) as caught:
        list(plugin(operator).members)
    message = str(caught.value)
    assert message.startswith("plugin doubled-metric (doubled_metric:Doubled): Doubled: no kernel computes")
    assert f"nearest is '{nearest}'" in message
    assert "leave `operator` None, so that the formula itself runs" in message
    assert "\n" not in message


def test_a_plugin_whose_operator_raises_is_refused_by_name(plugin):
    with pytest.raises(RegistryError, match=r"plugin doubled-metric .*Doubled: .*missing.*'name'"):
        list(plugin('Operator("gemm")').members)


def test_a_plugin_without_an_operator_runs_its_formula(plugin):
    x, w = torch.randn(30, 40), torch.randn(20, 40)
    torch.testing.assert_close(plugin("None").parse("doubled")(x, w), 2 * torch.cdist(x, w))


FINISH = Finish(Operator("gemm", "euclidean", degree=1), torch.square)
REFUSED = {
    "unknown gemm": (("gemm", "double"), {}, "no kernel computes the gemm operator 'double'; the nearest is"),
    "unknown elementwise": (("elementwise", "canbera"), {}, "the nearest is 'canberra'"),
    "of the other kind": (("gemm", "manhattan"), {}, "no kernel computes the gemm operator 'manhattan'"),
    "unknown kind": (("matmul", "cosine"), {}, "the kind must be gemm or elementwise"),
    "without its finish": (("gemm", "angular"), {}, "needs a finish"),
    "finish on a kernel's name": (("gemm", "euclidean"), {"finish": FINISH}, "choose a new name"),
    "elementwise finish": (("elementwise", "cubed"), {"finish": FINISH}, "only gemm operators take"),
}


@pytest.mark.parametrize(("names", "facts", "message"), REFUSED.values(), ids=REFUSED)
def test_an_operator_built_by_hand_is_refused(names, facts, message):
    with pytest.raises(OptionError, match=re.escape(message)):
        Operator(*names, **facts)


def test_a_finish_may_have_a_new_name():
    operator = Operator("gemm", "cubed", finish=FINISH)
    assert operator.record.is_finished
    assert operator.record.flops == 2


@pytest.mark.parametrize("name", ["cosine", "manhattan", "mean_absolute"])
def test_a_missing_entry_is_noticed(monkeypatch, name):
    monkeypatch.delitem(OPERATORS, name)
    with pytest.raises(RegistryError, match=f"operator '{name}'"):
        list(Room("distances", Distance, "metric").members)


def test_every_entry_is_the_operator_of_a_distance():
    operators = [distance.operator for distance in DISTANCES.every_variant() if distance.operator is not None]
    bases = [operator.finish.base for operator in operators if operator.finish is not None]
    special = {"minkowski"}  # of orders that no named variant has
    assert {operator.name for operator in (*operators, *bases)} | special == set(OPERATORS)


def test_codes_are_those_of_cpp():
    cases = dict(re.findall(r"case (\d+): .*?call\((\w+)", CPP.joinpath("dispatch.h").read_text()))
    steps = {int(code) for code in re.findall(r"_CODE = (-\d+)", CPP.joinpath("step.h").read_text())}
    all_kernels = [kernels for record in OPERATORS.values() for kernels in (record.general, *record.special.values())]
    assert {kernels.native for kernels in all_kernels if kernels.native is not None} == set(map(int, cases))
    assert {record.step for record in OPERATORS.values() if record.step is not None} == steps
    for name, record in OPERATORS.items():
        if record.general.native is not None:
            structure = name.replace("_", "")
            assert cases[str(record.general.native)].lower() in (structure, f"{structure}of"), name


def test_codes_are_those_of_triton():
    source = resources.files("harmbench.nn.kernels").joinpath("gpu.py").read_text()
    branches = set(re.findall(r'OP == "([\w.]+)"', source))
    helpers = {"largest_size", "ties"}
    kernels = [kernel for record in OPERATORS.values() for kernel in record.triton_kernels]
    names = {kernel.name for kernel in kernels} | {kernel.rest.name for kernel in kernels if kernel.has_rest}
    assert branches <= names | helpers
    assert names - branches == {"manhattan"}  # the last branch of each kernel
    for kernel in kernels:
        assert {kernel.first, kernel.again or ""} <= names | helpers | {""}


def test_records_say_what_they_must():
    for name, record in OPERATORS.items():
        assert record.flops, name
        assert record.general.cost, name
        if "elementwise" in record.kinds:
            assert record.general.native is not None, name
        for other in filter(None, (record.gradient_as, record.step_as)):
            assert OPERATORS[other].general.native is not None, name


def test_listing_distances_imports_no_torch():
    program = (
        "import sys; from harmbench.nn.distances import DISTANCES; DISTANCES.members; print('torch' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "False"
