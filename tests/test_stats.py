"""Statistics against SciPy, against their own definitions, and by simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from harmbench.stats import Comparison, Interval, holm, mean_interval, paired_difference, seeds_to_decide

RNG = np.random.default_rng(0)
SAMPLES = {
    "two": [1.0, 2.0],
    "three": [0.97, 0.95, 0.99],
    "far from zero": list(1e6 + RNG.normal(size=7)),
    "tiny": list(1e-9 * RNG.normal(size=5)),
    "many": list(RNG.normal(size=50)),
}
P_VALUES = st.lists(st.floats(0, 1), max_size=12)
STEADY = settings(derandomize=True, deadline=None, max_examples=60)


def as_seeds(values):
    return dict(enumerate(map(float, values)))


# Intervals.


@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
@pytest.mark.parametrize("values", SAMPLES.values(), ids=SAMPLES)
def test_interval_is_scipys(values, level):
    expected = scipy_stats.t.interval(level, len(values) - 1, np.mean(values), scipy_stats.sem(values))
    interval = mean_interval(values, level)
    assert (interval.low, interval.high) == pytest.approx(expected, rel=1e-9)
    assert (interval.mean, interval.size) == (pytest.approx(np.mean(values), rel=1e-12), len(values))


def test_one_value_has_no_interval_and_none_has_no_mean():
    assert math.isnan(mean_interval([3.0]).half_width)
    with pytest.raises(ValueError, match="no values"):
        mean_interval([])


@pytest.mark.parametrize("value", [0.1, 349 / 359, 1e-300])
def test_equal_values_have_no_spread_of_rounding(value):
    assert mean_interval([value] * 3).half_width == 0


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_interval_covers_as_often_as_it_says(seeds):
    values = RNG.normal(loc=2.0, scale=3.0, size=(1500, seeds))
    covered = [(interval := mean_interval(row)).low < 2.0 < interval.high for row in values]
    assert 0.93 < np.mean(covered) < 0.97


# Paired differences.


@pytest.mark.parametrize("seeds", [2, 3, 5, 20])
def test_paired_test_is_scipys(seeds):
    ours, theirs = RNG.normal(size=(2, seeds))
    found = paired_difference(as_seeds(ours), as_seeds(theirs))
    expected = scipy_stats.ttest_rel(ours, theirs)
    bounds = expected.confidence_interval(0.95)
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-9)
    assert (found.interval.low, found.interval.high) == pytest.approx((bounds.low, bounds.high), rel=1e-9)


def test_pairs_are_the_shared_seeds():
    found = paired_difference({0: 5.0, 1: 2.0, 2: 4.0}, {1: 1.0, 2: 1.0, 7: 9.0})
    assert found.interval.mean == 2.0
    assert found.interval.size == 2
    assert paired_difference({0: 1.0}, {1: 1.0}) is None
    assert math.isnan(paired_difference({0: 1.0}, {0: 2.0}).p_value)


@STEADY
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=2, max_size=8), st.sampled_from([0, 1]))
def test_test_and_interval_agree(counts, resolution):
    ours, theirs = zip(*counts, strict=True)
    found = paired_difference(as_seeds(ours), as_seeds(theirs), resolution)
    margin = abs(found.interval.mean) - found.interval.half_width
    if abs(margin) > 1e-9:
        assert (found.p_value < 0.05) == (margin > 0)


@pytest.mark.parametrize("gap", [0, 1, 5, 180])
def test_a_constant_gap_counts_as_no_surer_than_rounding(gap):
    baseline = [340 / 359, 343 / 359, 349 / 359]
    ours = [value - gap / 359 for value in baseline]
    t = gap * math.sqrt(3) * math.sqrt(6)
    expected = 1 - t / math.sqrt(t**2 + 2)  # Student's t with two degrees of freedom, in closed form
    assert paired_difference(as_seeds(ours), as_seeds(baseline), 1 / 359).p_value == pytest.approx(expected)


# Many looks.


def holm_by_definition(p_values):
    """The smallest level at which the step-down procedure rejects each hypothesis, by trying every level there is."""
    levels = sorted({min(1.0, k * p) for k in range(1, len(p_values) + 1) for p in p_values} | {1.0})

    def rejected(level):
        order = sorted(range(len(p_values)), key=lambda i: p_values[i])
        taken = itertools.takewhile(lambda r: p_values[order[r]] * (len(order) - r) <= level, range(len(order)))
        return {order[rank] for rank in taken}

    return [min((level for level in levels if i in rejected(level)), default=1.0) for i in range(len(p_values))]


@STEADY
@given(P_VALUES)
def test_holm_is_its_definition(p_values):
    assert holm(p_values) == pytest.approx(holm_by_definition(p_values))


@STEADY
@given(P_VALUES, st.randoms())
def test_holm_never_lowers_keeps_order_and_ignores_order(p_values, random):
    adjusted = holm(p_values)
    assert all(p <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))
    assert all(adjusted[i] <= adjusted[j] for i, p in enumerate(p_values) for j, q in enumerate(p_values) if p < q)
    places = list(range(len(p_values)))
    random.shuffle(places)
    assert holm([p_values[i] for i in places]) == [adjusted[i] for i in places]


def test_holm_keeps_nan_apart():
    assert holm([0.02, math.nan, 0.03]) == pytest.approx([0.04, math.nan, 0.04], nan_ok=True)


def bonferroni_by_halves(p_values):
    return [min(1.0, p * len(p_values) / 2) for p in p_values]


@pytest.mark.parametrize("wrong", [bonferroni_by_halves, list, sorted], ids=["halves", "uncorrected", "sorted"])
def test_a_wrong_correction_is_caught(wrong):
    p_values = [0.04, 0.01, 0.03]
    with pytest.raises(AssertionError, match="approx"):
        assert wrong(p_values) == pytest.approx(holm_by_definition(p_values))


def winners(differences, resolution):
    """Share of tables in which any of the heads (tables, heads, seeds) is decided."""
    seeds = range(differences.shape[-1])
    zeros = dict.fromkeys(seeds, 0.0)
    declared = [
        min(holm([paired_difference(dict(zip(seeds, row, strict=True)), zeros, resolution).p_value for row in table]))
        < 0.05
        for table in differences.tolist()
    ]
    return np.mean(declared)


NOISE = {
    "continuous": (0.01, 0, 3),
    "whole images, wide": (5.0, 1, 5),
    "whole images": (2.0, 1, 3),
    "one image": (0.7, 1, 3),
}


@pytest.mark.parametrize(("spread", "resolution", "seeds"), NOISE.values(), ids=NOISE)
def test_a_table_of_equal_heads_has_no_winner(spread, resolution, seeds):
    noise = RNG.normal(scale=spread, size=(150, 20, seeds))
    assert winners(np.round(noise) if resolution else noise, resolution) < 0.1  # 5 %, and three standard errors


def test_a_test_that_believes_rounding_is_caught():
    assert winners(np.round(RNG.normal(scale=2.0, size=(60, 20, 3))), resolution=0) > 0.15


# How many seeds more.


@STEADY
@given(st.floats(0.01, 3), st.integers(2, 20), st.integers(1, 40))
def test_seeds_to_decide_is_the_first_number_that_decides(effect, size, tests):
    half_width = scipy_stats.t.ppf(0.975, size - 1) / math.sqrt(size)  # of a spread of 1
    needed = seeds_to_decide(Comparison(Interval(effect, half_width, size), 0.5), tests)

    def decides(seeds):
        return 2 * scipy_stats.t.sf(effect * math.sqrt(seeds), seeds - 1) * tests < 0.05

    if needed is None:
        assert not decides(1000)
    else:
        assert decides(needed)
        assert needed == 2 or not decides(needed - 1)


UNDECIDABLE = {
    "one seed": Interval(1.0, math.nan, 1),
    "no difference": Interval(0.0, 1.0, 3),
    "no spread": Interval(1.0, 0.0, 3),
    "too small": Interval(1e-6, 1.0, 3),
}


@pytest.mark.parametrize("interval", UNDECIDABLE.values(), ids=UNDECIDABLE)
def test_seeds_to_decide_may_have_no_answer(interval):
    assert seeds_to_decide(Comparison(interval, 0.9), tests=1) is None
