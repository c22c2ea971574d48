"""Rows of a run: read as they were written, and nothing else is taken for one."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmbench.meters.quality import _QualityWatcher
from harmbench.results.records import Curve, EnergyFacts, Measurement, TrialRecord
from harmbench.runner.trial import SilentLink, run_trial
from tests.support.samples import job_of, record, spec

FINITE = st.floats(allow_nan=False, allow_infinity=False)
FACTS = EnergyFacts(component="cpu", method="model", scope="machine", period_s=0.5)


@given(st.lists(FINITE, max_size=5), st.text(), FINITE)
def test_a_record_is_read_as_it_was_written(values, text, seconds):
    measured = Measurement.of("cpu_joules", seconds, "J", "lower", text, origin="modelled", energy=FACTS)
    curve = Curve(name=text, unit="nat", steps=tuple(range(len(values))), values=(*values,))
    one = record(measurements=(measured,), curves=(curve,), reason=text, wall_seconds=seconds)
    line = one.to_json()
    assert "\n" not in line
    assert TrialRecord.from_json(line.encode()) == one == one.checked()
    assert TrialRecord.from_plain(json.loads(line)) == one
    assert json.loads(line) == json.loads(json.dumps(one.to_plain())), "an independent reader sees the same"


def changed(path: tuple[Any, ...], value: Any) -> str:
    """A good record's line with something else at one place."""
    line = json.loads(record().to_json())
    inner = line
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return json.dumps(line)


BROKEN = {
    "of another type": (("order",), "1"),
    "a number for a text": (("reason",), 1),
    "no such status": (("status",), "fine"),
    "an unknown field": (("color",), "red"),
    "an unknown field inside": (("measurements", 0, "color"), "red"),
    "no such direction": (("measurements", 0, "better"), "more"),
    "no such phase": (("phases", 0, "phase"), "lunch"),
    "no such component": (("phases", 0, "joules"), {"fan": 1.0}),
    "a missing value without a reason": (("measurements", 0, "value"), None),
    "a spec with another protocol": (("spec", "protocol", "lr"), -1),
    "a number for a spec": (("spec",), 5),
    "a number for a protocol": (("spec", "protocol"), 5),
    "a list for an origin": (("energy_origins", "cpu"), ["model"]),
    "an unknown field of the machine": (("machine",), {"before": 1, "after": 1, "fan": 3}),
}


@pytest.mark.parametrize(("path", "value"), BROKEN.values(), ids=BROKEN)
def test_what_is_no_record_is_not_taken_for_one(path, value):
    TrialRecord.from_json(changed(("order",), 1))
    with pytest.raises(ValueError, match="not a TrialRecord"):
        TrialRecord.from_json(changed(path, value))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"id": "abc"}', '{"id": NaN}'])
def test_what_is_no_json_of_one_is_refused(text):
    with pytest.raises(ValueError, match="not a TrialRecord"):
        TrialRecord.from_json(text)


UNWRITABLE = {
    "not a number": {"wall_seconds": math.nan},
    "infinite": {"wall_seconds": math.inf},
    "inside a curve": {"curves": (Curve(name="loss", unit="nat", steps=(1,), values=(math.nan,)),)},
    "of a measurement": {"measurements": (Measurement(name="a", value=math.inf, unit="1", better="lower"),)},
    "a list": {"caveats": ["busy"]},
    "of another type": {"order": "first"},
}


@pytest.mark.parametrize("fields", UNWRITABLE.values(), ids=UNWRITABLE)
def test_a_record_that_would_be_read_as_another_is_refused(fields):
    with pytest.raises(ValueError, match=r"TrialRecord"):
        record(**fields).checked()


def test_a_meter_that_gives_no_number_fails_its_trial(monkeypatch):
    wrong = Measurement(name="test_accuracy", value=math.nan, unit="1", better="higher")
    monkeypatch.setattr(_QualityWatcher, "measurements", lambda self, outcome: [wrong])
    order = job_of(spec(meters=("quality",), protocol={"steps": 3}))
    with pytest.raises(ValueError, match="test_accuracy: a missing value has origin 'missing'"):
        run_trial(order, SilentLink())
