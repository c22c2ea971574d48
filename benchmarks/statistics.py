"""How often the statistics of harmbench err, by simulation: prints benchmarks/statistics.md.

    python benchmarks/statistics.py                      prints it; about a minute on one core
    python benchmarks/statistics.py --out FILE.md        writes it

Every figure comes from the functions that reports, claims and comparisons call, on made-up results of known truth.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harmbench.analysis.stats import (
    MeanDifference,
    aggregate,
    at_least,
    censored_median,
    holm,
    interquartile_mean,
    mean_interval,
    minimum_detectable_effect,
    paired_difference,
    probability_of_improvement,
    two_sided,
)

Array = NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, ...]], Array]

SEEDS = (3, 5, 10)
IMAGES = 359
ACCURACY = 0.965

SHAPES: dict[str, Draw] = {
    "normal": lambda rng, size: rng.normal(size=size),
    "mildly skewed (gamma of shape 4, skewness 1)": lambda rng, size: rng.gamma(4, size=size) / 2 - 2,
    "strongly skewed (exponential, skewness 2)": lambda rng, size: rng.exponential(size=size) - 1,
    f"accuracy on {IMAGES} images (binomial)": lambda rng, size: (
        rng.binomial(IMAGES, ACCURACY, size) / IMAGES - ACCURACY
    ),
}


def coverage(rng: np.random.Generator, repetitions: int) -> Iterator[Sequence[str]]:
    """Share of 95 % t intervals that hold the true mean, of one cell and of paired differences."""
    for name, draw in SHAPES.items():
        row = [name]
        for seeds in SEEDS:
            values = draw(rng, (repetitions, seeds)).tolist()
            row.append(percent([abs((i := mean_interval(v)).mean) < i.half_width for v in values]))
        for seeds in SEEDS:
            ours, theirs = draw(rng, (repetitions, seeds)), draw(rng, (repetitions, seeds))
            step = 1 / IMAGES if "images" in name else 0.0
            found = [MeanDifference.paired(d, step).interval() for d in (ours - theirs).tolist()]
            row.append(percent([abs(i.mean) < i.half_width for i in found]))
        yield row


def null_tables(rng: np.random.Generator, repetitions: int, heads: int = 20) -> Iterator[Sequence[str]]:
    """Share of tables of equal heads in which any is decided, as reports decide, beside a test without Holm."""
    for name, draw in SHAPES.items():
        row = [name]
        step = 1 / IMAGES if "images" in name else 0.0
        for seeds in SEEDS:
            values = draw(rng, (repetitions, heads + 1, seeds))
            tables = (values[:, 1:] - values[:, :1]).tolist()
            zeros = dict.fromkeys(range(seeds), 0.0)
            found = [[_p_value(row_, zeros, step) for row_ in table] for table in tables]
            row.append(percent([min(holm(p_values)) < 0.05 for p_values in found]))
            if seeds == SEEDS[0]:
                plain = percent([min(p_values) < 0.05 for p_values in found])
                bare = [[_p_value(row_, zeros, 0.0) for row_ in table] for table in tables]
                rounding = percent([min(holm(p_values)) < 0.05 for p_values in bare])
        yield [*row, plain, rounding]


def _p_value(differences: Sequence[float], zeros: dict[int, float], step: float) -> float:
    found = paired_difference(dict(enumerate(differences)), zeros, step)
    assert found is not None
    return found.p_value


def claim_tables(
    rng: np.random.Generator, repetitions: int, claims: int = 16, cells: int = 4
) -> Iterator[Sequence[str]]:
    """Share of tables of claims in which any gets a verdict, all of them lying on their margin."""
    for name, needed in (("in every cell", cells), ("in half of the cells", cells // 2), ("on the mean", 0)):
        row = [f"{name} of {cells}"]
        for seeds in SEEDS:
            wrong = []
            for table in rng.normal(size=(repetitions, claims, cells, seeds)):
                wrong.append(min(holm([_claim_p(claim, needed) for claim in table])) < 0.05)
            row.append(percent(wrong))
        yield row


def _claim_p(cells: Array, needed: int) -> float:
    """As `harmbench.analysis.claims` combines comparisons."""
    found = [MeanDifference.paired(cell) for cell in (cells.tolist() if needed else [cells.mean(0).tolist()])]
    above, below = ([p(0.0) for p in side] for side in ([e.p_above for e in found], [e.p_below for e in found]))
    count = needed or 1
    return two_sided(at_least(count, above), at_least(len(found) - count + 1, below))


def over_cells(rng: np.random.Generator, repetitions: int) -> Iterator[Sequence[str]]:
    """Share of 95 % bootstrap intervals that hold the truth; in brackets without the correction for few seeds."""
    for name in list(SHAPES)[:2]:
        draw = SHAPES[name]
        for cells in (4, 12):
            row = [f"{name}, {cells} cells"]
            centers = np.linspace(0, 6, cells)[:, None]
            truth = float(interquartile_mean((centers + draw(rng, (cells, 50000))).ravel()))
            for seeds in SEEDS:
                degrees = cells * (seeds - 1)
                runs = [
                    aggregate(centers + draw(rng, (cells, seeds)), rng, repetitions=400) for _ in range(repetitions)
                ]
                row.append(_with_plain(runs, truth, degrees, cells * seeds))
            chance = _superiority(draw(rng, (500000,)) + 1, draw(rng, (500000,)))
            for seeds in SEEDS:
                pairs = ((draw(rng, (cells, seeds)) + 1, draw(rng, (cells, seeds))) for _ in range(repetitions))
                runs = [probability_of_improvement(x, y, rng, repetitions=400) for x, y in pairs]
                row.append(_with_plain(runs, chance, 2 * cells * (seeds - 1), 2 * cells * seeds))
            yield row


def _superiority(x: Array, y: Array) -> float:
    """Probability that one of x is above one of y, without ties."""
    return float(np.searchsorted(np.sort(y), x).mean() / len(y))


def _with_plain(runs: Sequence[tuple[float, float, float]], truth: float, degrees: int, size: int) -> str:
    from scipy import special

    stretch = math.sqrt(size / degrees) * special.stdtrit(degrees, 0.975) / special.ndtri(0.975)
    plain = [v + (low - v) / stretch <= truth <= v + (high - v) / stretch for v, low, high in runs]
    return f"{percent([low <= truth <= high for _, low, high in runs])} ({percent(plain)})"


def censored(rng: np.random.Generator, repetitions: int) -> Iterator[Sequence[str]]:
    """Share of Kaplan-Meier intervals that hold the true median, of exponential times watched for twice the median."""
    for size in (5, 10, 20):
        held, known = [], []
        for times in rng.exponential(size=(repetitions, size)) / math.log(2):
            found = censored_median(times[times < 2].tolist(), [2.0] * int((times >= 2).sum()))
            held.append((found.low or 0.0) <= 1 <= (math.inf if found.high is None else found.high))
            known.append(found.value is not None)
        yield [str(size), percent(held), percent(known)]


def detectable() -> Iterator[Sequence[str]]:
    """Smallest difference that is decided four times of five, in units of the spread of the differences."""
    for tests in (1, 4, 20, 40):
        yield [str(tests), *(f"{minimum_detectable_effect(1.0, pairs, tests):.2f}" for pairs in (3, 5, 10, 20))]


def percent(found: Sequence[bool]) -> str:
    """A share in per cent."""
    return f"{100 * float(np.mean(found)):.1f}"


def page(repetitions: int, seed: int) -> Iterator[str]:
    """The whole page."""
    rng = np.random.default_rng(seed)
    small = max(100, repetitions // 4)
    seeds = [f"{n} seeds" for n in SEEDS]
    yield from (
        "# How often the statistics err",
        "",
        "<!-- Written by benchmarks/statistics.py; edits here are lost. -->",
        "",
        "Made-up results whose truth is known, through the functions that reports, claims and comparisons call.",
        f"Generator seed {seed}; {repetitions} repetitions, standard error {_error(repetitions)} points at 95 and 5 %;",
        f"{small} for claims, medians and intervals over cells, standard error {_error(small)} points.",
        "",
        "## Intervals of a mean",
        "",
        "Share in per cent of 95 % Student t intervals that hold the truth: of one cell, and of the paired difference",
        "of two cells. Mildly skewed values are covered a little less often than said, strongly skewed ones, as times",
        "may be, clearly so; in differences, on which all verdicts rest, skewness cancels.",
        "",
        *table(
            ["values", *(f"mean, {s}" for s in seeds), *(f"difference, {s}" for s in seeds)], coverage(rng, repetitions)
        ),
        "",
        "## Tables without a winner",
        "",
        "Twenty heads and a baseline, all the same. Share in per cent of tables in which any head is called better or",
        "worse; at most 5 is promised. The last two columns are what harmbench does not do: no Holm; or Holm, but",
        "belief in equal differences of rounded accuracies.",
        "",
        *table(
            ["values", *seeds, "3 seeds, no Holm", "3 seeds, rounding believed"],
            null_tables(rng, repetitions),
        ),
        "",
        "## Claims without a truth",
        "",
        "Sixteen claims, each on its margin in each of four cells: nothing can be supported or refuted. Share in per",
        "cent of tables in which something is. For a share of the cells the correction is stricter than it must be.",
        "",
        *table(["a claim must hold", *seeds], claim_tables(rng, small)),
        "",
        "## Over cells",
        "",
        "Share in per cent of 95 % intervals of the interquartile mean (IQM) and the probability of improvement (PoI)",
        "that hold the truth; in brackets the plain percentile bootstrap of Agarwal et al. (2021). Ours is wider by",
        "sqrt(n / (n - 1)) and by t over z. Over four cells at three seeds it is still too narrow.",
        "",
        *table(["values", *(f"IQM, {s}" for s in seeds), *(f"PoI, {s}" for s in seeds)], over_cells(rng, small)),
        "",
        "## Medians of times that some never reach",
        "",
        "Exponential times, watched for twice the true median: a quarter never gets there. A bound that is unknown",
        "counts as infinite.",
        "",
        *table(["trials", "interval holds the median (%)", "median known (%)"], censored(rng, small)),
        "",
        "## What can be seen",
        "",
        "Smallest true difference that is decided four times out of five, in standard deviations of the paired",
        "differences; computed, not simulated.",
        "",
        *table(["heads in the table", "3 seeds", "5 seeds", "10 seeds", "20 seeds"], detectable()),
    )


def _error(repetitions: int) -> str:
    return f"{100 * math.sqrt(0.05 * 0.95 / repetitions):.2g}"


def table(header: Sequence[str], rows: Iterator[Sequence[str]]) -> Iterator[str]:
    """Markdown."""
    yield "| " + " | ".join(header) + " |"
    yield "|---|" + "---:|" * (len(header) - 1)
    yield from ("| " + " | ".join(row) + " |" for row in rows)


def main() -> None:
    """Print or write the page."""
    parser = argparse.ArgumentParser(description="How often the statistics of harmbench err, by simulation.")
    parser.add_argument("--repetitions", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    text = "\n".join(page(asked.repetitions, asked.seed)) + "\n"
    if asked.out:
        asked.out.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
