"""The contract of a meter.

    disturbs nothing    training is bit for bit the same with and without it
    measurements        with a unit, a direction, and a value or the reason why it is missing; names of their own
    state               a watcher that is saved and restored ends with the values of one that saw it all

`check_meter` runs all of them; each is also a function of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import get_args

import torch

from harmbench.meters import METERS, Meter, Outcome, Watcher
from harmbench.results.records import Direction, Measurement
from harmbench.testing._contract import (
    Contract,
    Result,
    Skipped,
    components_of,
    enforce,
    is_written_as_it_is_read,
    judge,
    require,
)
from harmbench.testing._rehearsal import STEPS, nothing_outcome, rehearse, sample_outcome, text_outcome

MOST_POINTS = 1024  # of a curve
OF_MACHINE = ("B", "s", "J")  # units of what differs between two equal trainings


def leaves_training_as_it_is(meter: Meter) -> None:
    """Training is bit for bit the same with the meter and without, with and without clipping, with a noisy head."""
    for clip in (None, 0.5):
        is_untouched_by(meter.watcher(), clip)


def is_untouched_by(watcher: Watcher, clip: float | None = None) -> None:
    """The same of one watcher."""
    alone, watched = rehearse([], clip).parameters, rehearse([watcher], clip).parameters
    for name, weights in alone.items():
        off = (weights - watched[name]).abs().max().item()
        is_same = torch.equal(weights, watched[name])
        require(is_same, f"training is not bit-identical with the meter: {name} differs by {off:.3g}")


def _outcomes() -> Iterator[tuple[str, Outcome]]:
    yield "a trial on images", sample_outcome()
    yield "a trial on text", text_outcome()
    yield "a trial in which nothing could be measured", nothing_outcome()


def gives_complete_measurements(meter: Meter) -> None:
    """Each measurement has a unit and a direction, and a value or the reason why it is missing."""
    (watcher,) = rehearse([meter.watcher()]).watchers
    for kind, outcome in _outcomes():
        for measurement in watcher.measurements(outcome):
            _is_complete(kind, measurement)
    for measurement in watcher.partial():
        _is_complete("a trial that diverged", measurement)
    require(watcher.measurements(sample_outcome()) or watcher.partial(), "it measures nothing in a trial on images")


def _is_complete(kind: str, measurement: Measurement) -> None:
    name = measurement.name
    require(measurement.unit, f"{name} has no unit, of {kind}")
    directions = get_args(Direction)
    require(measurement.better in directions, f"{name}: better is '{measurement.better}', not one of {directions}")
    is_missing = measurement.value is None
    require(
        is_missing == (measurement.origin == "missing"),
        f"{name}: value {measurement.value} of origin '{measurement.origin}', of {kind}",
    )
    require(not is_missing or len(measurement.reason) > 3, f"{name} is missing without a reason, of {kind}")


def measures_without_having_watched(meter: Meter) -> None:
    """A watcher that saw no step still gives measurements: values, or reasons."""
    for kind, outcome in _outcomes():
        for measurement in meter.watcher().measurements(outcome):
            _is_complete(kind, measurement)


def gives_each_name_once(meter: Meter) -> None:
    """No measure is given twice."""
    (watcher,) = rehearse([meter.watcher()]).watchers
    for kind, outcome in _outcomes():
        counts = Counter(measurement.name for measurement in watcher.measurements(outcome))
        doubled = [name for name, count in counts.items() if count > 1]
        require(not doubled, f"gives {', '.join(doubled)} more than once, of {kind}")


def has_names_of_its_own(meter: Meter) -> None:
    """No other meter has a measure of the same name."""
    names = {measurement.name for measurement in meter.watcher().measurements(sample_outcome())}
    for other in METERS.every_variant():
        if other.name != meter.name:
            taken = names & {measurement.name for measurement in other.watcher().measurements(sample_outcome())}
            require(not taken, f"{', '.join(sorted(taken))}: the meter {other.name} has measures of these names")


def gives_bounded_curves(meter: Meter) -> None:
    """Curves have as many steps as values, in order, and a bounded number of them."""
    (watcher,) = rehearse([meter.watcher()]).watchers
    for curve in watcher.curves():
        steps = list(curve.steps)
        require(curve.unit, f"the curve {curve.name} has no unit")
        require(len(steps) == len(curve.values), f"{curve.name}: {len(steps)} steps, {len(curve.values)} values")
        require(len(steps) <= MOST_POINTS, f"{curve.name}: {len(steps)} points; a curve has at most {MOST_POINTS}")
        is_ordered = steps == sorted(set(steps)) and all(1 <= step <= STEPS for step in steps)
        require(is_ordered, f"{curve.name}: steps are not in order, or not steps of the trial: {steps[:8]}")


def resumes_from_its_state(meter: Meter) -> None:
    """A watcher whose state is saved and restored half way ends with the same values as one that saw it all."""
    (probe,) = rehearse([meter.watcher()]).watchers
    state = probe.state()
    if state is None:
        raise Skipped("its watcher has no state(); a resumed trial says so in its record")

    def restored(watcher: Watcher) -> Watcher:
        saved = watcher.state()
        require(saved is not None, "state() is None in the middle of a trial, and not at its end")
        again = meter.watcher()
        again.on_start(torch.device("cpu"))
        again.restore(saved or {})
        return again

    (resumed,) = rehearse([meter.watcher()], interrupt=restored).watchers
    whole = _values(probe)
    for name, value in _values(resumed).items():
        require(value == whole[name], f"{name} is {value} after a restart, {whole[name]} without one")


def _values(watcher: Watcher) -> dict[str, float | None]:
    """Its values by name, without memory, time and energy, which differ between two equal trainings."""
    measurements = watcher.measurements(sample_outcome())
    return {measurement.name: measurement.value for measurement in measurements if measurement.unit not in OF_MACHINE}


CONTRACTS: tuple[Contract, ...] = (
    leaves_training_as_it_is,
    gives_complete_measurements,
    measures_without_having_watched,
    gives_each_name_once,
    has_names_of_its_own,
    gives_bounded_curves,
    resumes_from_its_state,
    is_written_as_it_is_read,
)


def judge_meter(meter: Meter | type[Meter]) -> tuple[Result, ...]:
    """The result of each contract on a meter, or on all named variants of a class."""
    return tuple(result for each in components_of(meter) for result in judge(each, CONTRACTS))


def check_meter(meter: Meter | type[Meter]) -> tuple[Result, ...]:
    """Check a meter, or all named variants of a class, against the contract.

    Args:
        meter: an instance, or a class.

    Returns:
        One result for each variant and contract.

    Raises:
        ContractError: naming every broken contract.

    >>> from harmbench.meters import METERS
    >>> results = check_meter(METERS.parse("quality"))
    >>> results[0].contract, results[0].status
    ('leaves_training_as_it_is', 'passed')
    """
    return enforce(judge_meter(meter))
