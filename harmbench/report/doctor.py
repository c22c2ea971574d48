"""What `harmbench doctor` shows: the machine's facts, and the state of its energy sources, as lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harmbench.results.energy import EnergyOrigin
from harmbench.results.vocabulary import Component

if TYPE_CHECKING:
    from harmbench.energy.doctor import Diagnosis
    from harmbench.energy.selftest import SelfTest


def machine_facts(data_dir: Path, devices: Sequence[str]) -> dict[str, Any]:
    """Return facts about the machine, without energy.

    Args:
        data_dir: folder of data sets.
        devices: devices that trials would run on.
    """
    from harmbench._devices import torch_has_cuda
    from harmbench.datasets import DATASETS
    from harmbench.nn.kernels import status
    from harmbench.planning import environment

    members = {name: cls for name, cls in DATASETS.members.items() if cls.argument is None}
    return {
        "environment": environment.capture(),
        "torch_has_cuda": torch_has_cuda(),
        "devices": list(devices),
        "kernels": status(),
        "datasets": {name: cls().available(data_dir) for name, cls in members.items()},
        "data_dir": str(data_dir),
    }


def machine_lines(facts: dict[str, Any]) -> Iterator[str]:
    """Yield the machine's facts as lines."""
    machine = facts["environment"]
    yield f"harmbench {machine['versions']['harmbench']} on Python {machine['python']}, {machine['platform']}"
    yield f"processor: {machine['cpu']}, {machine['cpu_count']} threads, {machine['memory_bytes'] / 2**30:.0f} GiB"
    build = "with CUDA" if facts["torch_has_cuda"] else "CPU build"
    yield f"torch: {machine['versions']['torch']} ({build}); trials would run on {', '.join(facts['devices'])}"
    for gpu in machine["gpus"]:
        yield f"GPU: {gpu['name']}, {gpu['memory_bytes'] / 2**30:.0f} GiB, driver {gpu['driver']}"
    if not machine["gpus"]:
        yield "GPU: none that NVML sees"
    kernels = dict(facts["kernels"])
    mode = kernels.pop("kernels")
    yield f"kernels: {', '.join([mode, *(f'{fact} {value}' for fact, value in kernels.items())])}"
    ready = [name for name, reason in facts["datasets"].items() if not reason]
    absent = [name for name, reason in facts["datasets"].items() if reason]
    yield f"data sets ready: {', '.join(ready)}"
    if absent:
        where = f"data sets not in {facts['data_dir']}: {', '.join(absent)}"
        yield f"{where} (run with --datasets NAME --download to get one)"


def energy_lines(diagnosis: Diagnosis) -> Iterator[str]:
    """Yield the state of the energy sources as lines."""
    for component, origin in diagnosis.origins.items():
        scope = f", of the {origin.scope}" if origin.scope else ""
        yield f"energy, {component}: {origin.method}{scope} ({origin.detail})"
    for component, origin in diagnosis.direct_origins.items():
        what = f"a counter ({origin.detail})" if origin.method == "counter" else f"no counter: {origin.detail}"
        yield f"read directly, {component}: {what}"
    for test in diagnosis.tests:
        yield _test_line(test, diagnosis.origins)
    for component, ratio in diagnosis.agreement.items():
        yield f"agreement, {component}: CodeCarbon reports {ratio:.3f} times the counter's joules"
    start = diagnosis.instruments["codecarbon"]["start_s"]
    yield f"CodeCarbon took {start:.1f} s to start; settings from outside: {_outside(diagnosis)}"
    yield from (f"warning {trap.name}: {trap.text}" for trap in diagnosis.traps)
    if missing := ", ".join(diagnosis.not_measured):
        yield f"not measured here: {missing}. `harmbench run --strict` would refuse to run."


def _outside(diagnosis: Diagnosis) -> str:
    return ", ".join(diagnosis.instruments["codecarbon"]["settings_from_outside"]) or "none"


def _test_line(test: SelfTest, origins: Mapping[Component, EnergyOrigin]) -> str:
    """Return the self-test of one source as text. A model has neither noise nor steps of its own."""
    cost = f"a reading costs {test.read_microseconds:.0f} us (worst {test.read_microseconds_worst:.0f})"
    facts = [f"{test.name}: {cost}"]
    for component, watts in test.watts.items():
        parts = [f"{component} {watts:.2f} W"]
        if test.name == "CodeCarbon" and origins[component].method == "model":
            facts.append(f"{parts[0]} by its model")
            continue
        if component in test.noise:
            parts.append(f"±{test.noise[component]:.1%}")
        if component in test.renewal_s:
            step, period = test.step_joules[component], test.renewal_s[component]
            parts.append(f"steps of {step:.2g} J every {1000 * period:.0f} ms")
        facts.append(" ".join(parts))
    facts += [f"{component}: {gap}" for component, gap in test.gaps.items()]
    return "; ".join(facts)
