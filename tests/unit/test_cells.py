"""What a cell says of its trials, whichever of them lack a measure."""

from __future__ import annotations

from harmbench.analysis.cells import cells_of
from harmbench.analysis.collapse import is_collapsed
from harmbench.results.records import Measurement
from tests.support.samples import record, spec


def judged(seed: int, collapsed: float, status: str = "ok"):
    """A trial that lists its measures in an order of its own."""
    said = Measurement.of("collapsed", collapsed, "1", "lower")
    trial = record(spec(seed=seed), status)
    measurements = (*trial.measurements, said) if seed % 2 else (said, *reversed(trial.measurements))
    return trial.but(measurements=measurements)


def test_values_are_of_those_that_ended_well_and_in_their_order():
    trials = (judged(2, 0.0), judged(1, 0.0), judged(3, 0.0, "diverged"))
    (cell,) = cells_of(trials)
    assert list(cell.by_seed("throughput").items()) == [(2, 1000 / 3 + 2), (1, 1000 / 3 + 1)]
    assert list(cell.by_seed("joules")) == [2, 1]
    assert cell.by_seed("gpu_joules") == cell.by_seed("nobody's") == {}
    assert [m.name for m in cell.measurements_of("collapsed")] == ["collapsed"] * 3, "one that diverged says it, too"
    assert {m.reason for m in cell.measurements_of("gpu_joules")} == {"no GPU takes part"}
    assert cell.measurements_of("nobody's") == []
    assert set(cell.measures) == {m.name for trial in trials for m in trial.measurements}


def test_a_sound_cell_is_itself_and_another_leaves_out_what_collapsed():
    (cell,) = cells_of([judged(seed, 0.0) for seed in range(3)])
    assert cell.without_collapsed is cell
    assert cell.collapsed == 0
    trials = [judged(0, 1.0), judged(1, 0.0), judged(2, 1.0, "diverged")]
    (cell,) = cells_of(trials)
    assert cell.collapsed == 1 == sum(map(is_collapsed, trials))
    assert cell.without_collapsed.trials == tuple(trials[1:])
    assert list(cell.without_collapsed.by_seed("throughput")) == [1]
