"""The phase timer, with a clock and joules that are exact."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmbench.results.records import COMPONENTS, PHASES, BoardState, EnergyReading
from harmbench.runner.phase_timer import PhaseTimer

QUARTERS = st.integers(0, 4000).map(lambda n: n / 4)  # sums of these are exact
WINDOWS = st.lists(st.tuples(st.sampled_from(PHASES), QUARTERS, QUARTERS, QUARTERS), min_size=1, max_size=20)
STEADY = settings(derandomize=True, deadline=None, max_examples=60)


class Plug:
    """A clock and an energy counter that move on command only."""

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

    def synchronize(self) -> None:
        self.calls.append("synchronize")

    def pass_by(self, seconds: float, cpu: float = 0.0, gpu: float = 0.0) -> None:
        self.seconds += seconds
        self.joules["cpu"] += cpu
        self.joules["gpu"] += gpu

    def timer(self) -> PhaseTimer:
        return PhaseTimer(self.clock, self.read, self.synchronize)


def run(plug: Plug, timer: PhaseTimer, windows: Iterable[tuple]) -> None:
    for phase, seconds, cpu, gpu in windows:
        timer.enter(phase)
        plug.pass_by(seconds, cpu, gpu)
    timer.close()


def adds_up(kind: type[PhaseTimer], windows: list[tuple]) -> None:
    plug = Plug()
    timer = kind(plug.clock, plug.read, plug.synchronize)
    run(plug, timer, windows)
    totals = timer.totals()
    assert sum(t.seconds for t in totals) == plug.seconds - 1000, "seconds do not add up"
    for component in COMPONENTS:
        spent = sum(Fraction(t.joules[component]) for t in totals)
        assert spent == plug.joules[component] - 1000, f"joules of {component} do not add up"
    assert sum(t.windows for t in totals) == len(windows), "windows are not counted"


@STEADY
@given(WINDOWS)
def test_phases_add_up_to_the_whole(windows):
    adds_up(PhaseTimer, windows)


@STEADY
@given(WINDOWS)
def test_each_phase_has_its_own_windows(windows):
    plug = Plug()
    timer = plug.timer()
    run(plug, timer, windows)
    for total in timer.totals():
        own = [window for window in windows if window[0] == total.phase]
        assert (total.seconds, total.windows) == (sum(w[1] for w in own), len(own))
        assert total.joules == {"cpu": sum(w[2] for w in own), "gpu": sum(w[3] for w in own), "ram": 0.0}


class Overwrites(PhaseTimer):
    """Keeps the last window of a phase only."""

    def _boundary(self, phase):
        if self._phase is not None:
            self._accumulators.pop(self._phase, None)
        super()._boundary(phase)


class LeavesGaps(PhaseTimer):
    """Opens a window without closing the one before."""

    def enter(self, phase):
        self._phase = None
        super().enter(phase)


@pytest.mark.parametrize("wrong", [Overwrites, LeavesGaps])
def test_a_wrong_timer_is_caught(wrong):
    with pytest.raises(AssertionError, match="do not add up"):
        adds_up(wrong, [("train", 1.0, 2.0, 3.0), ("evaluate", 1.0, 0.0, 0.0), ("train", 1.0, 2.0, 3.0)])


def test_unknown_joules_poison_their_component_and_phase_only():
    plug = Plug()
    timer = plug.timer()
    timer.enter("load")
    plug.pass_by(1, cpu=5, gpu=7)
    timer.enter("train")
    plug.broken = {"gpu"}
    plug.pass_by(1, cpu=5, gpu=7)
    timer.enter("evaluate")
    plug.broken = set()
    plug.pass_by(1, cpu=5, gpu=7)
    timer.enter("analyze")
    plug.pass_by(1, cpu=5, gpu=7)
    timer.close()
    found = {t.phase: (t.joules["cpu"], t.joules["gpu"], t.seconds) for t in timer.totals()}
    assert found == {"load": (5, 7, 1), "train": (5, None, 1), "evaluate": (5, None, 1), "analyze": (5, 7, 1)}


def test_once_unknown_stays_unknown():
    plug = Plug()
    timer = plug.timer()
    plug.broken = {"cpu"}
    timer.enter("train")
    plug.broken = set()
    run(plug, timer, [("train", 1.0, 2.0, 3.0)] * 3)
    assert timer.total("train").joules == {"cpu": None, "gpu": 9.0, "ram": 0.0}


def test_phases_come_in_the_order_of_time_however_they_were_entered():
    plug = Plug()
    timer = plug.timer()
    run(plug, timer, [(phase, 1.0, 0.0, 0.0) for phase in reversed(PHASES)])
    assert [total.phase for total in timer.totals()] == list(PHASES)


def test_time_outside_of_windows_is_not_booked():
    plug = Plug()
    timer = plug.timer()
    timer.close()
    plug.pass_by(3, cpu=3)
    run(plug, timer, [("train", 1.0, 1.0, 0.0)])
    plug.pass_by(3, cpu=3)
    timer.close()
    assert [(t.phase, t.seconds, t.joules["cpu"], t.windows) for t in timer.totals()] == [("train", 1, 1, 1)]


def test_a_counter_that_runs_backwards_has_no_joules_and_a_reason():
    plug = Plug()
    timer = plug.timer()
    timer.enter("train")
    plug.pass_by(1, cpu=5, gpu=-5)
    timer.close()
    train = timer.total("train")
    assert (train.joules["gpu"], train.joules["cpu"]) == (None, 5.0)
    assert train.reasons["gpu"] == "an energy counter ran backwards, from 1000 to 995 J"


def reading(joules: float, **more) -> EnergyReading:
    return EnergyReading(joules={"cpu": joules}, **more)


def booked(readings: list[EnergyReading], seconds: float = 10.0):
    """The phase `train` of windows between these readings, each after so many seconds."""
    clock = iter(range(0, 1000, int(seconds)))
    timer = PhaseTimer(lambda: float(next(clock)), iter(readings).__next__, lambda: None)
    for _ in readings[1:]:
        timer.enter("train")
    timer.close()
    return timer.total("train"), timer


def test_a_gap_says_why_there_are_no_joules():
    train, _ = booked([reading(0), reading(5, gaps={"cpu": "it jumped"}), reading(9)])
    assert (train.joules["cpu"], train.reasons["cpu"]) == (None, "it jumped")


COVERED = {
    "all": ([0, 10, 20], 5.0, 1.0),
    "nearly all": ([0, 10, 19], 5.0, 0.95),
    "half": ([0, 10, 10], None, 0.5),
    "nothing": ([0, 0, 0], None, 0.0),
}


@pytest.mark.parametrize(("covered", "joules", "share"), COVERED.values(), ids=COVERED)
def test_coverage_is_the_share_of_the_seconds_and_too_little_is_no_figure(covered, joules, share):
    train, _ = booked([reading(j, covered_s={"cpu": c}) for j, c in zip((0.0, 2.0, 5.0), covered, strict=True)])
    assert (train.joules["cpu"], train.coverage["cpu"]) == (joules, share)
    assert ("shorter than the sampling period" in train.reasons.get("cpu", "")) == (joules is None)


def test_direct_joules_are_booked_beside_and_their_gaps_are_their_own():
    direct = [EnergyReading(joules={"cpu": j, "gpu": 7 * j}) for j in (1.0, 3.0, 6.0)]
    direct[2] = direct[2].model_copy(update={"gaps": {"gpu": "it froze"}})
    train, _ = booked([reading(j, direct=d) for j, d in zip((0.0, 2.5, 5.0), direct, strict=True)])
    assert (train.joules["cpu"], train.direct) == (5.0, {"cpu": 5.0, "gpu": None})
    assert train.direct_reasons == {"gpu": "it froze"}


def test_telemetry_is_the_span_of_what_was_seen():
    states = [
        BoardState(watts=100, celsius=40, throttling=("power cap",), other_processes=0),
        BoardState(watts=250, celsius=None, other_processes=2),
        BoardState(watts=200, celsius=70, throttling=("sync boost", "power cap")),
    ]
    _, timer = booked([reading(0, board=state) for state in states])
    telemetry = timer.telemetry()
    assert (telemetry.readings, telemetry.watts, telemetry.celsius, telemetry.sm_mhz) == (3, (100, 250), (40, 70), None)
    assert (telemetry.throttling, telemetry.other_processes) == (("power cap", "sync boost"), 2)


def test_every_boundary_synchronizes_first_and_reads_the_clock_last():
    plug = Plug()
    run(plug, plug.timer(), [("train", 1.0, 0.0, 0.0), ("evaluate", 1.0, 0.0, 0.0)])
    assert plug.calls == ["synchronize", "read", "clock"] * 3


def test_a_phase_can_be_read_while_another_runs():
    plug = Plug()
    timer = plug.timer()
    timer.enter("train")
    plug.pass_by(2, gpu=4)
    timer.enter("evaluate")
    assert (timer.total("train").seconds, timer.total("train").joules["gpu"]) == (2, 4)
