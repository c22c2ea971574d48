"""The public contract of a meter (`harmbench.testing.meters`): every registered one, and the wrong ones it catches.

What each meter computes is tested in test_meters.py.
"""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch

from harmbench.errors import ContractError
from harmbench.meters import METERS, Meter, Step, Watcher
from harmbench.results.records import Curve, Measurement
from harmbench.testing import check_meter
from harmbench.testing._contract import Skipped
from harmbench.testing.meters import (
    CONTRACTS,
    gives_bounded_curves,
    gives_complete_measurements,
    gives_each_name_once,
    has_names_of_its_own,
    is_written_as_it_is_read,
    leaves_training_as_it_is,
    measures_without_having_watched,
    resumes_from_its_state,
)


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.__name__)
@pytest.mark.parametrize("meter", METERS.every_variant(), ids=str)
def test_contract(meter, contract):
    try:
        contract(meter)
    except Skipped as skipped:
        pytest.skip(str(skipped))


class Steps(Watcher):
    """Counts the steps it sees; a correct watcher."""

    def __init__(self) -> None:
        self.count = 0

    def on_step(self, step: Step) -> None:
        self.count += 1

    def state(self) -> dict[str, Any] | None:
        return {"count": self.count}

    def restore(self, state: dict[str, Any]) -> None:
        self.count = state["count"]

    def measurements(self, outcome):
        return [Measurement.of("steps_seen", float(self.count), "step", "neither")]


class DrawsNumbers(Steps):
    def on_step(self, step):
        torch.rand(1)


class ClipsWeights(Steps):
    def on_step(self, step):
        step.parameters[0].data.clamp_(-0.1, 0.1)


class StepsAgain(Steps):
    def on_step(self, step):
        for parameter in step.parameters:
            parameter.data.sub_(parameter.grad, alpha=1e-6)


class WithoutUnit(Steps):
    def measurements(self, outcome):
        return [Measurement.of("steps_seen", 1.0, "", "neither")]


class ZeroForMissing(Steps):
    def measurements(self, outcome):
        return [Measurement(name="steps_seen", value=0.0, unit="step", better="neither", origin="missing")]


class WithoutReason(Steps):
    def measurements(self, outcome):
        return [Measurement(name="steps_seen", value=None, unit="step", better="neither", origin="missing")]


class Silent(Steps):
    def measurements(self, outcome):
        return []


class NeedsASteps(Steps):
    def measurements(self, outcome):
        share = 1.0 if self.count else None
        origin = "measured" if self.count else "missing"
        return [Measurement(name="steps_seen", value=share, unit="1", better="neither", origin=origin)]


class Twice(Steps):
    def measurements(self, outcome):
        return super().measurements(outcome) * 2


class OfAnother(Steps):
    def measurements(self, outcome):
        return [Measurement.of("test_accuracy", 0.9, "1", "higher")]


class EndlessCurve(Steps):
    def curves(self):
        return [Curve(name="c", unit="1", steps=tuple(range(1, 4001)), values=(0.0,) * 4000)]


class Forgets(Steps):
    def restore(self, state):
        self.count = 0


class Wrong(Meter):
    """Hands out the watcher of its class attribute."""

    name: ClassVar[str] = "steps_seen"
    kind: ClassVar[type[Watcher]] = Steps

    def watcher(self) -> Watcher:
        return self.kind()


class HidesItsOption(Wrong):
    every: int = 1

    def shown_options(self):
        return {}


def handing_out(kind: type[Watcher]) -> Meter:
    return type(kind.__name__, (Wrong,), {"kind": kind, "__doc__": "Wrong.", "__module__": __name__})()


WRONG = [
    (handing_out(DrawsNumbers), leaves_training_as_it_is, "not bit-identical"),
    (handing_out(ClipsWeights), leaves_training_as_it_is, "not bit-identical"),
    (handing_out(StepsAgain), leaves_training_as_it_is, "not bit-identical with the meter: .* differs by"),
    (handing_out(WithoutUnit), gives_complete_measurements, "steps_seen has no unit"),
    (handing_out(ZeroForMissing), gives_complete_measurements, "value 0.0 of origin 'missing'"),
    (handing_out(WithoutReason), gives_complete_measurements, "steps_seen is missing without a reason"),
    (handing_out(Silent), gives_complete_measurements, "it measures nothing"),
    (handing_out(NeedsASteps), measures_without_having_watched, "steps_seen is missing without a reason"),
    (handing_out(Twice), gives_each_name_once, "gives steps_seen more than once"),
    (handing_out(OfAnother), has_names_of_its_own, "test_accuracy: the meter quality has measures of these names"),
    (handing_out(EndlessCurve), gives_bounded_curves, "c: 4000 points"),
    (handing_out(Forgets), resumes_from_its_state, "steps_seen is 24.0 after a restart, 48.0 without one"),
    (HidesItsOption(every=2), is_written_as_it_is_read, "read back"),
]


@pytest.mark.parametrize(
    ("meter", "contract", "reason"), WRONG, ids=[f"{type(meter).__name__}-{c.__name__}" for meter, c, _ in WRONG]
)
def test_wrong_meter_is_caught(meter, contract, reason):
    with pytest.raises(ContractError, match=reason):
        contract(meter)


def test_each_contract_has_a_wrong_meter():
    assert {contract for _, contract, _ in WRONG} == set(CONTRACTS)


def test_the_meter_that_the_wrong_ones_come_from_is_right():
    assert {result.status for result in check_meter(Wrong())} == {"passed"}
