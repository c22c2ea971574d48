"""Machine, versions and instruments of a run, as pairs of label and text."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from harmbench.analysis.cells import sources_of
from harmbench.report.numbers import MISSING, amount
from harmbench.results.store import RunData
from harmbench.results.vocabulary import COMPONENTS


def environment_of(run: RunData) -> Iterator[tuple[str, str]]:
    for machine in run.environments.values():
        gpus = ", ".join(gpu["name"] for gpu in machine["gpus"]) or "none"
        versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
        yield (
            "machine",
            f"{machine['cpu']}, {machine['cpu_count']} threads, {machine['memory_bytes'] / 2**30:.0f} GiB; GPU: {gpus}",
        )
        yield "system", f"{machine['platform']}, Python {machine['python']}"
        yield "versions", versions + (f", commit {machine['commit']}" if machine["commit"] else "")
        outside = machine.get("codecarbon_settings_from_outside", [])
        yield "variables", ", ".join(f"{k}={v}" for k, v in machine["variables"].items()) or "none that affect results"
        yield "CodeCarbon settings from outside", ", ".join(outside) or "none"
    for component, origin in sources_of(run.trials).items():
        renewed = f"every {origin.period_s:g} s" if origin.period_s else ""
        yield f"energy: {component}", ", ".join(filter(None, (origin.method, origin.scope, renewed, origin.detail)))
    yield from _instruments(run)
    yield "protocol", ", ".join(f"{field} {value}" for field, value in run.header["suite"]["protocol"].items())
    kernel_facts = ("kernels", "instruction set", "compiler")
    for status in dict.fromkeys(tuple(t.kernels[what] for what in kernel_facts) for t in run.trials if t.kernels):
        yield "kernels", ", ".join(f"{what} {value}" for what, value in zip(kernel_facts, status, strict=True))
    if run.trials:
        spent = sum(phase.seconds for trial in run.trials for phase in trial.phases)
        yield "first trial", run.trials[0].started
        yield "time in trials", f"{spent:.0f} s"
    speeds = [(t.machine.before + t.machine.after) / 2 for t in run.trials if t.machine]
    if speeds:
        usual, least, most = (1000 * seconds for seconds in (median(speeds), min(speeds), max(speeds)))
        yield "fixed workload", f"median {usual:.3g} ms, {least:.3g} to {most:.3g} ms around the trials"


def _instruments(run: RunData) -> Iterator[tuple[str, str]]:
    """Yield direct counters, idle power and warnings about energy."""
    starts = [end for end in run.invocations if end.moment == "start"]
    direct = {c: o["detail"] for end in starts for c, o in end.instruments.get("direct_origins", {}).items()}
    yield from ((f"read directly: {component}", detail) for component, detail in direct.items())
    for end in run.invocations:
        if end.idle is not None:
            watts = [(c, end.idle.watts(c)) for c in COMPONENTS]
            formatted = ", ".join(f"{c} {amount(value)} W" for c, value in watts if value is not None) or MISSING
            yield f"idle power, {end.device}, {end.moment}", f"{formatted}, over {end.idle.seconds:.1f} s"
    traps = {trap["name"]: trap["text"] for end in starts for trap in end.instruments.get("traps", [])}
    yield from ((f"warning: {name}", text) for name, text in traps.items() if name != "no-region")
