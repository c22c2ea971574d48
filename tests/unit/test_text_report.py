"""Reports, targets and claims of text: the loss leads, and tokens are what is counted."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as scipy_stats

from harmbench import report as reports
from harmbench.analysis import claims, time_to_target
from harmbench.analysis.cells import cells_of
from harmbench.analysis.collapse import is_collapsed
from harmbench.analysis.primary import ACCURACY, LOSS, primary_metric
from harmbench.energy.carbon import grid
from harmbench.meters.convergence import LATER, Target, to_target
from harmbench.planning.suite import check_claims
from harmbench.report import conditions_of
from harmbench.report.formats import Report
from harmbench.report.time_to_target import target_text
from harmbench.results.records import Measurement, Protocol, TrialRecord
from harmbench.runner.training import Trained
from tests.support.runs import run_of
from tests.support.samples import MODELLED, point, record, spec

LOSSES = {None: (5.0, 5.1, 5.2), "cosine": (4.8, 4.88, 5.01), "manhattan": (6.0, 6.2, 6.1)}
SIZES = {"train": 900, "validation": 64, "test": 64, "validation_tokens": 4096, "test_tokens": 4096, "classes": 2048}


def trial(
    distance: str | None, seed: int, nll: float, curve=(), backbone: str = "gpt2", more=(), **protocol
) -> TrialRecord:
    asked = spec(
        distance,
        "harmonic" if distance else "cross_entropy",
        seed,
        backbone=backbone,
        dataset="stdlib",
        protocol={"target": None, **protocol},
    )
    points = tuple(point(10 * (i + 1), 0.1, loss) for i, loss in enumerate(curve)) or (point(10, 0.1, nll),)
    values = (
        Measurement.of("test_nll", nll, "nat", "lower"),
        Measurement.of("test_perplexity", np.exp(nll), "1", "lower"),
        Measurement.of("test_bits_per_byte", nll / 2, "bit/B", "lower"),
        Measurement.of("test_accuracy", 0.12 + (distance is not None) * 0.001, "1", "higher"),
        Measurement.of("tokens_per_second", 10_000.0 + seed, "token/s", "higher"),
        Measurement.of("cpu_joules_per_token", 0.002, "J/token", "lower", origin="modelled"),
        Measurement.of("pca_variance_2", 0.5 + 0.2 * (distance is not None) + 0.01 * seed, "1", "neither"),
        *to_target(points, MODELLED, Target.of(asked.protocol), LATER),
        *more,
    )
    return record(asked, measurements=values, curve=points, sizes=SIZES, order=seed)


def trials(**more) -> list[TrialRecord]:
    return [trial(distance, seed, nll, **more) for distance, found in LOSSES.items() for seed, nll in enumerate(found)]


def report_of(found: list[TrialRecord], *backbones: str) -> Report:
    run = run_of(time_to_target.with_targets(found))
    run.header["suite"] |= {"datasets": ["stdlib"], "backbones": list(backbones or ("gpt2",))}
    return reports.compose(run, grid())


def rows(report: Report, title: str) -> dict[str, dict[str, str]]:
    table = next(t for s in report.sections for t in s.tables if t.title == title)
    return {r[0].strip("*"): dict(zip((c.label for c in table.columns), r, strict=True)) for r in table.rows}


def test_the_loss_leads_and_less_is_better():
    (condition,) = conditions_of(trials())
    assert condition.primary is LOSS
    assert [cell.head for cell in condition.cells] == ["cosine", "linear", "manhattan"]
    comparison, _ = condition.comparisons["cosine + harmonic"]
    by_scipy = scipy_stats.ttest_rel(LOSSES["cosine"], LOSSES[None])
    assert comparison.p_value == pytest.approx(by_scipy.pvalue), "a loss is not rounded to samples"
    verdicts = {cell.head: condition.verdict(cell) for cell in condition.cells}
    assert verdicts == {"cosine": "better", "linear": "baseline", "manhattan": "worse"}


def test_images_are_ranked_by_accuracy_as_ever():
    assert primary_metric(cells_of([record(spec())])) is ACCURACY


def test_the_first_table_has_perplexity_and_bits_per_byte_first():
    report = report_of(trials())
    found = rows(report, "Loss, stability, speed, energy")
    assert list(found["linear"])[2:7] == [
        "perplexity",
        "bits per byte",
        "test loss",
        "test accuracy",
        "loss to baseline",
    ]
    assert found["linear"]["perplexity"].startswith(f"{np.mean(np.exp(LOSSES[None])):.0f}")
    assert found["cosine"]["loss to baseline"].startswith("-0.2")
    assert found["cosine"]["verdict"] == "better"
    assert found["linear"]["tokens per second"].startswith("10,001")
    assert rows(report, "Steps and memory")["linear"]["CPU energy"] == "2"
    assert "lowest mean test loss 4.90 ± 0.26 nat, perplexity" in " ".join(report.conclusions)
    assert "test loss by seed" in " ".join(report.notes)
    assert "the lowest validation loss was kept" in " ".join(report.notes)


def test_heads_over_groups_are_ranked_by_loss():
    found = [*trials(), *trials(backbone="qwen2")]
    ranked = rows(report_of(found, "gpt2", "qwen2"), "Heads over all conditions")
    assert {head: row["mean rank"] for head, row in ranked.items()} == {
        "cosine": "1.0 (1 to 1)",
        "linear": "2.0 (2 to 2)",
        "manhattan": "3.0 (3 to 3)",
    }
    wins = scipy_stats.mannwhitneyu(LOSSES[None], LOSSES["cosine"]).statistic / 9
    assert float(ranked["cosine"]["probability of improvement"].split()[0]) == pytest.approx(100 * wins, abs=0.05)


# Targets.


def test_the_target_of_text_is_the_loss_that_the_baseline_ends_with():
    curves = {(None, 0): (6.0, 5.0), (None, 1): (6.0, 5.2), (None, 2): (5.9, 5.1), ("cosine", 0): (5.1, 5.0, 4.9)}
    found = [trial(distance, seed, 5.0, curve) for (distance, seed), curve in curves.items()]
    found.append(trial("manhattan", 0, 6.0, (7.0, 6.0, None)))
    assert time_to_target.targets(found) == {("stdlib", "gpt2", ""): Target("nll", 5.1)}
    read = {(t.spec.head, t.spec.seed): t for t in time_to_target.with_targets(found)}
    assert {key: t.value("steps_to_target") for key, t in read.items()} == {
        ("linear", 0): 20,
        ("linear", 1): None,
        ("linear", 2): 20,
        ("cosine", 0): 10,
        ("manhattan", 0): None,
    }
    reasons = {m.name: m.reason for m in read["manhattan", 0].measurements}
    assert reasons["steps_to_target"] == "not reached in 30 steps: best 6.000, target 5.1"
    assert target_text(Target("nll", 5.1)) == "a loss of 5.1 nat"


def test_a_loss_to_reach_may_be_given_but_not_beside_an_accuracy():
    given = [trial("cosine", 0, 5.0, (5.6, 5.4), target_nll=5.5)]
    assert time_to_target.with_targets(given)[0].value("steps_to_target") == 20
    with pytest.raises(ValueError, match="give one target"):
        Protocol(steps=10, target=0.5, target_nll=3.0)


# What is counted, and kept.


def test_chance_is_judged_by_tokens_and_not_by_windows():
    just = trial(None, 0, 7.0)
    values = (Measurement.of("test_accuracy", 0.005, "1", "higher"),)
    assert not is_collapsed(just.but(measurements=values))
    windows = {name: size for name, size in SIZES.items() if not name.endswith("_tokens")}
    assert is_collapsed(just.but(measurements=values, sizes=windows))


def test_the_state_of_the_lowest_loss_is_kept_of_text():
    import torch

    model, protocol = torch.nn.Linear(1, 1), Protocol(steps=10)
    points = [point(1, 0.2, 5.0), point(2, 0.1, 4.0), point(3, 0.15, 4.5)]
    kept = {}
    for by_loss in (True, False):
        trained = Trained()
        for each in points:
            trained.keep(each, model, protocol, by_loss=by_loss)
        kept[by_loss] = trained.best.step
    assert kept == {True: 2, False: 1}


# Claims.


@pytest.mark.parametrize(("within", "verdict"), [(0.05, "supported"), (None, "supported")])
def test_a_claim_on_text_may_ask_for_a_loss_near_the_baselines(within, verdict):
    claim = {
        "id": "few-dimensions",
        "sentence": "Two components have more.",
        "source": "here",
        "measure": "pca_variance_2",
        "rule": "better",
        "direction": "higher",
        "heads": "cosine + harmonic",
        "loss_within": within,
    }
    (found,) = claims.judge(check_claims([claim], "here"), trials())
    assert found.verdict == verdict
    worse = check_claims([claim | {"heads": "manhattan + harmonic"}], "here")
    (found,) = claims.judge(worse, trials())
    assert found.verdict == ("supported" if within is None else "not decided")
    assert within is None or "test loss is 1 nat behind" in found.reason
