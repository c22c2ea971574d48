"""How fast a trial trains."""

from __future__ import annotations

from statistics import quantiles
from typing import ClassVar

from harmbench.meters._base import Meter, Outcome, Watcher
from harmbench.records import Measurement


class Throughput(Meter):
    """Samples per second in steady state, and the median and 95th percentile of the step time.

    A step is one forward, backward and optimiser step, by the clock on a CPU, by events in the stream on CUDA. Warm-up
    steps, validations and the meters themselves are outside. Throughput is the batch size over the mean step time.
    """

    name: ClassVar[str] = "throughput"

    def watcher(self) -> Watcher:
        return _ThroughputWatcher()


class _ThroughputWatcher(Watcher):
    def measurements(self, outcome: Outcome) -> list[Measurement]:
        seconds = outcome.step_seconds
        cuts = quantiles(seconds, n=20, method="inclusive") if len(seconds) > 1 else [seconds[0]] * 19
        return [
            Measurement.of("throughput", outcome.batch_size * len(seconds) / sum(seconds), "sample/s", "higher"),
            Measurement.of("step_seconds_p50", cuts[9], "s", "lower"),
            Measurement.of("step_seconds_p95", cuts[18], "s", "lower"),
        ]
