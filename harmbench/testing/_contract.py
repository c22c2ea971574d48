"""Contracts and their results, for every room.

    Contract       a function of a component, which raises `ContractError` where the component breaks it
    Result         one contract on one component: passed, failed or skipped, with the reason
    judge          runs contracts and returns all results
    enforce        the same, and raises one `ContractError` that names every broken contract

A contract's name is the name of its function, and its first docstring line says what it demands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from harmbench.errors import ContractError
from harmbench.registry import Component

Status = Literal["passed", "failed", "skipped"]
Contract = Callable[..., None]
C = TypeVar("C", bound=Component)


class Skipped(Exception):  # noqa: N818 - it is no error
    """Raised by a contract that does not apply to a component. The message gives the reason."""


@dataclass(frozen=True)
class Result:
    """The result of one contract on one component.

    Attributes:
        component: canonical address, such as `minkowski[p=3]`.
        contract: name of the contract's function.
        status: `passed`, `failed`, or `skipped` where the contract does not apply.
        reason: why it failed or was skipped, in one line; empty where it passed.
    """

    component: str
    contract: str
    status: Status
    reason: str = ""


def require(condition: object, reason: str) -> None:
    """Raise `ContractError` with the reason unless the condition is true.

    Args:
        condition: what the contract demands.
        reason: what is wrong, with numbers.

    Raises:
        ContractError: where the condition is false.
    """
    if not condition:
        raise ContractError(reason)


def judge(component: Component, contracts: Iterable[Contract], *context: Any) -> tuple[Result, ...]:
    """Run contracts on one component. An exception in one contract does not end the others.

    Args:
        component: of any room.
        contracts: called with the component and the context.
        context: what the contracts need besides, such as the shape of a backbone's inputs.

    Returns:
        One result for each contract, in their order.
    """
    return tuple(_result(component, contract, context) for contract in contracts)


def _result(component: Component, contract: Contract, context: Sequence[Any]) -> Result:
    name = contract.__name__
    try:
        contract(component, *context)
    except Skipped as skipped:
        return Result(str(component), name, "skipped", str(skipped))
    except ContractError as broken:
        return Result(str(component), name, "failed", str(broken))
    except Exception as error:  # noqa: BLE001 - whatever a stranger's component raises is a broken contract
        line = " ".join(f"raises {type(error).__name__}: {error}".split())
        return Result(str(component), name, "failed", line)
    return Result(str(component), name, "passed")


def enforce(results: Iterable[Result]) -> tuple[Result, ...]:
    """The results, where no contract is broken.

    Raises:
        ContractError: naming every broken contract, with its reason.
    """
    judged = tuple(results)
    broken = [result for result in judged if result.status == "failed"]
    if broken:
        reasons = "; ".join(f"{result.component} {result.contract}: {result.reason}" for result in broken)
        raise ContractError(f"{len(broken)} of {len(judged)} contracts are broken: {reasons}")
    return judged


def components_of(component: C | type[C]) -> list[C]:
    """The named variants of a class, or the one component given.

    Raises:
        ContractError: for a class whose argument has no default, such as a path: give an instance of it.
    """
    if not isinstance(component, type):
        return [component]
    if component.argument is not None:
        raise ContractError(f"{component.name} needs its {component.argument}: give an instance in place of the class")
    return [component.from_options(variant) for variant in component.variants]


def is_written_as_it_is_read(component: Component) -> None:
    """Its address, read back, gives the same component. Its class has a docstring."""
    cls = type(component)
    require(cls.summary(), f"{cls.__name__} has no docstring; its first line is what `harmbench ls` shows")
    bracket = str(component).partition("[")[2].rstrip("]")
    options = dict(pair.split("=", 1) for pair in bracket.split(",") if pair)
    if cls.argument is not None:
        options[cls.argument] = str(getattr(component, cls.argument))
    again = cls.from_options({**cls.variants[0], **options})
    require(again == component, f"'{component}', read back, is '{again}' with other options")
