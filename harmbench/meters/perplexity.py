"""Perplexity and bits per byte of a language model on the test part."""

from __future__ import annotations

import math
from typing import ClassVar

from harmbench.meters._base import Meter, Outcome, Watcher
from harmbench.results.records import Measurement


class Perplexity(Meter):
    """Perplexity and bits per byte of the test part, from the negative log-likelihood, without label smoothing.

    Perplexity is exp of the mean NLL of a token and depends on the tokenizer. Bits per byte do not: the sum of the NLL
    in bits over the length of the same tokens in bytes of UTF-8. End marks count as bits and have no bytes. Of a masked
    model both are pseudo-likelihoods, of the masked tokens given all others: not to be compared with a causal model's.
    """

    name: ClassVar[str] = "perplexity"

    def watcher(self) -> Watcher:
        return _PerplexityWatcher()


class _PerplexityWatcher(Watcher):
    def measurements(self, outcome: Outcome) -> list[Measurement]:
        if outcome.token_bytes is None:
            units = {"test_perplexity": "1", "test_bits_per_byte": "bit/B", "test_tokens": "token"}
            return [Measurement.of(name, None, unit, "neither", "no text") for name, unit in units.items()]
        nll = outcome.test_nll.double()
        length = float(outcome.token_bytes[outcome.test_targets].sum())
        bits = nll.sum().item() / math.log(2) / length if length else None
        return [
            Measurement.of("test_perplexity", nll.mean().exp().item(), "1", "lower"),
            Measurement.of(
                "test_bits_per_byte",
                bits,
                "bit/B",
                "lower",
                "" if length else "nobody knows the tokens' lengths in bytes",
            ),
            Measurement.of("test_tokens", len(nll), "token", "neither"),
        ]
