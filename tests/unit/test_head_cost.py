"""Predicted costs of heads: against the committed measurements, and what a plan says of them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from harmbench.backbones.timm import _FEATURES
from harmbench.nn.distances import DISTANCES
from harmbench.nn.kernels.operators import OPERATORS
from harmbench.planning import head_cost
from harmbench.planning.head_cost import PlannedHead
from harmbench.runner.head_benchmark import Shape
from tests.support.paths import DATA, ROOT

TABLES = ROOT / "benchmarks"
MEASURED = [
    line
    for table in ("heads", "vocabulary")
    for line in json.loads((TABLES / f"{table}.json").read_text())["costs"]
    if line["form"] == "fast" and line["high"] < 4 * line["low"]  # else the machine was doing something else
]


@pytest.mark.parametrize("line", MEASURED, ids=lambda line: f"{line['distance']}-{line['shape']}")
def test_predictions_are_within_a_factor_of_two_of_what_was_measured(line):
    shape = Shape.parse(line["shape"])
    found = head_cost.of_head(DISTANCES.parse(line["distance"]), shape.rows, shape.features, shape.classes)
    assert found is not None, "has no constant: fit one to benchmarks/heads.json in harmbench/planning/head_cost.py"
    assert line["ratio"] / 2 < found.ratio < line["ratio"] * 2, (
        "fit the constants of harmbench/planning/head_cost.py again"
    )
    assert found.megabytes < 4 * max(line["extra_mb"], 10)


def test_every_distance_has_a_prediction():
    missing = [str(d) for d in DISTANCES.every_variant() if head_cost.of_head(d, 64, 512, 100) is None]
    assert missing == [], "measure with `harmbench bench heads`, and add its cost to harmbench/nn/kernels/operators.py"


def test_an_unmeasured_kernel_is_said_and_not_guessed(monkeypatch):
    canberra = OPERATORS["canberra"]
    monkeypatch.setitem(OPERATORS, "canberra", replace(canberra, general=canberra.general._replace(cost=None)))
    assert head_cost.of_head(DISTANCES.parse("canberra"), 64, 2048, 1000) is None
    (line,) = head_cost.warnings([PlannedHead("b", "d", "canberra", 64, 2048, 1000)])
    assert line == "b on d (2048 features, 1000 classes): cost not measured, so not predicted: canberra"


def test_dear_heads_are_named_with_their_factor():
    cells = [
        PlannedHead("b", "d", head, 64, 2048, 1000) for head in ("manhattan", "canberra", "mahalanobis[variant=full]")
    ]
    canberra, mahalanobis = head_cost.warnings(cells)
    assert canberra == "b on d (2048 features, 1000 classes): head about 3 times the linear head's time: canberra"
    assert mahalanobis.endswith("head about 30 times the linear head's time: mahalanobis[variant=full]")


SILENT = {
    "few classes": PlannedHead("mlp", "digits", "canberra", 64, 256, 10),
    "a head as cheap as a linear one": PlannedHead("b", "d", "euclidean", 64, 2048, 1000),
    "unknown features, few classes": PlannedHead("timm:rare", "digits", "canberra", 64, None, 10),
}


@pytest.mark.parametrize("cell", SILENT.values(), ids=SILENT)
def test_nothing_is_said_of_heads_that_cost_little(cell):
    assert head_cost.warnings([cell]) == []


def test_what_is_not_known_is_said():
    (line,) = head_cost.warnings([PlannedHead("timm:rare", "d", "canberra", 64, None, 1000)])
    assert line.endswith("costs of heads not predicted: timm:rare tells its features only when it is loaded")
    (line,) = head_cost.warnings([PlannedHead("mlp", "mine", "canberra", 64, 4096, None)])
    assert line.endswith("mine tells its classes only when it is loaded")


def test_without_kernels_the_formula_is_dear():
    manhattan = DISTANCES.parse("manhattan")
    kernels, formula = (head_cost.of_head(manhattan, 64, 512, 1000, has_kernels=has) for has in (True, False))
    assert kernels.form == "native"
    assert formula.form == "chunked"
    assert formula.ratio > 20 * kernels.ratio
    *_, note = head_cost.warnings([PlannedHead("b", "d", "canberra", 64, 2048, 1000)], "cuda")
    assert "measured on a CPU" in note


@pytest.mark.parametrize("model", _FEATURES)
def test_known_features_of_timm_models_are_theirs(model):
    import torch

    from harmbench.backbones.timm import _import_timm

    with torch.device("meta"):
        network = _import_timm().create_model(model, num_classes=0)
        assert network(torch.zeros(1, 3, 224, 224)).shape == (1, _FEATURES[model])


def test_a_plan_warns_of_expensive_heads_over_a_vocabulary():
    """Rows are the tokens that are asked for, classes the vocabulary."""
    from harmbench.planning import plan, suite
    from harmbench.planning.expensive_heads import expensive_heads

    content = {
        "name": "language",
        "datasets": ["stdlib[length=256]"],
        "backbones": ["gpt2[size=paper]", "bert[size=paper]"],
        "metrics": ["euclidean", "manhattan", "minkowski[p=2.5]"],
        "losses": ["harmonic"],
        "protocol": {"steps": 1, "batch_size": 1},  # one row would be too few for a word
    }
    planned = plan.expand(suite.check(content, {}, "here"), "cpu", {})
    lines = [line for line in expensive_heads(planned, DATA) if "not predicted" not in line]
    assert [line.partition(":")[0] for line in lines] == [
        f"{backbone} on stdlib[length=256] (768 features, 4096 classes)" for backbone in content["backbones"]
    ]
    assert all(line.endswith("times the linear head's time: minkowski[p=2.5]") for line in lines)
    assert plan.rows_of_step("stdlib[length=256]", "bert", 2) == 2 * 38
