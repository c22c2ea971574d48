"""Runs and suites with the names of harmbench 0.1 open, and mean what they meant."""

from __future__ import annotations

import json

import pytest

from harmbench.planning import suite as suites
from harmbench.report.plots import PLOTS
from harmbench.results import store
from harmbench.results._upgrade import MEASURES, PROTOCOL_FIELDS, upgraded_header
from harmbench.results.protocol import Protocol
from harmbench.results.records import Curve, Measurement, PhaseTotal, TrialRecord
from tests.support.samples import record, spec

MODERN = record(
    spec(protocol={"center_std": 0.3, "analysis_samples": 50}),
    invocation="c0ffee",
    group_size=3,
    measurements=(
        Measurement.of("center_mean_distance", 0.5, "1", "neither"),
        Measurement.of("gradient_norm_cv_backbone", 0.2, "1", "lower"),
    ),
    curves=(Curve(name="gradient_norm_backbone", unit="1", steps=(1,), values=(2.0,)),),
    phases=(PhaseTotal(phase="analyze", seconds=1.5, joules={"cpu": 2.0}, windows=1),),
)


def old_line(trial: TrialRecord = MODERN) -> dict:
    """The line that harmbench 0.1 wrote for a trial."""
    old_fields = {new: old for old, new in PROTOCOL_FIELDS.items()}
    old_measures = {new: old for old, new in MEASURES.items()}
    plain = trial.to_plain()
    plain["schema_version"] = 2
    plain["block"] = plain.pop("invocation")
    plain["together"] = plain.pop("group_size")
    plain["spec"]["protocol"] = {old_fields.get(k, k): v for k, v in plain["spec"]["protocol"].items()}
    for entry in (*plain["measurements"], *plain["curves"]):
        entry["name"] = old_measures.get(entry["name"], entry["name"])
    plain["phases"][0]["phase"] = "examine"
    return plain


def test_a_line_of_schema_2_opens_under_present_names():
    line = json.dumps(old_line())
    for old in ("centre_std", "examine_samples", "block", "together", "examine", "centre_mean_distance", "_trunk"):
        assert old in line
    assert TrialRecord.from_json(line).but(schema_version=3) == MODERN


def test_the_id_of_an_old_trial_stays():
    plain = old_line()
    plain["id"] = "0123456789ab"
    assert TrialRecord.from_json(json.dumps(plain)).id == "0123456789ab"


@pytest.mark.parametrize(
    ("old", "new"), [("block", "invocation"), ("together", "group_size")], ids=["block", "together"]
)
def test_a_line_with_both_names_of_a_field_is_refused(old, new):
    plain = old_line()
    plain[new] = plain[old]
    with pytest.raises(ValueError, match=f"'{old}' is the old name of '{new}'; leave it out"):
        TrialRecord.from_json(json.dumps(plain))


@pytest.mark.parametrize(("old", "new"), PROTOCOL_FIELDS.items(), ids=PROTOCOL_FIELDS)
def test_a_protocol_takes_an_old_name_alone(old, new):
    assert getattr(Protocol.model_validate({"steps": 3, old: 2}), new) == 2
    with pytest.raises(ValueError, match=f"'{old}' is the old name of '{new}'"):
        Protocol.model_validate({"steps": 3, old: 2, new: 2})


def test_a_header_has_present_names_in_protocol_and_vary():
    header = {"planned": 1, "suite": {"protocol": {"centre_std": 0.3}, "vary": {"centre_std": [0.1, 0.3]}}}
    suite = upgraded_header(header)["suite"]
    assert suite == {"protocol": {"center_std": 0.3}, "vary": {"center_std": [0.1, 0.3]}}


def test_a_run_of_old_names_opens(tmp_path):
    header = {"key": "k", "planned": 1, "suite": {"name": "old", "protocol": {"examine_samples": 50}}}
    (tmp_path / "run.json").write_text(json.dumps(header))
    (tmp_path / "trials.jsonl").write_text(json.dumps(old_line()) + "\n")
    block = {"block": "c0ffee", "device": "cpu", "environment": "here", "moment": "start", "started": "now"}
    (tmp_path / "blocks.jsonl").write_text(json.dumps(block) + "\n")
    run = store.read(tmp_path)
    assert run.unreadable_lines == 0
    assert run.header["suite"]["protocol"] == {"analysis_samples": 50}
    assert [call.invocation for call in run.invocations] == [trial.invocation for trial in run.trials] == ["c0ffee"]


SUITE = """
name: old
question: Does it open?
datasets: [digits]
backbones: [mlp]
metrics: [euclidean]
losses: [harmonic, cross_entropy]
seeds: 1
protocol: {steps: 3, centre_std: 0.2, seeds_together: 2}
vary: {centre_std: [0.1, 0.2]}
meters: [quality]
claims:
  - id: calm
    sentence: The gradient of the backbone is calmer.
    source: nobody
    heads: [euclidean + harmonic]
    measure: gradient_norm_cv_trunk
    rule: better
"""


def test_a_suite_of_old_names_loads(tmp_path):
    path = tmp_path / "old.yaml"
    path.write_text(SUITE)
    suite = suites.load(str(path))
    assert suite.protocol.center_std == 0.2
    assert suite.protocol.batched_seeds == 2
    assert suite.vary == {"center_std": (0.1, 0.2)}
    assert suite.claims[0].measure == "gradient_norm_cv_backbone"


def test_the_old_name_of_a_plots_part_is_read():
    assert str(PLOTS.parse("gradient_norm[part=trunk]")) == "gradient_norm[part=backbone]"
