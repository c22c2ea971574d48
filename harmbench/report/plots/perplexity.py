"""Perplexity and bits per byte of every head."""

from __future__ import annotations

from typing import ClassVar

from harmbench.report.charts import Dots
from harmbench.report.formats import Figure
from harmbench.report.plots._base import Plot
from harmbench.report.plots.accuracy import measured_in, panels_of
from harmbench.results.store import RunData

PERPLEXITY, BITS = "test_perplexity", "test_bits_per_byte"


class Perplexity(Plot):
    """Bits per byte of every head on the test part of a text, or its perplexity where the tokens' lengths are unknown.

    The plot shows means with their intervals, each seed's value, and the baseline as a line. There is a panel for each
    condition and a row for each head, in the order of their mean over the panels. Disqualified heads come last.
    """

    name: ClassVar[str] = "perplexity"
    place: ClassVar[int] = 1

    def applies(self, run: RunData) -> str | None:
        return None if measured_in(run, PERPLEXITY) else "no trial has a perplexity; it is of text, by that meter"

    def figures(self, run: RunData) -> tuple[Figure, ...]:
        with_bits = measured_in(run, BITS)
        shown = with_bits or measured_in(run, PERPLEXITY)
        what = "Bits per byte" if with_bits else "Perplexity"
        return (
            Dots(
                name=self.name,
                caption=f"{what} of every head on the test part: mean over seeds with its 95 % t interval, ticks for "
                "the seeds; less is better. The dashed line is the baseline. Masked models see both sides of a gap, "
                "and are not to be compared with causal ones. Heads of one color are of one family.",
                axis="bits per byte" if with_bits else "perplexity",
                panels=panels_of(shown, BITS if with_bits else PERPLEXITY, factor=1, sign=-1),
            ),
        )
