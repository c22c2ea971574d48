"""The phase ledger, with a clock and joules that are exact."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmbench.errors import MeasurementError
from harmbench.records import COMPONENTS, PHASES, EnergyReading
from harmbench.runner.ledger import PhaseLedger

QUARTERS = st.integers(0, 4000).map(lambda n: n / 4)  # sums of these are exact
WINDOWS = st.lists(st.tuples(st.sampled_from(PHASES), QUARTERS, QUARTERS, QUARTERS), min_size=1, max_size=20)
STEADY = settings(derandomize=True, deadline=None, max_examples=60)


class Plug:
    """A clock and a meter that only move when told."""

    def __init__(self, start: float = 1000.0) -> None:
        self.seconds, self.joules = start, dict.fromkeys(COMPONENTS, start)
        self.broken: set[str] = set()
        self.calls: list[str] = []

    def clock(self) -> float:
        self.calls.append("clock")
        return self.seconds

    def read(self) -> EnergyReading:
        self.calls.append("read")
        return EnergyReading(joules={c: None if c in self.broken else self.joules[c] for c in COMPONENTS})

    def synchronise(self) -> None:
        self.calls.append("synchronise")

    def pass_by(self, seconds: float, cpu: float = 0.0, gpu: float = 0.0) -> None:
        self.seconds += seconds
        self.joules["cpu"] += cpu
        self.joules["gpu"] += gpu

    def ledger(self) -> PhaseLedger:
        return PhaseLedger(self.clock, self.read, self.synchronise)


def run(plug: Plug, ledger: PhaseLedger, windows: Iterable[tuple]) -> None:
    for phase, seconds, cpu, gpu in windows:
        ledger.enter(phase)
        plug.pass_by(seconds, cpu, gpu)
    ledger.close()


def adds_up(kind: type[PhaseLedger], windows: list[tuple]) -> None:
    plug = Plug()
    ledger = kind(plug.clock, plug.read, plug.synchronise)
    run(plug, ledger, windows)
    totals = ledger.totals()
    assert sum(t.seconds for t in totals) == plug.seconds - 1000, "seconds do not add up"
    for component in COMPONENTS:
        spent = sum(Fraction(t.joules[component]) for t in totals)
        assert spent == plug.joules[component] - 1000, f"joules of {component} do not add up"
    assert sum(t.windows for t in totals) == len(windows), "windows are not counted"


@STEADY
@given(WINDOWS)
def test_phases_add_up_to_the_whole(windows):
    adds_up(PhaseLedger, windows)


@STEADY
@given(WINDOWS)
def test_each_phase_has_its_own_windows(windows):
    plug = Plug()
    ledger = plug.ledger()
    run(plug, ledger, windows)
    for total in ledger.totals():
        own = [window for window in windows if window[0] == total.phase]
        assert (total.seconds, total.windows) == (sum(w[1] for w in own), len(own))
        assert total.joules == {"cpu": sum(w[2] for w in own), "gpu": sum(w[3] for w in own), "ram": 0.0}


class Overwrites(PhaseLedger):
    """Keeps the last window of a phase only."""

    def _border(self, phase):
        if self._phase is not None:
            self._accounts.pop(self._phase, None)
        super()._border(phase)


class LeavesGaps(PhaseLedger):
    """Opens a window without closing the one before."""

    def enter(self, phase):
        self._phase = None
        super().enter(phase)


@pytest.mark.parametrize("wrong", [Overwrites, LeavesGaps])
def test_a_wrong_ledger_is_caught(wrong):
    with pytest.raises(AssertionError, match="do not add up"):
        adds_up(wrong, [("train", 1.0, 2.0, 3.0), ("evaluate", 1.0, 0.0, 0.0), ("train", 1.0, 2.0, 3.0)])


def test_unknown_joules_poison_their_component_and_phase_only():
    plug = Plug()
    ledger = plug.ledger()
    ledger.enter("load")
    plug.pass_by(1, cpu=5, gpu=7)
    ledger.enter("train")
    plug.broken = {"gpu"}
    plug.pass_by(1, cpu=5, gpu=7)
    ledger.enter("evaluate")
    plug.broken = set()
    plug.pass_by(1, cpu=5, gpu=7)
    ledger.enter("examine")
    plug.pass_by(1, cpu=5, gpu=7)
    ledger.close()
    found = {t.phase: (t.joules["cpu"], t.joules["gpu"], t.seconds) for t in ledger.totals()}
    assert found == {"load": (5, 7, 1), "train": (5, None, 1), "evaluate": (5, None, 1), "examine": (5, 7, 1)}


def test_once_unknown_stays_unknown():
    plug = Plug()
    ledger = plug.ledger()
    plug.broken = {"cpu"}
    ledger.enter("train")
    plug.broken = set()
    run(plug, ledger, [("train", 1.0, 2.0, 3.0)] * 3)
    assert ledger.total("train").joules == {"cpu": None, "gpu": 9.0, "ram": 0.0}


def test_phases_come_in_the_order_of_time_however_they_were_entered():
    plug = Plug()
    ledger = plug.ledger()
    run(plug, ledger, [(phase, 1.0, 0.0, 0.0) for phase in reversed(PHASES)])
    assert [total.phase for total in ledger.totals()] == list(PHASES)


def test_what_passes_outside_of_windows_is_nobodys():
    plug = Plug()
    ledger = plug.ledger()
    ledger.close()
    plug.pass_by(3, cpu=3)
    run(plug, ledger, [("train", 1.0, 1.0, 0.0)])
    plug.pass_by(3, cpu=3)
    ledger.close()
    assert [(t.phase, t.seconds, t.joules["cpu"], t.windows) for t in ledger.totals()] == [("train", 1, 1, 1)]


def test_a_counter_that_runs_backwards_is_an_error():
    plug = Plug()
    ledger = plug.ledger()
    ledger.enter("train")
    plug.pass_by(1, gpu=-5)
    with pytest.raises(MeasurementError, match="an energy counter ran backwards, from 1000 to 995 J"):
        ledger.close()


def test_every_border_synchronises_first_and_reads_the_clock_last():
    plug = Plug()
    run(plug, plug.ledger(), [("train", 1.0, 0.0, 0.0), ("evaluate", 1.0, 0.0, 0.0)])
    assert plug.calls == ["synchronise", "read", "clock"] * 3


def test_a_phase_can_be_asked_for_while_another_runs():
    plug = Plug()
    ledger = plug.ledger()
    ledger.enter("train")
    plug.pass_by(2, gpu=4)
    ledger.enter("evaluate")
    assert (ledger.total("train").seconds, ledger.total("train").joules["gpu"]) == (2, 4)
