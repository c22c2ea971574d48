"""`harmbench check`: how a component is found, and what is shown."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from harmbench.cli import app
from harmbench.errors import ContractError, DatasetUnavailableError, HarmbenchError, UnknownNameError
from harmbench.testing import Result, check_distance
from harmbench.testing._contract import enforce, judge


def check(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["check", *arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0
    return done.output


@pytest.mark.slow
def test_a_bare_name_stands_for_all_variants() -> None:
    assert "token_mlp in backbones: " in check("token_mlp")
    assert "canberra (3 variants) in metrics: " in check("canberra")


def test_options_choose_one_variant() -> None:
    assert "mlp[hidden=8] in backbones: " in check("mlp[hidden=8]")


def test_what_passed_is_listed_when_asked_for() -> None:
    assert "mlp[hidden=8]" in check("mlp[hidden=8]", "--all").splitlines()[1]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["euclidian"], UnknownNameError, "unknown component 'euclidian'; did you mean 'euclidean'"),
        (["euclidean", "--room", "losses"], UnknownNameError, "unknown component 'euclidean'"),
        (["euclidean", "--room", "metric"], UnknownNameError, "unknown room 'metric'; did you mean 'metrics'"),
        (["mnist", "--data-dir", "nowhere"], DatasetUnavailableError, "data set 'mnist' is not in nowhere"),
    ],
)
def test_what_cannot_be_checked_is_one_line(arguments: list[str], error: type[HarmbenchError], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        check(*arguments)
    assert "\n" not in str(caught.value)


def test_a_contract_that_raises_is_a_broken_one() -> None:
    def divides(component: object) -> None:
        raise ZeroDivisionError("by\nzero")

    from harmbench.nn.losses import LOSSES

    (result,) = judge(LOSSES.parse("harmonic"), [divides])
    assert result == Result("harmonic", "divides", "failed", "raises ZeroDivisionError: by zero")
    with pytest.raises(ContractError, match="1 of 1 contracts are broken: harmonic divides: raises ZeroDivisionError"):
        enforce([result])


def test_the_error_is_an_assertion_too() -> None:
    assert issubclass(ContractError, AssertionError)
    assert issubclass(ContractError, HarmbenchError)


def test_a_class_that_needs_an_argument_needs_an_instance() -> None:
    from harmbench.backbones import BACKBONES
    from harmbench.testing import check_backbone

    with pytest.raises(ContractError, match="timm needs its model: give an instance"):
        check_backbone(BACKBONES.members["timm"])


def test_a_right_component_gives_its_results() -> None:
    from harmbench.nn.distances import DISTANCES

    results = check_distance(DISTANCES.members["hamming"])
    assert {result.component for result in results} == {f"hamming[variant={v}]" for v in ("soft", "gumbel", "hard")}
