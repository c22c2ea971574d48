"""`harmbench bench heads`: what is measured, what is skipped and why, and what is written."""

from __future__ import annotations

import json

import pytest
import torch
from typer.testing import CliRunner

from harmbench.cli.bench import app
from harmbench.nn.distances import DISTANCES
from harmbench.runner import head_benchmark

SMALL = head_benchmark.Shape(64, 64, 32)
LARGE = head_benchmark.Shape(64, 64, 4096)  # larger than the problem whose memory is measured first


def _measure(
    address: str, *forms: head_benchmark.Form, shape: head_benchmark.Shape = SMALL
) -> list[head_benchmark.Cost | head_benchmark.SkippedHead]:
    return list(head_benchmark.measure([DISTANCES.parse(address)], [shape], forms, seconds=0.0))


def test_every_form_is_measured_with_its_spread():
    lines = _measure("manhattan", *head_benchmark.FORMS)
    assert [line.form for line in lines] == list(head_benchmark.FORMS)
    assert all(0 < line.low <= line.ratio <= line.high and line.rounds >= 5 for line in lines)


def test_cdist_is_left_out_where_torch_has_no_such_norm():
    assert [line.form for line in _measure("canberra", *head_benchmark.FORMS)] == ["fast", "reference"]


def test_a_formula_that_does_not_fit_is_skipped_with_the_memory_it_would_need(monkeypatch):
    monkeypatch.setattr(head_benchmark, "_free_memory", lambda device: 1e6)
    monkeypatch.setattr(head_benchmark, "_peak_memory", lambda step, device: 400.0)
    (line,) = _measure("canberra", "reference", shape=LARGE)
    assert line == head_benchmark.SkippedHead("64x64x4096", "canberra", "reference", "would need 1.6 GB")
    assert "| canberra | reference | would need 1.6 GB |" in head_benchmark.as_markdown([line], {})
    assert json.loads(head_benchmark.as_json([line], {}))["skipped"][0]["reason"] == "would need 1.6 GB"


def test_what_would_take_minutes_is_skipped_with_the_time_it_would_take(monkeypatch):
    monkeypatch.setattr(head_benchmark, "_seconds", lambda step, repeats, device: 2.0)
    monkeypatch.setattr(head_benchmark, "_peak_memory", lambda step, device: None)
    for form in ("cdist", "reference"):
        (line,) = _measure("manhattan", form, shape=LARGE._replace(classes=1 << 18))
        assert line == head_benchmark.SkippedHead("64x64x262144", "manhattan", form, "would take about 500 s")


def test_a_slow_step_of_a_fast_form_is_measured_three_times(monkeypatch):
    monkeypatch.setattr(head_benchmark, "_seconds", lambda step, repeats, device: 2.0)
    monkeypatch.setattr(head_benchmark, "_peak_memory", lambda step, device: None)
    fast, reference = _measure("manhattan", "fast", "reference")
    assert (fast.rounds, reference.rounds) == (3, 1)


@pytest.mark.skipif(
    head_benchmark._peak_memory(lambda: None, torch.device("cpu")) is None, reason="memory cannot be read here"
)
def test_the_memory_of_a_formula_is_foretold(monkeypatch):
    shape = head_benchmark.Shape(128, 256, 256)
    (cost,) = _measure("manhattan", "reference", shape=shape)
    monkeypatch.setattr(head_benchmark, "_free_memory", lambda device: 0.0)
    monkeypatch.setattr(head_benchmark, "_PROBE", 1 << 20)
    (skipped,) = _measure("manhattan", "reference", shape=shape)
    assert isinstance(cost, head_benchmark.Cost)
    assert isinstance(skipped, head_benchmark.SkippedHead)
    assert cost.extra_mb is not None
    assert cost.extra_mb / 2.5 < 1e3 * float(skipped.reason.split()[2]) < cost.extra_mb * 2.5


def test_the_command_writes_both_files_and_names_itself(tmp_path):
    out = tmp_path / "table"
    ended = CliRunner().invoke(
        app,
        ["heads", "--metrics", "cosine", "--shapes", "8x4x3", "--forms", "fast", "--seconds", "0", "--out", str(out)],
    )
    assert ended.exit_code == 0, ended.output
    assert "| cosine | fast |" in out.with_suffix(".md").read_text()
    assert json.loads(out.with_suffix(".json").read_text())["about"]["command"]


def test_the_papers_distances_have_one_name():
    said = CliRunner().invoke(
        app, ["heads", "--metrics", "paper", "--shapes", "8x8x4", "--forms", "fast", "--seconds", "0"]
    )
    assert said.exit_code == 0, said.output
    assert {address for address in map(str, DISTANCES.every_variant()) if f"| {address} | fast |" in said.output} == {
        str(distance) for distance in DISTANCES.every_variant() if distance.is_in_papers
    }
