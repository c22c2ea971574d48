"""Training throughput."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import quantiles
from typing import ClassVar

from harmbench.meters._base import Meter, Outcome, Watcher
from harmbench.meters._peaks import peak_flops
from harmbench.results.records import Direction, Measurement


class Throughput(Meter):
    """Samples per second in steady state, percentiles of the step time, the wait for data, operations and MFU.

    A step is taking the batch, forward, backward and the optimizer, by the clock on a CPU, by events in the stream on
    CUDA. Warm-up steps, validations and the meters themselves are outside, and so is the first step, which allocates
    the optimizer's state. Throughput is the batch size over the mean step time.

    Operations (FLOPs) of a step are those of the model, forward and backward: torch counts matrix products and
    convolutions. Operations of a distance head come from a formula (docs/reference/measures.md) and are marked as
    modelled. MFU, the model FLOPs utilization, is their rate over the peak of the device's data sheet, dense, at the
    trial's precision.
    """

    name: ClassVar[str] = "throughput"

    def watcher(self) -> Watcher:
        return _ThroughputWatcher()


class _ThroughputWatcher(Watcher):
    def measurements(self, outcome: Outcome) -> list[Measurement]:
        if outcome.shared:
            return _of_stack(outcome)
        seconds = steady(outcome.step_seconds)
        waited = sum(steady(outcome.batch_seconds)) / sum(seconds)
        few = f"of {len(seconds)} steps" if len(seconds) < 100 else ""
        warm = "" if outcome.warm_up.settled else "the step time had not settled"
        return [
            Measurement.of("throughput", outcome.batch_size * len(seconds) / sum(seconds), "sample/s", "higher"),
            *_tokens(outcome, seconds),
            Measurement.of("step_seconds_p50", percentile(seconds, 50), "s", "lower"),
            Measurement.of("step_seconds_p95", percentile(seconds, 95), "s", "lower"),
            Measurement.of("step_seconds_p99", percentile(seconds, 99), "s", "lower", few),
            Measurement.of("data_wait_share", waited, "1", "lower"),
            Measurement.of("warm_up_steps", outcome.warm_up.steps, "step", "neither", warm),
            *_flops(outcome, sum(seconds) / len(seconds)),
        ]


def _of_stack(outcome: Outcome) -> list[Measurement]:
    """Measurements of a seed that was trained in a group, which has operations but no step times of its own."""
    missing: list[tuple[str, str, Direction]] = [
        ("throughput", "sample/s", "higher"),
        *((f"step_seconds_p{percent}", "s", "lower") for percent in (50, 95, 99)),
        ("data_wait_share", "1", "lower"),
    ]
    warm = f"of {outcome.group_size} seeds together"
    if not outcome.warm_up.settled:
        warm += "; step time had not settled"
    return [
        *(Measurement.of(name, None, unit, better, outcome.shared) for name, unit, better in missing),
        Measurement.of("warm_up_steps", outcome.warm_up.steps, "step", "neither", warm),
        *_flops(outcome, None),
    ]


def _tokens(outcome: Outcome, seconds: Sequence[float]) -> Iterator[Measurement]:
    """Tokens that the model reads per second, for text only."""
    if outcome.batch_tokens is not None:
        rate = outcome.batch_tokens * len(seconds) / sum(seconds)
        yield Measurement.of("tokens_per_second", rate, "token/s", "higher")


def steady(seconds: Sequence[float]) -> Sequence[float]:
    """All values but the first, or the first if it is the only one."""
    return seconds[1:] or seconds


def percentile(seconds: Sequence[float], percent: int) -> float:
    """Percentile with linear interpolation.

    >>> percentile([1.0, 2.0, 3.0], 50)
    2.0
    """
    if len(seconds) < 2:
        return seconds[0]
    return quantiles(seconds, n=100, method="inclusive")[percent - 1]


def _flops(outcome: Outcome, step_seconds: float | None) -> Iterator[Measurement]:
    """FLOPs of the head and of the whole step, and their rate relative to the device's peak (if seconds are known)."""
    flops = outcome.count_flops()
    total = None if flops.head is None else flops.backbone + flops.head
    origin = "measured" if flops.is_counted else "modelled"
    for name, value in (("head_flops_per_step", flops.head), ("flops_per_step", total)):
        more = {} if value is None else {"origin": origin}
        yield Measurement.of(name, value, "FLOP", "lower", flops.how, **more)
    if step_seconds is None:
        yield Measurement.of("mfu", None, "1", "higher", outcome.shared)
        return
    peak = peak_flops(outcome.device_name, outcome.protocol.precision)
    if total is None:
        yield Measurement.of("mfu", None, "1", "higher", flops.how)
    elif isinstance(peak, str):
        yield Measurement.of("mfu", None, "1", "higher", peak)
    else:
        note = f"{flops.how}; peak {peak / 1e12:g} TFLOP/s of the data sheet"
        yield Measurement.of("mfu", total / step_seconds / peak, "1", "higher", note, origin="modelled")
