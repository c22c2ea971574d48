"""Cost of heads: time and memory of a training step of head and loss, as ratios to a linear layer.

One step is the forward and backward pass of head and loss, with the gradients of the features and of the centers. It
is timed alternately with `nn.Linear` (no bias) and `F.cross_entropy` of the same shape in the same process, so that
other load slows both. Each ratio is that of two neighboring measurements. The table shows median and quartiles.

    fast         the fused loss, through the form that is chosen for the problem
    cdist        `torch.cdist` and autograd, for the p-norms
    reference    the formula and autograd, where its (B, K, N) tensors fit in memory

Slow forms that would take minutes, as predicted from a smaller problem, are left out with a note.
"""

from __future__ import annotations

import ctypes
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Self

import psutil
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from harmbench.errors import OptionError
from harmbench.nn import kernels
from harmbench.nn.distances import DISTANCES, Distance
from harmbench.nn.functional import harmonic_loss
from harmbench.nn.kernels import harmonic

Form = Literal["fast", "cdist", "reference"]
FORMS: tuple[Form, ...] = ("fast", "cdist", "reference")
_TURN = 0.01  # least seconds of a turn, far above the resolution of the clock
_PROBE = 1 << 22  # coordinates of all pairs of the small problem from which a larger one is predicted
_PATIENCE = 60.0  # most seconds of a step that is not the fast form


class Shape(NamedTuple):
    """Rows, features and classes of one problem.

    >>> Shape.parse("256x512x10")
    Shape(rows=256, features=512, classes=10)
    """

    rows: int
    features: int
    classes: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ROWSxFEATURESxCLASSES.

        Raises:
            OptionError: for anything else.
        """
        parts = text.lower().split("x")
        if len(parts) != 3 or not all(part.isdigit() and int(part) for part in parts):
            raise OptionError(f"cannot read shape '{text}'; write ROWSxFEATURESxCLASSES, such as 256x512x10")
        return cls(*map(int, parts))

    def __str__(self) -> str:
        return "x".join(map(str, self))


SHAPES = tuple(map(Shape.parse, ("256x512x10", "256x512x100", "256x2048x1000", "2048x256x8192", "1024x768x50304")))


@dataclass(frozen=True)
class Cost:
    """One line of the table.

    Attributes:
        shape, distance, form: problem and head.
        how: the kernel form that ran.
        ratio, low, high: median and quartiles of the step's time over that of the linear layer.
        milliseconds: median time of the step.
        linear_milliseconds: median time of the linear layer's step, measured alternately.
        extra_mb: peak memory beyond the inputs, in 10^6 bytes; None where it cannot be read.
        rounds: number of pairs of measurements; 1 for a slow form that takes longer than the time for the line.
    """

    shape: str
    distance: str
    form: Form
    how: str
    ratio: float
    low: float
    high: float
    milliseconds: float
    linear_milliseconds: float
    extra_mb: float | None
    rounds: int


@dataclass(frozen=True)
class SkippedHead:
    """A line that was not measured, and the reason."""

    shape: str
    distance: str
    form: Form
    reason: str


def measure(
    distances: Iterable[Distance],
    shapes: Iterable[Shape] = SHAPES,
    forms: Sequence[Form] = ("fast", "cdist"),
    *,
    device: str = "cpu",
    seconds: float = 3.0,
) -> Iterator[Cost | SkippedHead]:
    """Measure costs and yield each as soon as it is measured.

    Leaves out the form `cdist` of distances that `torch.cdist` does not have.

    Args:
        distances: of the heads.
        shapes: sizes of the problems.
        forms: `fast`, `cdist`, `reference`.
        device: that runs the steps.
        seconds: to measure each line. A fast form whose step takes longer is measured three times, another form once.

    >>> from harmbench.nn.distances import DISTANCES
    >>> [cost.distance for cost in measure([DISTANCES.parse("cosine")], [Shape(8, 4, 3)], ["fast"], seconds=0.0)]
    ['cosine']
    """
    chosen = list(distances)
    for shape in shapes:
        x, w, y = _problem(shape, device)
        linear = _linear(x, w, y)
        linear()
        for distance in chosen:
            for form in forms:
                reason = _beyond_reach(distance, form, shape, x.device)
                if reason:
                    yield SkippedHead(str(shape), str(distance), form, reason)
                    continue
                step = _loss(distance, form, x, w, y)
                if step is None:
                    continue
                how: str = form
                if form == "fast":
                    how = _how(distance, x, w)
                yield _cost(shape, distance, form, how, step, linear, x.device, seconds)


def _problem(shape: Shape, device: str | torch.device) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    x = torch.randn(shape.rows, shape.features, device=device, requires_grad=True)
    w = torch.randn(shape.classes, shape.features, device=device) / shape.features**0.5
    return x, w.requires_grad_(), torch.randint(0, shape.classes, (shape.rows,), device=device)


def _beyond_reach(distance: Distance, form: Form, shape: Shape, device: torch.device) -> str | None:
    """Reason why a step takes too much memory or time, as predicted from a smaller one, or None if it does not."""
    pairs = _PROBE // shape.features
    rows = max(1, min(shape.rows, pairs // min(shape.classes, 64)))
    classes = max(1, min(shape.classes, pairs // rows))
    probe = shape._replace(rows=rows, classes=classes)
    share = shape.rows * shape.classes / (probe.rows * probe.classes)
    if form == "fast" or share <= 1:
        return None
    step = _loss(distance, form, *_problem(probe, device))
    if step is None:
        return None
    step()
    megabytes = _peak_memory(step, device)
    seconds = _seconds(step, 1, device) * share
    if megabytes is not None and megabytes * share * 1e6 >= _free_memory(device):
        gigabytes = megabytes * share / 1e3
        decimals = int(gigabytes < 10)
        return f"would need {gigabytes:.{decimals}f} GB"
    if seconds > _PATIENCE:
        return f"would take about {float(f'{seconds:.1g}'):.0f} s"
    return None


def _free_memory(device: torch.device) -> float:
    """Bytes that a step may take: nine tenths of the free memory."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
    else:
        free = psutil.virtual_memory().available
    return 0.9 * float(free)


def _linear(x: Tensor, w: Tensor, y: Tensor) -> Callable[[], None]:
    return _step(lambda: F.cross_entropy(F.linear(x, w), y), [x, w])


def _step(loss: Callable[[], Tensor], leaves: Sequence[Tensor]) -> Callable[[], None]:
    def step() -> None:
        loss().backward()  # type: ignore[no-untyped-call]
        for leaf in leaves:
            leaf.grad = None

    return step


def _loss(distance: Distance, form: Form, x: Tensor, w: Tensor, y: Tensor) -> Callable[[], None] | None:
    start = distance.initial_parameters(x.shape[1])
    parameters = {name: value.to(x.device).requires_grad_() for name, value in start.items()}
    leaves = [x, w, *parameters.values()]
    if form == "fast":
        return _step(lambda: harmonic_loss(x, w, y, distance=distance, parameters=parameters), leaves)
    n = x.shape[1] ** 0.5

    def nll(d: Tensor) -> Tensor:
        return harmonic.row_losses(d, n, y, None, 0.0).mean()

    if form == "cdist":
        p = _order(distance)
        if p is None:
            return None
        return _step(lambda: nll(torch.cdist(x, w, p=p)), leaves)
    return _step(lambda: nll(distance.pairwise(x, w, parameters, True)), leaves)


def _order(distance: Distance) -> float | None:
    """p of a distance that is a p-norm of `torch.cdist`, or None for another one."""
    if distance.name == "minkowski":
        p = dict(distance)["p"]
        if p == "learnable":
            return None
        return float(p)
    orders = {"euclidean": 2.0, "manhattan": 1.0, "chebyshev": float("inf")}
    return orders.get(str(distance))


def _how(distance: Distance, x: Tensor, w: Tensor) -> str:
    return harmonic.how(distance.pairs(x.detach(), w.detach())).split()[0]


def _cost(
    shape: Shape,
    distance: Distance,
    form: Form,
    how: str,
    step: Callable[[], None],
    linear: Callable[[], None],
    device: torch.device,
    seconds: float,
) -> Cost:
    start = time.perf_counter()
    extra = _peak_memory(step, device)
    once = time.perf_counter() - start
    if extra is None:
        once = _seconds(step, 1, device)
    is_slow = once > max(seconds, 1.0)
    if is_slow and form != "fast":
        times = [(_seconds(linear, 1, device), once)]
    else:
        times = _paired_times(step, linear, device, seconds, once if is_slow else None)
    ratios = [step_time / linear_time for linear_time, step_time in times]
    low = ratio = high = ratios[0]
    if len(ratios) > 1:
        low, ratio, high = statistics.quantiles(ratios, n=4)
    linear_ms, step_ms = (statistics.median(column) * 1e3 for column in zip(*times, strict=True))
    return Cost(str(shape), str(distance), form, how, ratio, low, high, step_ms, linear_ms, extra, len(times))


def _paired_times(
    step: Callable[[], None],
    linear: Callable[[], None],
    device: torch.device,
    seconds: float,
    once: float | None,
) -> list[tuple[float, float]]:
    """Seconds of the linear layer's step and of the step, measured alternately.

    Args:
        step, linear: the two steps.
        device: that runs them.
        seconds: for all pairs.
        once: seconds of a slow step, or None for a fast one. A fast step is timed again, because its first call may
            have compiled or set up something.
    """
    least_pairs = 3
    if once is None:
        least_pairs = 5
        once = _seconds(step, 1, device)
    linear_repeats = _repeats(_seconds(linear, 1, device))
    step_repeats = _repeats(once)
    times: list[tuple[float, float]] = []
    end = time.perf_counter() + seconds
    while len(times) < least_pairs or (time.perf_counter() < end and len(times) < 200):
        linear_time = _seconds(linear, linear_repeats, device)
        times.append((linear_time, _seconds(step, step_repeats, device)))
    return times


def _repeats(seconds: float) -> int:
    """Repeats of a step that fill a turn."""
    return max(1, int(_TURN / max(seconds, 1e-6)))


def _seconds(step: Callable[[], None], repeats: int, device: torch.device) -> float:
    _synchronize(device)
    start = time.perf_counter()
    for _ in range(repeats):
        step()
    _synchronize(device)
    return (time.perf_counter() - start) / repeats


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _peak_memory(step: Callable[[], None], device: torch.device) -> float | None:
    """Peak memory of a step beyond that before it, in 10^6 bytes. None on systems other than Linux and CUDA."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        step()
        return (torch.cuda.max_memory_allocated(device) - before) / 1e6
    clear = Path("/proc/self/clear_refs")
    if sys.platform != "linux" or not clear.exists():
        return None
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc: freed memory goes back, so that it counts again
    if trim is None:
        return None
    trim(0)
    try:
        clear.write_text("5")  # resets the high-water mark
    except OSError:
        return None
    before = _kilobytes("VmRSS")
    step()
    return max(0.0, (_kilobytes("VmHWM") - before) * 1024 / 1e6)


def _kilobytes(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    line = next(line for line in lines if line.startswith(field))
    return int(line.split()[1])


def machine(device: str = "cpu") -> dict[str, str]:
    """Describe the device and the software of the measurement."""
    status = kernels.status()
    return {
        "device": _device_name(device),
        "threads": str(torch.get_num_threads()),
        "torch": torch.__version__,
        "instruction set": status["instruction set"],
        "compiler": status["compiler"],
        "python": platform.python_version(),
    }


def _device_name(device: str) -> str:
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":")[1].strip()
    return platform.processor()


def as_json(lines: Sequence[Cost | SkippedHead], about: dict[str, str]) -> str:
    """All lines as JSON, unrounded."""
    costs = [asdict(line) for line in lines if isinstance(line, Cost)]
    skipped = [asdict(line) for line in lines if isinstance(line, SkippedHead)]
    return json.dumps({"about": about, "costs": costs, "skipped": skipped}, indent=1) + "\n"


def as_markdown(lines: Sequence[Cost | SkippedHead], about: dict[str, str]) -> str:
    """Table of heads by shapes, with median ratio, quartiles and extra memory, or the reason why they are missing.

    >>> cost = Cost("8x4x3", "cosine", "fast", "matmul", 1.234, 1.1, 1.4, 2.0, 1.6, 12.3, 9)
    >>> print(as_markdown([cost], {"device": "a CPU"}))
    Time of a step (forward and backward of head and loss) over that of nn.Linear + F.cross_entropy: median [quartiles],
    extra memory in MB. Shapes are rows x features x classes.
    <BLANKLINE>
    | head | form | 8x4x3 |
    |---|---|---|
    | cosine | fast | 1.23 [1.10, 1.40] 12 MB |
    <BLANKLINE>
    - device: a CPU
    <BLANKLINE>
    """
    shapes = list(dict.fromkeys(line.shape for line in lines))
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for line in lines:
        rows.setdefault((line.distance, line.form), {})[line.shape] = _cell(line)
    text = [
        "Time of a step (forward and backward of head and loss) over that of nn.Linear + F.cross_entropy: median "
        "[quartiles],",
        "extra memory in MB. Shapes are rows x features x classes.",
        "",
        f"| head | form | {' | '.join(shapes)} |",
        "|" + "---|" * (len(shapes) + 2),
    ]
    for (distance, form), cells in rows.items():
        row = " | ".join(cells.get(shape, "") for shape in shapes)
        text.append(f"| {distance} | {form} | {row} |")
    text.append("")
    text += [f"- {name}: {value}" for name, value in about.items()]
    return "\n".join(text) + "\n"


def _cell(line: Cost | SkippedHead) -> str:
    if isinstance(line, SkippedHead):
        return line.reason
    text = f"{line.ratio:.2f}"
    if line.rounds > 1:
        text += f" [{line.low:.2f}, {line.high:.2f}]"
    if line.extra_mb is not None:
        text += f" {line.extra_mb:.0f} MB"
    return text


def every_distance() -> list[Distance]:
    """Heads that the table has by default."""
    return DISTANCES.every_variant()
