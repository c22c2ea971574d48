"""What heads cost: time and memory of a training step of head and loss, as ratios to a linear layer's.

One step is the forward and backward pass of head and loss, with the gradients of the features and of the centres. It
is timed turn by turn with `nn.Linear` (no bias) and `F.cross_entropy` of the same shape in the same process, so that
what slows the machine slows both; a ratio is of two neighbours, and the table shows their median and quartiles.
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

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from harmbench import kernels
from harmbench.distances import DISTANCES, Distance
from harmbench.errors import OptionError
from harmbench.fused import harmonic_loss
from harmbench.kernels import choice, harmonic

Form = Literal["fast", "cdist", "reference"]
FORMS: tuple[Form, ...] = ("fast", "cdist", "reference")
_REFERENCE_FITS = 1 << 27  # coordinates of all pairs: beyond, the formula's (B, K, N) tensors take gigabytes


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
        shape, distance, form: what was measured.
        how: which kernel form ran.
        ratio, low, high: median and quartiles of the step's time over the linear layer's.
        milliseconds: median time of the step.
        linear_milliseconds: and of the linear layer's, measured alternately.
        extra_mb: peak memory beyond the inputs, in 10^6 bytes; None where it cannot be read.
        rounds: pairs of measurements.
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


def measure(
    distances: Iterable[Distance],
    shapes: Iterable[Shape] = SHAPES,
    forms: Sequence[Form] = ("fast", "cdist"),
    *,
    device: str = "cpu",
    seconds: float = 3.0,
) -> Iterator[Cost]:
    """Costs, one at a time as they are measured; what a form cannot do is left out.

    Args:
        distances: which heads.
        shapes: at which sizes.
        forms: `fast` (the fused loss), `cdist` (`torch.cdist` and autograd), `reference` (the formula and autograd).
        device: where.
        seconds: how long to measure each line, five rounds at least.

    >>> from harmbench.distances import DISTANCES
    >>> [cost.distance for cost in measure([DISTANCES.parse("cosine")], [Shape(8, 4, 3)], ["fast"], seconds=0.0)]
    ['cosine']
    """
    chosen = list(distances)
    for shape in shapes:
        torch.manual_seed(0)
        x = torch.randn(shape.rows, shape.features, device=device, requires_grad=True)
        w = (torch.randn(shape.classes, shape.features, device=device) / shape.features**0.5).requires_grad_()
        y = torch.randint(0, shape.classes, (shape.rows,), device=device)
        linear = _linear(x, w, y)
        linear()
        for distance in chosen:
            for form in forms:
                loss = _loss(distance, form, shape, x, w, y)
                if loss is not None:
                    how = _how(distance, shape, x) if form == "fast" else form
                    yield _cost(shape, distance, form, how, loss, linear, x.device, seconds)


def _linear(x: Tensor, w: Tensor, y: Tensor) -> Callable[[], None]:
    return _step(lambda: F.cross_entropy(F.linear(x, w), y), [x, w])


def _step(loss: Callable[[], Tensor], leaves: Sequence[Tensor]) -> Callable[[], None]:
    def step() -> None:
        loss().backward()  # type: ignore[no-untyped-call]
        for leaf in leaves:
            leaf.grad = None

    return step


def _loss(distance: Distance, form: Form, shape: Shape, x: Tensor, w: Tensor, y: Tensor) -> Callable[[], None] | None:
    start = distance.initial_parameters(shape.features)
    parameters = {name: value.to(x.device).requires_grad_() for name, value in start.items()}
    leaves = [x, w, *parameters.values()]
    if form == "fast":
        return _step(lambda: harmonic_loss(x, w, y, distance=distance, parameters=parameters), leaves)
    n = shape.features**0.5

    def nll(d: Tensor) -> Tensor:
        return harmonic.row_losses(d, n, y, None, 0.0).mean()

    if form == "cdist":
        p = _order(distance)
        return None if p is None else _step(lambda: nll(torch.cdist(x, w, p=p)), leaves)
    if shape.rows * shape.features * shape.classes > _REFERENCE_FITS:
        return None
    return _step(lambda: nll(distance.pairwise(x, w, parameters, True)), leaves)


def _order(distance: Distance) -> float | None:
    """p where the distance is a p-norm, as `torch.cdist` has them."""
    if distance.name == "minkowski":
        p = dict(distance)["p"]
        return None if p == "learnable" else float(p)
    return {"euclidean": 2.0, "manhattan": 1.0, "chebyshev": float("inf")}.get(str(distance))


def _how(distance: Distance, shape: Shape, x: Tensor) -> str:
    return choice.choose(distance.operator, x.device, x.dtype, shape.rows, shape.classes, shape.features).form


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
    step()
    extra = _peak_memory(step, device)
    once = _seconds(linear, 1, device)
    repeats = max(1, int(0.01 / max(once, 1e-6)))  # a hundredth of a second a turn, against the clock's grain
    times: list[tuple[float, float]] = []
    end = time.perf_counter() + seconds
    while len(times) < 5 or (time.perf_counter() < end and len(times) < 200):
        times.append((_seconds(linear, repeats, device), _seconds(step, repeats, device)))
    low, ratio, high = statistics.quantiles([mine / base for base, mine in times], n=4)
    base, mine = (statistics.median(column) * 1e3 for column in zip(*times, strict=True))
    return Cost(str(shape), str(distance), form, how, ratio, low, high, mine, base, extra, len(times))


def _seconds(step: Callable[[], None], repeats: int, device: torch.device) -> float:
    _synchronise(device)
    start = time.perf_counter()
    for _ in range(repeats):
        step()
    _synchronise(device)
    return (time.perf_counter() - start) / repeats


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _peak_memory(step: Callable[[], None], device: torch.device) -> float | None:
    """Peak of a step beyond what was there before, in 10^6 bytes; Linux and CUDA only."""
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
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1])


def machine(device: str = "cpu") -> dict[str, str]:
    """On what and with what it was measured."""
    known = kernels.status()
    where = torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else _processor()
    return {
        "device": where,
        "threads": str(torch.get_num_threads()),
        "torch": torch.__version__,
        "instruction set": known["instruction set"],
        "compiler": known["compiler"],
        "python": platform.python_version(),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def as_json(costs: Sequence[Cost], about: dict[str, str]) -> str:
    """Everything, unrounded."""
    return json.dumps({"about": about, "costs": [asdict(cost) for cost in costs]}, indent=1) + "\n"


def as_markdown(costs: Sequence[Cost], about: dict[str, str]) -> str:
    """A table of heads by shapes: median ratio, quartiles, extra memory.

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
    shapes = list(dict.fromkeys(cost.shape for cost in costs))
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for cost in costs:
        memory = "" if cost.extra_mb is None else f" {cost.extra_mb:.0f} MB"
        cells = rows.setdefault((cost.distance, cost.form), {})
        cells[cost.shape] = f"{cost.ratio:.2f} [{cost.low:.2f}, {cost.high:.2f}]{memory}"
    lines = [
        "Time of a step (forward and backward of head and loss) over that of nn.Linear + F.cross_entropy: median "
        "[quartiles],",
        "extra memory in MB. Shapes are rows x features x classes.",
        "",
        f"| head | form | {' | '.join(shapes)} |",
        "|" + "---|" * (len(shapes) + 2),
        *(
            f"| {distance} | {form} | {' | '.join(cells.get(shape, '') for shape in shapes)} |"
            for (distance, form), cells in rows.items()
        ),
        "",
        *(f"- {name}: {value}" for name, value in about.items()),
    ]
    return "\n".join(lines) + "\n"


def every_distance() -> list[Distance]:
    """The heads of the table, unless others are asked for."""
    return DISTANCES.every_variant()
