"""A column's numbers are in the unit of its heading: the value of the record times the unit's factor."""

from __future__ import annotations

import pytest

from harmbench.report.charts import Dots
from harmbench.report.formats import Report
from harmbench.report.plots import PLOTS
from harmbench.results.records import Measurement
from harmbench.results.store import RunData
from tests.support.runs import composed, run_of
from tests.support.samples import record, spec

FACTORS = {  # from the unit of the record, to each unit that a heading may name
    "s": {"s": 1.0, "ms": 1e3, "µs": 1e6},
    "B": {"B": 1.0, "MB": 1e-6, "GB": 1e-9},
    "FLOP": {"MFLOP/step": 1e-6, "GFLOP/step": 1e-9},
    "J/token": {"J/token": 1.0, "mJ/token": 1e3},
    "1": {"": 1.0, "%": 100.0, "% of step": 100.0, "% of readings": 100.0},
    "nat": {"nat": 1.0},
}
COLUMNS = {  # measure: its unit, a value of three digits, a word of the heading
    "step_seconds_p50": ("s", 0.0125, "p50"),
    "step_seconds_p95": ("s", 0.0236, "p95"),
    "step_seconds_p99": ("s", 0.0347, "p99"),
    "peak_memory": ("B", 2.58e8, "memory"),
    "flops_per_step": ("FLOP", 3.69e8, "operations"),
    "head_flops_per_step": ("FLOP", 1.47e8, "of the head"),
    "cpu_joules_per_token": ("J/token", 0.00458, "CPU energy"),
    "gpu_joules_per_token": ("J/token", 0.00569, "GPU energy"),
    "data_wait_share": ("1", 0.0671, "wait"),
    "mfu": ("1", 0.425, "MFU"),
    "test_macro_f1": ("1", 0.814, "F1"),
    "test_calibration_error": ("1", 0.0362, "calibration"),
    "test_nll": ("nat", 0.738, "NLL"),
    "gradient_spike_rate": ("1", 0.0152, "spikes"),
    "nonfinite_step_share": ("1", 0.0243, "non-finite"),
    "clipped_step_share": ("1", 0.0391, "clipped"),
    "pca_variance_1": ("1", 0.617, "PC 1"),
    "class_separation": ("1", 0.326, "between classes"),
    "near_zero_weight_share": ("1", 0.0784, "near-zero"),
}


@pytest.fixture(scope="module")
def run() -> RunData:
    """Three seeds of two heads, all with the same values."""
    values = [Measurement.of(name, value, unit, "lower") for name, (unit, value, _) in COLUMNS.items()]
    trials = [spec(*head, seed) for head in ((None, "cross_entropy"), ("cosine", "harmonic")) for seed in range(3)]
    records = [record(trial, order=order) for order, trial in enumerate(trials)]
    return run_of([one.but(measurements=(*one.measurements, *values)) for one in records])


@pytest.fixture(scope="module")
def report(run: RunData) -> Report:
    return composed(run)


@pytest.mark.parametrize("measure", COLUMNS)
def test_numbers_are_in_the_unit_of_their_heading(measure: str, report: Report) -> None:
    unit, value, word = COLUMNS[measure]
    tables = [table for section in report.sections for table in section.tables]
    shown = {
        (column.unit, row[place])
        for table in tables
        for place, column in enumerate(table.columns)
        if word in column.label and column.unit in FACTORS[unit]
        for row in table.rows
    }
    expected = {(heading, value * FACTORS[unit][heading]) for heading, _ in shown}
    numbers = {(heading, float(text.split(" ± ")[0].replace(",", ""))) for heading, text in shown if text[:1].isdigit()}
    assert numbers, f"no column {word!r}"
    for heading, number in expected:
        assert any(where == heading and one == pytest.approx(number, rel=0.01) for where, one in numbers), shown


def test_a_step_time_of_the_radar_is_in_its_unit(run: RunData) -> None:
    figures = PLOTS.parse("radar").figures(run)
    (panel,) = [p for f in figures if isinstance(f, Dots) for p in f.panels if p.title.startswith("step time")]
    assert panel.axis in FACTORS["s"]
    for dot in panel.dots:
        assert dot.mean == pytest.approx(0.0125 * FACTORS["s"][panel.axis])
