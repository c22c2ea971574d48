"""Known problems of energy figures, each checked by one function.

A trap returns a sentence where it applies on this machine, and nothing where it does not. The page
docs/reference/energy-traps.md describes how harmbench handles each of them. This module has those that depend on the
machine and its settings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from harmbench.results.records import BoardState, Component, EnergyOrigin, Record

OLDEST, FIRST_TOO_NEW = (3, 3, 2), (4,)
BUSY = 0.2  # share of the processors at work while nothing runs
UNSTEADY = 0.1  # idle noise
DISAGREEMENT = 0.1


class Trap(Record):
    """A trap that applies here."""

    name: str
    text: str


@dataclass(frozen=True)
class MachineFacts:
    """Facts about the machine that the checks read.

    Attributes:
        origins: of CodeCarbon's joules.
        direct_origins: of the counters read directly.
        codecarbon: its `describe()`.
        rapl: its `describe()`.
        devices: torch devices that trials would run on.
        boards: number of boards that NVML sees.
        partitioned: whether a board in use is cut into MIG instances.
        board: what the boards say of themselves.
        variables: the environment.
        virtual: whether this is a virtual machine.
        busy: share of the processors at work while nothing of ours runs; None where it was not watched.
        noise: spread of the idle power, as a share, by component.
        agreement: CodeCarbon's power over the counters', by component.
    """

    origins: Mapping[Component, EnergyOrigin]
    direct_origins: Mapping[Component, EnergyOrigin] = field(default_factory=dict)
    codecarbon: Mapping[str, Any] = field(default_factory=dict)
    rapl: Mapping[str, Any] = field(default_factory=dict)
    devices: tuple[str, ...] = ("cpu",)
    boards: int = 0
    partitioned: bool = False
    board: BoardState | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    virtual: bool = False
    busy: float | None = None
    noise: Mapping[Component, float] = field(default_factory=dict)
    agreement: Mapping[Component, float] = field(default_factory=dict)

    def method(self, component: Component) -> str:
        """Caveats of CodeCarbon's joules."""
        if component not in self.origins:
            return "missing"
        return self.origins[component].method

    @property
    def uses_gpu(self) -> bool:
        return any(device.startswith("cuda") for device in self.devices)


TRAPS: dict[str, Callable[[MachineFacts], str]] = {}


def trap(check: Callable[[MachineFacts], str]) -> Callable[[MachineFacts], str]:
    """Add a check to the list, under its own name."""
    TRAPS[check.__name__.replace("_", "-")] = check
    return check


def find(facts: MachineFacts) -> tuple[Trap, ...]:
    """The traps that apply."""
    traps = []
    for name, check in TRAPS.items():
        text = check(facts)
        if text:
            traps.append(Trap(name=name, text=text))
    return tuple(traps)


# --- CodeCarbon ------------------------------------------------------------------------------------------------


@trap
def codecarbon_version(facts: MachineFacts) -> str:
    """3.3.0 always reads 0 from GPUs without a counter. The adapter was checked against 3.3.2."""
    version = str(facts.codecarbon.get("version", ""))
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
    if not version or OLDEST <= numbers < FIRST_TOO_NEW:
        return ""
    return f"CodeCarbon {version} is not >=3.3.2,<4, which the adapter was checked against"


@trap
def online_tracker(facts: MachineFacts) -> str:
    """The ordinary tracker asks the network where it is and bills the wait."""
    kind = facts.codecarbon.get("tracker", "OfflineEmissionsTracker")
    if kind == "OfflineEmissionsTracker":
        return ""
    return f"CodeCarbon's {kind} is in use, not the offline tracker"


@trap
def no_periodic_reading(facts: MachineFacts) -> str:
    """Without it, a counter that wraps within a window is lost."""
    if facts.codecarbon.get("periodic_reading", True):
        return ""
    return "CodeCarbon's periodic reading is off: a counter that wraps within a window is lost"


@trap
def process_mode(facts: MachineFacts) -> str:
    """`process` is another model of the CPU, and changes nothing for counters and GPUs."""
    mode = facts.codecarbon.get("tracking_mode", "machine")
    if mode == "machine":
        return ""
    return f"CodeCarbon tracks by {mode}: another model of the processor than `machine`"


@trap
def pue_inside(facts: MachineFacts) -> str:
    """PUE is applied in reports. Inside CodeCarbon it would be applied twice."""
    pue = facts.codecarbon.get("pue", 1)
    if pue == 1:
        return ""
    return f"CodeCarbon multiplies joules by a PUE of {pue:g}; reports would do so again"


@trap
def settings_from_outside(facts: MachineFacts) -> str:
    """Config files and variables change CodeCarbon's figures in silence."""
    names = facts.codecarbon.get("settings_from_outside", [])
    if not names:
        return ""
    return f"CodeCarbon has settings from {', '.join(names)}; harmbench sets all that could change joules itself"


# --- processor and memory --------------------------------------------------------------------------------------


@trap
def cpu_modelled(facts: MachineFacts) -> str:
    """Without a counter, CPU joules are time and load times a constant."""
    if facts.method("cpu") != "model":
        return ""
    detail = facts.origins["cpu"].detail
    return f"CPU joules are modelled ({detail}): they follow time and the whole machine's load, and decide nothing"


@trap
def cpu_power_guessed(facts: MachineFacts) -> str:
    """The nominal power is 4 W a thread where CodeCarbon does not know the processor."""
    if facts.method("cpu") != "model":
        return ""
    threads = facts.codecarbon.get("threads")
    match = re.search(r"TDP ([\d.]+) W", facts.origins["cpu"].detail)
    if not match or not threads or float(match[1]) != 4 * threads:
        return ""
    model = facts.codecarbon.get("cpu_model") or "this processor"
    return f"CodeCarbon does not know {model}: its nominal power is a guess of 4 W for each of {threads} threads"


@trap
def rapl_not_shown(facts: MachineFacts) -> str:
    """Virtual machines and containers hide the processor's counters."""
    direct = facts.direct_origins.get("cpu")
    if direct is None or direct.method != "missing" or "root only" in direct.detail:
        return ""
    where = "; this is a virtual machine, whose host may show it" if facts.virtual else ""
    return f"no processor counter: {direct.detail}{where}"


@trap
def rapl_not_readable(facts: MachineFacts) -> str:
    """Since 2020 kernels let only root read RAPL."""
    direct = facts.direct_origins.get("cpu")
    if direct is not None and direct.method == "missing" and "root only" in direct.detail:
        return direct.detail
    return ""


@trap
def rapl_wraps(facts: MachineFacts) -> str:
    """A counter without a known range cannot be followed over a wrap."""
    domains = [d["domain"] for d in facts.rapl.get("domains", []) if d["wraps_at_joules"] is None]
    if not domains:
        return ""
    return f"RAPL does not say where {', '.join(domains)} wraps: a wrap will look like a jump"


@trap
def rapl_mirrored(facts: MachineFacts) -> str:
    """Dies of one package may show one counter several times."""
    mirrors = [d["domain"] for d in facts.rapl.get("domains", []) if d["mirror"]]
    if not mirrors:
        return ""
    return f"RAPL shows one counter several times; {', '.join(mirrors)} not counted again"


@trap
def ram_guessed(facts: MachineFacts) -> str:
    """RAM joules are watts for each memory module that CodeCarbon assumes."""
    if facts.method("ram") != "model":
        return ""
    return "RAM joules are a guess (watts for each assumed memory module): shown apart, left out of sums and verdicts"


@trap
def machine_not_quiet(facts: MachineFacts) -> str:
    """Whatever else runs is billed to the trial."""
    if facts.busy is None or facts.busy < BUSY:
        return ""
    return f"{facts.busy:.0%} of the processors are busy with something else, and it is billed to the trials"


@trap
def idle_not_steady(facts: MachineFacts) -> str:
    """A restless idle power makes net energy, and short windows, unsure."""
    spreads = []
    for component, share in facts.noise.items():
        if share > UNSTEADY and facts.method(component) != "model":
            spreads.append(f"{component} ±{share:.0%}")
    if not spreads:
        return ""
    return f"idle power is not steady: {', '.join(spreads)}"


# --- GPU -------------------------------------------------------------------------------------------------------


@trap
def gpu_not_counted(facts: MachineFacts) -> str:
    """A GPU that takes part and has no joules."""
    if not facts.uses_gpu or facts.method("gpu") != "missing":
        return ""
    return f"a GPU takes part and has no joules: {facts.origins['gpu'].detail}"


@trap
def gpu_polled(facts: MachineFacts) -> str:
    """Polling sees about a quarter of the run time on A100 and H100 (arXiv 2312.02741)."""
    if facts.method("gpu") != "polled":
        return ""
    return "GPU joules come from polled power, which sees only part of the time; windows under 1 s have none"


@trap
def gpu_named_by_uuid(facts: MachineFacts) -> str:
    """CodeCarbon does not match such names. They are resolved to NVML's indices."""
    visible = facts.variables.get("CUDA_VISIBLE_DEVICES", "")
    if not visible.startswith(("GPU-", "MIG-")):
        return ""
    if not facts.uses_gpu:
        return f"CUDA_VISIBLE_DEVICES={visible} names no board that is here"
    return f"CUDA_VISIBLE_DEVICES names {visible.split('-')[0]} ids; resolved to NVML's indices {_indices(facts)}"


def _indices(facts: MachineFacts) -> str:
    return ", ".join(str(index) for index in facts.codecarbon.get("gpu_indices", [])) or "none"


@trap
def gpu_partitioned(facts: MachineFacts) -> str:
    """The energy counter of a board that is cut into MIG instances counts all of them."""
    if not facts.partitioned:
        return ""
    return "a GPU in use is a MIG instance: its joules are the whole board's, other instances included"


@trap
def gpu_order(facts: MachineFacts) -> str:
    """CUDA's own order of boards is not NVML's."""
    order = facts.variables.get("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    if order == "PCI_BUS_ID" or facts.boards < 2:
        return ""
    return f"CUDA_DEVICE_ORDER={order}: cuda:0 need not be the board that NVML calls 0; use PCI_BUS_ID"


@trap
def gpu_shared(facts: MachineFacts) -> str:
    """Other processes on the board are billed to the trial."""
    if facts.board is None or not facts.board.other_processes:
        return ""
    return f"{facts.board.other_processes} other process(es) at work on the GPU are billed to the trials"


@trap
def gpu_throttled(facts: MachineFacts) -> str:
    """Clocks held back make later trials slower than earlier ones."""
    if facts.board is None or not facts.board.throttling:
        return ""
    return f"the GPU's clocks are held back: {', '.join(facts.board.throttling)}"


@trap
def several_devices(facts: MachineFacts) -> str:
    """Trials at work together share processor and memory."""
    count = len(facts.devices)
    if count < 2:
        return ""
    return f"trials on {count} devices share processor and memory: their joules are n/a"


# --- both ------------------------------------------------------------------------------------------------------


@trap
def sources_disagree(facts: MachineFacts) -> str:
    """CodeCarbon and the counter itself should say the same."""
    ratios = [f"{c} x {ratio:.2f}" for c, ratio in facts.agreement.items() if abs(ratio - 1) > DISAGREEMENT]
    if not ratios:
        return ""
    return f"CodeCarbon and the counters disagree: {', '.join(ratios)}"


@trap
def no_region(facts: MachineFacts) -> str:
    """CO2 of a region that nobody named is that of the world's average grid."""
    if facts.variables.get("HARMBENCH_REGION"):
        return ""
    return "no region is named (--region, HARMBENCH_REGION): CO2 will be the world average's"
