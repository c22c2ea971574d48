"""Grokking and data efficiency: lasting accuracy, censored gaps, axes over the protocol, and their tables."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from harmbench.analysis import claims
from harmbench.analysis.cells import cells_of
from harmbench.analysis.comparisons import difference, watched_for
from harmbench.analysis.measures import find_measure
from harmbench.analysis.stats import Signs
from harmbench.datasets import DATASETS
from harmbench.errors import SuiteError
from harmbench.meters import METERS
from harmbench.meters.grokking import lasting
from harmbench.planning import plan, suite
from harmbench.report import conditions_of, grokking
from harmbench.results.records import Measurement
from harmbench.runner.model import build, derived_seed
from harmbench.runner.prediction import predict
from tests.support.paths import DATA
from tests.support.samples import job_of, point, record, spec
from tests.support.training import run_one, train

STEPS = {"steps": 60, "evaluations": 6, "weight_decay": 0.5, "lr": 0.01}
SUITE = {
    "name": "axes",
    "datasets": ["modular_addition"],
    "backbones": ["token_mlp"],
    "metrics": ["euclidean"],
    "losses": ["cross_entropy", "harmonic"],
    "seeds": 2,
    "protocol": {"steps": 60},
    "vary": {"weight_decay": [0, 0.5]},
}


# Lasting accuracy.


def by_search(values: list[float], threshold: float) -> int | None:
    return next((i for i in range(len(values)) if min(values[i:]) >= threshold), None)


@pytest.mark.parametrize("seed", range(20))
def test_lasting_is_the_first_from_which_all_are_above(seed):
    values = np.random.default_rng(seed).choice([0.5, 0.9, 0.95, 1.0], size=6, p=[0.2, 0.2, 0.3, 0.3]).tolist()
    assert lasting(values, 0.9) == by_search(values, 0.9)


def first_passage(values: list[float], threshold: float) -> int | None:
    """What a curve reaches and loses again, as if it were kept."""
    return next((i for i, value in enumerate(values) if value >= threshold), None)


def test_a_first_passage_would_be_caught():
    assert first_passage([0.95, 0.5], 0.9) != by_search([0.95, 0.5], 0.9)


def watched_training():
    trial = spec("euclidean", dataset="modular_addition", backbone="token_mlp", protocol=STEPS)
    splits = DATASETS.parse("modular_addition").load(DATA, False, derived_seed(trial, "share"))
    model = build(trial, splits.input_shape, splits.num_classes)
    watcher = METERS.parse("grokking[threshold=0.1]").watcher()
    trained = train(trial, model, splits, [watcher])
    return trial, splits, model, watcher, trained


def test_grokking_watches_a_real_training():
    torch.set_num_threads(1)
    trial, splits, model, watcher, trained = watched_training()
    found = {m.name: m.value for m in watcher.measurements(None)}
    curves = {curve.name: curve for curve in watcher.curves()}
    right = (
        predict(model, splits.train_inputs, splits.train_targets, trial.protocol).logits.argmax(1)
        == splits.train_targets
    )
    norm = math.sqrt(sum(p.detach().double().square().sum().item() for p in model.parameters()))
    rows = model.backbone.embedding.weight.detach().numpy().astype(float)
    values = np.linalg.svd(rows - rows.mean(0), compute_uv=False) ** 2
    assert found["train_accuracy"] == pytest.approx(right.double().mean().item())
    assert found["weight_norm"] == pytest.approx(norm, rel=1e-6)
    assert curves["embedding_variance_2"].values[-1] == pytest.approx(values[:2].sum() / values.sum(), rel=1e-6)
    assert curves["train_accuracy"].steps == tuple(p.step for p in trained.curve) == (10, 20, 30, 40, 50, 60)
    validated = [p.validation_accuracy for p in trained.curve]
    for name, accuracies in {"train": curves["train_accuracy"].values, "validation": validated}.items():
        first = by_search(list(accuracies), 0.1)
        assert found[f"steps_to_lasting_{name}"] == (None if first is None else 10 * (first + 1))


def test_a_trial_records_structure_and_grokking():
    meters = ("quality", "grokking", "structure")
    run = run_one(
        job_of(spec("euclidean", dataset="modular_addition", backbone="token_mlp", protocol=STEPS, meters=meters))
    )
    assert 0 < run.value("embedding_variance_2") < 1
    assert run.value("circle_radius_cv") > 0
    assert run.value("lattice_defect") is None
    assert {curve.name for curve in run.curves} == {"train_accuracy", "weight_norm", "embedding_variance_2"}


# Runs that never get there.


def grokked(seed: int, train: float | None, validation: float | None, head: str | None = None, last: int = 100, **more):
    """A trial that had lasting accuracies at these steps, or never."""
    gap = None if train is None or validation is None else validation - train
    values = (
        Measurement.of("test_accuracy", more.pop("accuracy", 0.9), "1", "higher"),
        Measurement.of("steps_to_lasting_train", train, "step", "lower", "never" if train is None else ""),
        Measurement.of("steps_to_lasting_validation", validation, "step", "lower", "" if validation else "never"),
        Measurement.of("grokking_gap", gap, "step", "lower", "never" if gap is None else ""),
    )
    trial = spec(head, "harmonic" if head else "cross_entropy", seed, dataset=more.pop("dataset", "modular_addition"))
    trial = trial.but(setting=more.pop("setting", ""))
    return record(trial, measurements=values, curve=(point(10), point(last)), **more)


def test_a_trial_that_never_gets_there_is_later_than_it_was_watched():
    assert watched_for(grokked(0, 40, None), "steps_to_lasting_validation") == 100
    assert watched_for(grokked(0, 40, None), "grokking_gap") == 60
    assert watched_for(grokked(0, None, None), "grokking_gap") == -math.inf
    diverged = grokked(0, None, None).but(status="diverged")
    assert watched_for(diverged, "grokking_gap") == math.inf


def test_medians_count_those_that_never_got_there():
    (cell,) = cells_of([grokked(seed, 10, step) for seed, step in enumerate([40, 50, None, None, None])])
    found = grokking.time_to(cell, "steps_to_lasting_validation")
    assert (found.value, found.reached, found.size) == (None, 2, 5)
    assert grokking.formatted(found) == "later (2/5)"
    (cell,) = cells_of([grokked(seed, 10, step) for seed, step in enumerate([40, 50, 60, None, None])])
    assert grokking.time_to(cell, "steps_to_lasting_validation").value == 60
    assert grokking.time_to(cell, "grokking_gap").value == 50


def test_gaps_are_compared_by_difference_and_by_signs_where_some_never_end():
    ours = [grokked(seed, 10, 10, "euclidean") for seed in range(6)]
    theirs = [grokked(seed, 10, 60) for seed in range(6)]
    never = [grokked(seed, 10, None if seed == 5 else 60) for seed in range(6)]
    measure = find_measure(ours, "grokking_gap")
    (candidate,), (baseline,), (censored,) = cells_of(ours), cells_of(theirs), cells_of(never)
    assert measure.scale == "difference"
    assert difference(candidate, baseline, measure).evidence.interval().mean == -50
    found = difference(candidate, censored, measure)
    assert isinstance(found.evidence, Signs)
    assert found.p_below(0) == pytest.approx(0.5**6)


def test_a_claim_on_the_gap_is_decided():
    trials = [grokked(s, 10, 10, "euclidean") for s in range(6)] + [grokked(s, 10, None) for s in range(6)]
    claim = {"id": "gap", "sentence": "s", "source": "s", "measure": "grokking_gap", "rule": "better"}
    stated = suite.check_claims([{**claim, "heads": "euclidean + harmonic"}], "here")
    (verdict,) = claims.judge(stated, trials)
    assert verdict.verdict == "supported"
    assert "6 of 6 pairs" in verdict.decisive.text


# How much data.


def shares(accuracies: dict[float, list[float]]):
    return [
        grokked(
            seed,
            10,
            20,
            dataset=f"lattice[train_fraction={share:g}]",
            accuracy=accuracy,
            sizes={"train": int(1000 * share)},
        )
        for share, row in accuracies.items()
        for seed, accuracy in enumerate(row)
    ]


def test_data_needed_is_a_median_over_seeds_with_those_that_never_get_there():
    cells = cells_of(shares({0.1: [0.99, 0.2, 0.1], 0.2: [0.5, 0.99, 0.1], 0.4: [1.0, 1.0, 0.3]}))
    by_share = {grokking.train_fraction(cell.dataset)[1]: cell for cell in cells}
    found = grokking.data_needed(by_share, 0.9)
    assert (found.value, found.reached, found.size) == (0.4, 2, 3)  # seed 0 does not last at 0.1
    assert grokking.data_needed(by_share, 0.9, in_samples=True).value == 400
    (table,) = grokking.data_tables(cells)
    assert table.rows[0][2].endswith("(2/3)")
    assert not table.rows[0][2].startswith("≤")


def test_the_smallest_share_is_a_bound_and_a_head_without_every_share_needs_none():
    found = shares({0.1: [0.99, 0.99], 0.2: [0.99, 0.99]})
    other = [trial.but(spec=trial.spec.but(loss="distance_softmax")) for trial in shares({0.2: [0.99, 0.99]})]
    (table,) = grokking.data_tables(cells_of([*found, *other]))
    needed = {row[1]: row[2:4] for row in table.rows}
    assert needed.pop("distance_softmax") == ("n/a", "n/a")  # and not 0.2, beside heads that were run at less
    ((share, samples),) = needed.values()
    assert share.startswith("≤ 0.1 ")
    assert samples.startswith("≤ ")


def test_cells_are_grouped_once_and_never_those_of_other_trials():
    some, others = (tuple(shares({share: [0.9, 0.8]})) for share in (0.1, 0.2))
    cells = cells_of(some)
    assert cells_of(some)[0] is cells[0]
    assert [cell.dataset for cell in cells_of(others)] == ["lattice[train_fraction=0.2]"]
    assert cells_of(list(some)) == cells
    cells.clear()  # what a caller does with its list is its own affair
    assert len(cells_of(some)) == 1


# Axes over the protocol.


def test_what_a_suite_varies_is_an_axis():
    expanded = plan.expand(suite.check(SUITE, {}, "here"), "cpu", {})
    assert len(expanded.trials) == 2 * 2 * 2
    assert [cell[2:] for cell in expanded.cells] == [
        (head, loss, setting)
        for setting in ("weight_decay=0", "weight_decay=0.5")
        for head, loss in (("linear", "cross_entropy"), ("euclidean", "harmonic"))
    ]
    assert all(t.setting == f"weight_decay={t.protocol.weight_decay:g}" for t in expanded.trials)


def test_a_setting_is_a_name_and_no_other_trial():
    single = {**SUITE, "vary": {}, "protocol": {"steps": 60, "weight_decay": 0.5}}
    alone, among = (plan.expand(suite.check(s, {}, "here"), "cpu", {}) for s in (single, SUITE))
    assert {t.id for t in alone.trials} < {t.id for t in among.trials}


@pytest.mark.parametrize(
    ("vary", "said"),
    [
        ({"weight_decays": [0, 1]}, "the protocol has no field weight_decays; did you mean 'weight_decay'?"),
        ({"weight_decay": [0, 0.0]}, "weight_decay has a value twice"),
        ({"weight_decay": []}, "weight_decay has no values"),
        ({"weight_decay": [-1]}, "greater than or equal to 0"),
        ({"epochs": [1, 2]}, "exactly one budget"),
    ],
)
def test_a_wrong_axis_is_one_line(vary, said):
    with pytest.raises(SuiteError, match="vary") as caught:
        suite.check({**SUITE, "vary": vary}, {}, "here")
    assert said in str(caught.value)


def test_heads_are_compared_at_the_same_setting():
    runs = [
        grokked(seed, 10, 20, head, setting=f"weight_decay={decay}", accuracy=accuracy + 0.001 * seed)
        for seed in range(4)
        for decay, head, accuracy in ((0, None, 0.3), (0, "euclidean", 0.9), (1, None, 0.9), (1, "euclidean", 0.3))
    ]
    verdicts = {
        condition.setting: condition.verdict(cell)
        for condition in conditions_of(runs)
        for cell in condition.cells
        if not cell.is_baseline
    }
    assert verdicts == {"weight_decay=0": "better", "weight_decay=1": "worse"}
    claim = {"id": "c", "sentence": "s", "source": "s", "measure": "test_accuracy", "rule": "better"}
    stated = [
        {**claim, "id": f"at-{d}", "heads": "euclidean + harmonic", "settings": f"weight_decay={d}"} for d in (0, 1)
    ]
    answers = [verdict.verdict for verdict in claims.judge(suite.check_claims(stated, "here"), runs)]
    assert answers == ["supported", "refuted"]


def test_the_table_of_a_task_has_a_row_for_each_setting_and_head():
    runs = [
        grokked(seed, 10, None if head is None else 30, head, setting=f"weight_decay={decay}")
        for seed in range(3)
        for decay in (0.5, 0.01)
        for head in (None, "euclidean")
    ]
    (section,) = grokking.sections(runs)
    (table,) = section.tables
    assert [row[:3] for row in table.rows] == [
        ("weight_decay=0.01", "linear", "cross_entropy"),
        ("weight_decay=0.01", "euclidean", "harmonic"),
        ("weight_decay=0.5", "linear", "cross_entropy"),
        ("weight_decay=0.5", "euclidean", "harmonic"),
    ]
    assert [row[5] for row in table.rows] == ["later (0/3)", "30 (3/3)"] * 2
