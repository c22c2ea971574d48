"""Statistics against SciPy, against their own definitions, and by simulation."""

from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from harmbench.analysis.stats import (
    Comparison,
    Interval,
    MeanDifference,
    Signs,
    aggregate,
    at_least,
    censored_median,
    holm,
    interquartile_mean,
    mean_interval,
    minimum_detectable_effect,
    paired_difference,
    performance_profile,
    probability_of_improvement,
    seeds_to_decide,
)

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


SHAPES = {
    "normal": lambda size: RNG.normal(size=size),
    "mildly skewed": lambda size: RNG.gamma(4, size=size) / 2 - 2,  # skewness 1
    "whole images": lambda size: (RNG.binomial(359, 0.965, size=size) / 359 - 0.965) * 100,
}


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("shape", SHAPES)
def test_interval_covers_as_often_as_it_says(shape, seeds):
    values = SHAPES[shape]((4000, seeds)).tolist()
    covered = np.mean([(interval := mean_interval(row)).low < 0 < interval.high for row in values])
    assert 0.93 < covered < 0.97


def test_an_interval_of_the_normal_distribution_is_caught():
    values = RNG.normal(size=(2000, 3))
    half_widths = 1.96 * values.std(1, ddof=1) / math.sqrt(3)
    assert np.mean(abs(values.mean(1)) < half_widths) < 0.9


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
    zeros = dict.fromkeys(range(differences.shape[-1]), 0.0)
    declared = [
        min(holm([paired_difference(dict(enumerate(row)), zeros, resolution).p_value for row in table])) < 0.05
        for table in differences.tolist()
    ]
    return np.mean(declared)


def accuracies(tables, seeds, images=359):
    """Differences of 20 equal heads to one baseline, as accuracies on so many images."""
    right = RNG.binomial(images, 0.965, size=(tables, 21, seeds)) / images
    return right[:, 1:] - right[:, :1]


NULL_TABLES = {
    "continuous, 3 seeds": lambda tables: (RNG.normal(size=(tables, 20, 3)), 0),
    "continuous, 10 seeds": lambda tables: (RNG.normal(size=(tables, 20, 10)), 0),
    "whole images, wide": lambda tables: (np.round(RNG.normal(scale=5.0, size=(tables, 20, 5))), 1),
    "whole images": lambda tables: (np.round(RNG.normal(scale=2.0, size=(tables, 20, 3))), 1),
    "one image": lambda tables: (np.round(RNG.normal(scale=0.7, size=(tables, 20, 3))), 1),
    "multiples of 1/359, 3 seeds": lambda tables: (accuracies(tables, 3), 1 / 359),
    "multiples of 1/359, 5 seeds": lambda tables: (accuracies(tables, 5), 1 / 359),
}


@pytest.mark.parametrize("draw", NULL_TABLES.values(), ids=NULL_TABLES)
def test_a_table_of_equal_heads_has_no_winner(draw):
    tables = 1000
    error = math.sqrt(0.05 * 0.95 / tables)
    assert winners(*draw(tables)) < 0.05 + 3 * error


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


@pytest.mark.parametrize(("pairs", "tests"), [(3, 1), (5, 20), (10, 4)])
def test_a_detectable_difference_is_detected_as_often_as_it_says(pairs, tests):
    effect = minimum_detectable_effect(1.0, pairs, tests, power=0.8)
    samples = RNG.normal(loc=effect, size=(3000, pairs)).tolist()
    found = [2 * MeanDifference.paired(row).p_above(0.0) * tests < 0.05 for row in samples]
    assert np.mean(found) == pytest.approx(0.8, abs=0.03)


# Margins, and two samples without pairs.


@pytest.mark.parametrize("margin", [-0.5, 0.0, 0.7])
def test_a_margin_is_tested_as_scipy_does(margin):
    values = RNG.normal(size=6)
    found = MeanDifference.paired(list(values))
    for said, alternative in ((found.p_above, "greater"), (found.p_below, "less")):
        assert said(margin) == pytest.approx(scipy_stats.ttest_1samp(values, margin, alternative=alternative).pvalue)


@pytest.mark.parametrize(("ours", "theirs"), [(3, 3), (2, 9), (5, 4)])
def test_unpaired_is_scipys_welch(ours, theirs):
    x, y = RNG.normal(size=ours), RNG.normal(scale=3, size=theirs)
    found, expected = MeanDifference.unpaired(list(x), list(y)), scipy_stats.ttest_ind(x, y, equal_var=False)
    bounds = expected.confidence_interval(0.95)
    assert 2 * min(found.p_above(0), found.p_below(0)) == pytest.approx(expected.pvalue)
    assert (found.interval().low, found.interval().high) == pytest.approx((bounds.low, bounds.high))


def test_signs_are_scipys_binomial_test():
    found = Signs(low=(1.0, 2.0, 3.0, -math.inf, 0.5), high=(1.0, math.inf, 3.0, math.inf, 0.5))
    assert found.p_above(0.0) == pytest.approx(scipy_stats.binomtest(4, 5, alternative="greater").pvalue)
    assert found.p_below(0.0) == 1.0  # the one that may be anything counts against either side
    assert Signs((1.0,) * 3, (1.0,) * 3).seeds_for(0.0, alpha=0.025) == 6
    assert found.seeds_for(0.0, alpha=0.025) is None


@STEADY
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_at_least_all_is_the_largest_and_at_least_one_is_bonferroni(p_values):
    assert at_least(len(p_values), p_values) == max(p_values)
    assert at_least(1, p_values) == min(1.0, len(p_values) * min(p_values))
    assert at_least(len(p_values), [*p_values[1:], math.nan]) == 1.0


def test_at_least_so_many_errs_as_seldom_as_it_says():
    true, false = RNG.beta(0.05, 1, size=(4000, 2)), RNG.uniform(size=(4000, 3))  # two of five hold
    said = [at_least(3, row) < 0.05 for row in np.hstack([true, false]).tolist()]
    assert np.mean(said) < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 4000)


# Over cells.


@pytest.mark.parametrize("size", [3, 4, 9, 30])
def test_interquartile_mean_is_scipys(size):
    values = RNG.normal(size=(2, size))
    assert interquartile_mean(values) == pytest.approx(scipy_stats.trim_mean(values, 0.25, axis=1))


def test_improvement_draws_seeds_again_value_by_value():
    """The bounds, found by counts of draws, are those of the drawn values themselves."""
    ours, theirs = [0.2, 0.5, 0.5, 0.9], [0.1, 0.5, 0.6]
    found = probability_of_improvement([ours], [theirs], np.random.default_rng(3), repetitions=500)
    rng = np.random.default_rng(3)
    x, y = (np.array(of)[rng.integers(len(of), size=(500, len(of)))] for of in (ours, theirs))
    above = x[:, :, None] - y[:, None, :]
    low, high = np.quantile(((above > 0) + 0.5 * (above == 0)).mean((1, 2)), [0.025, 0.975])
    stretch = math.sqrt(7 / 5) * scipy_stats.t.ppf(0.975, 5) / scipy_stats.norm.ppf(0.975)
    expected = [found.value + (bound - found.value) * stretch for bound in (low, high)]
    np.testing.assert_allclose([found.low, found.high], np.clip(expected, 0, 1))


def test_an_aggregate_draws_seeds_again_value_by_value():
    """The bounds, found by ranks, are those of the drawn values themselves, ties among them."""
    cells = [[0.2, 0.5, 0.5, 0.9], [0.1, 0.5, 0.6], [0.4]]
    found = aggregate(cells, np.random.default_rng(3), repetitions=500)
    rng = np.random.default_rng(3)
    drawn = [np.array(cell)[rng.integers(len(cell), size=(500, len(cell)))] for cell in cells]
    low, high = np.quantile(interquartile_mean(np.concatenate(drawn, axis=1)), [0.025, 0.975])
    stretch = math.sqrt(8 / 5) * scipy_stats.t.ppf(0.975, 5) / scipy_stats.norm.ppf(0.975)
    expected = [found.value + (bound - found.value) * stretch for bound in (low, high)]
    np.testing.assert_allclose([found.low, found.high], expected)


def test_probability_of_improvement_is_mann_whitney():
    ours, theirs = np.round(RNG.normal(size=(4, 6)), 1), np.round(RNG.normal(size=(4, 5)), 1)
    expected = np.mean([scipy_stats.mannwhitneyu(x, y).statistic / 30 for x, y in zip(ours, theirs, strict=True)])
    found = probability_of_improvement(ours, theirs, np.random.default_rng(0))
    assert found.value == pytest.approx(expected)
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_a_profile_is_the_share_above_and_falls():
    cells = RNG.normal(size=(3, 4))
    profile = performance_profile(cells, [-1, 0, 1], np.random.default_rng(0))
    assert profile.share.tolist() == [np.mean(cells > mark) for mark in (-1, 0, 1)]
    assert (profile.low <= profile.share).all()
    assert (profile.share <= profile.high).all()


def test_a_bootstrap_is_its_generators_and_stratified():
    cells = [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]
    found = aggregate(cells, np.random.default_rng(0), statistic=lambda values: values.mean(-1))
    assert found == (0.5, 0.5, 0.5)  # seeds mix within a cell, cells never
    noisy = RNG.normal(size=(4, 3))
    assert aggregate(noisy, np.random.default_rng(1)) == aggregate(noisy, np.random.default_rng(1))
    assert math.isnan(aggregate([[1.0], [2.0]], np.random.default_rng(0)).low)


@pytest.mark.parametrize(("seeds", "least"), [(3, 0.91), (5, 0.92), (10, 0.93)])
def test_a_bootstrap_interval_covers(seeds, least):
    centers = np.linspace(0, 6, 8)[:, None]
    truth = float(interquartile_mean((centers + RNG.normal(size=(8, 50000))).ravel()))
    runs = [aggregate(centers + RNG.normal(size=(8, seeds)), RNG, repetitions=300) for _ in range(400)]
    covered = np.mean([run.low < truth < run.high for run in runs])
    assert least - 2 * math.sqrt(0.05 * 0.95 / 400) < covered < 0.985


# Times that some never reach.


def product_limit(reached, censored):
    """Kaplan and Meier's estimate, by its definition: the first time at which half or fewer have not got there."""
    left, alive = 1.0, len(reached) + len(censored)
    for time in sorted({*reached, *censored}):
        left *= 1 - reached.count(time) / alive
        alive -= reached.count(time) + censored.count(time)
        if left <= 0.5 + 1e-12:
            return time
    return None


@STEADY
@given(st.lists(st.integers(1, 9), max_size=7), st.lists(st.integers(1, 9), max_size=5))
def test_censored_median_is_the_product_limit(reached, censored):
    if reached or censored:
        found = censored_median(reached, censored)
        assert found.value == product_limit(reached, censored)
        assert (found.reached, found.size) == (len(reached), len(reached) + len(censored))
        if found.value is not None and found.low is not None:
            assert found.low <= found.value


@STEADY
@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.lists(st.integers(1, 9), max_size=6))
def test_the_interval_of_a_censored_median_is_scipys(reached, censored):
    data = scipy_stats.CensoredData(uncensored=[float(t) for t in reached], right=[float(t) for t in censored])
    survival = scipy_stats.ecdf(data).sf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bounds = survival.confidence_interval(method="log-log")
    for ours, theirs in zip(censored_median(reached, censored)[:3], (survival, bounds.low, bounds.high), strict=True):
        under = theirs.quantiles[theirs.probabilities <= 0.5 + 1e-12]
        expected = float(under[0]) if len(under) and under[0] <= max(reached) else None
        assert ours == expected


def test_censored_trials_pull_the_median_up():
    assert censored_median([10, 20, 30], []).value == 20
    assert censored_median([10, 20, 30], [math.inf] * 2).value == 30
    assert censored_median([10, 20, 30], [math.inf] * 4).value is None
