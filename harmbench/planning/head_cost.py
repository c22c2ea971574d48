"""Predicted cost of a head: time and memory of its step relative to the linear head's. Pure, and needs no torch.

The unit of time is what the linear head takes for one coordinate of one pair of a row and a class, forward and
backward: three fused multiply-adds of a matrix product (0.045 ns on two cores). A step of any head takes, in units,

    START                       calls, whatever the size
  + a B K                       softmax or HarMax, for B rows and K classes
  + pair B K N                  the distance, for features of length N: its `cost` in nn/kernels/operators.py
  + map (B + K) N               the map of each vector (soft codes, profiles, a diagonal)
  + start + finish B K          the function of each base distance
  + 0.8 (B + K) N^2 + 200 N^2   a full Mahalanobis matrix, and its gradient

The constants are fitted to benchmarks/heads.json and vocabulary.json (two cores of an AMD EPYC with AVX-512, float32).
Tests hold predictions to within a factor of two of them. Without compiled kernels the formula runs in blocks. Its
constant is the middle of eight distances at 256 x 512 x 100 (80 to 450) on the same machine. Nothing has been measured
on a GPU: a prediction with the constants of the CPU names the expensive heads, but not how expensive they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from harmbench.nn.distances import DISTANCES, Distance

EXPENSIVE = 2.0  # times the linear head's time
NOTICEABLE = 1e8  # units beyond it: about 5 ms a step on two cores

_LINEAR_START, _LINEAR_SOFTMAX = 4.5e6, 110.0
_START, _MAPPED_START, _HARMAX = 5e6, 10e6, 44.0
_CHUNKED = 200.0  # the formula in torch, block by block
_MAP = {
    "hamming": 40.0,
    "bray_curtis[variant=normalized]": 40.0,
    "mahalanobis": 40.0,
    "correlation": 40.0,
    "hellinger": 345.0,
}
_MAPPED_BY_TORCH = ("hellinger",)  # the others' maps are in the kernel's call
_WIDEST, _MOST_CLASSES = 4096, 1000  # assumed if not known: if even these cost little, there is no warning
_BLOCK = 512  # rows of distances at a time
_CHUNK_BYTES = 250e6  # temporaries of a block of the formula

Device = Literal["cpu", "cuda"]
Form = Literal["native", "triton", "matmul", "chunked"]


class Cost(NamedTuple):
    """A head's step of training, forward and backward, with its loss.

    Attributes:
        form: the form that computes the distances.
        ratio: its time over the linear head's.
        extra: its time beyond the linear head's, in units.
        megabytes: peak memory beyond features, weights and their gradients.
    """

    form: Form
    ratio: float
    extra: float
    megabytes: float


def of_head(
    distance: Distance, rows: int, features: int, classes: int, device: Device = "cpu", has_kernels: bool = True
) -> Cost | None:
    """Predicted cost of a head, or None if its distance has a kernel that was never measured.

    Args:
        distance: of the head.
        rows, features, classes: B, N and K.
        device: where it runs.
        has_kernels: whether compiled kernels are to be had there (a C++ compiler, Triton); matrix products need none.

    >>> round(of_head(DISTANCES.parse("canberra"), rows=64, features=2048, classes=1000).ratio, 1)
    3.2
    """
    operator = distance.operator
    is_matmul = operator is not None and operator.kind == "gemm"
    kernel: Form = "native" if device == "cpu" else "triton"
    form: Form = "matmul" if is_matmul else kernel if operator and has_kernels else "chunked"
    pair = _CHUNKED if form == "chunked" or operator is None else operator.kernels.cost
    if pair is None:
        return None
    volume, pairs, vectors = rows * features * classes, rows * classes, (rows + classes) * features
    linear = _LINEAR_START + volume + _LINEAR_SOFTMAX * pairs
    each = next((cost for name, cost in _MAP.items() if str(distance).startswith(name)), 0.0)
    mapped = each * vectors + (_MAPPED_START if distance.name in _MAPPED_BY_TORCH else 0.0)
    if str(distance) == "mahalanobis[variant=full]":
        mapped += 0.8 * vectors * features + 200 * features**2
    start, finish = operator.record.finish_cost if operator else (0.0, 0.0)
    time = _START + pair * volume + _HARMAX * pairs + mapped + start + finish * pairs
    memory = 4 * (3 * min(rows, _BLOCK) * classes + (2 * vectors if each else 0))
    return Cost(form, time / linear, time - linear, (memory + (_CHUNK_BYTES if form == "chunked" else 0)) / 1e6)


class Cell(NamedTuple):
    """A head in its condition. Sizes are None if they are known only when a component is loaded."""

    backbone: str
    dataset: str
    distance: str
    rows: int
    features: int | None
    classes: int | None


def warnings(cells: Iterable[Cell], device: Device = "cpu", has_kernels: bool = True) -> list[str]:
    """One line for each condition with heads that take noticeably longer than a linear one, or were never measured.

    >>> print(*warnings([Cell("timm:resnet50", "mine", "canberra", 64, 2048, 1000)]))
    timm:resnet50 on mine (2048 features, 1000 classes): head about 3 times the linear head's time: canberra
    """
    conditions: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        conditions.setdefault((cell.backbone, cell.dataset), []).append(cell)
    lines = [line for heads in conditions.values() for line in _of_condition(heads, device, has_kernels)]
    if lines and device == "cuda":
        lines.append("costs of heads were measured on a CPU; on a GPU they may differ severalfold")
    return lines


def _of_condition(cells: Sequence[Cell], device: Device, has_kernels: bool) -> list[str]:
    backbone, dataset, _, rows, features, classes = cells[0]
    if features is None or classes is None:
        largest = [cell._replace(features=features or _WIDEST, classes=classes or _MOST_CLASSES) for cell in cells]
        if not _of_condition(largest, device, has_kernels):
            return []
        unknown = f"{backbone} tells its features" if features is None else f"{dataset} tells its classes"
        return [f"{backbone} on {dataset}: costs of heads not predicted: {unknown} only when it is loaded"]
    where = f"{backbone} on {dataset} ({features} features, {classes} classes)"
    by_ratio: dict[int, list[str]] = {}
    unmeasured: list[str] = []
    for address in dict.fromkeys(cell.distance for cell in cells):
        cost = of_head(DISTANCES.parse(address), rows, features, classes, device, has_kernels)
        if cost is None and 10 * rows * features * classes < NOTICEABLE:
            continue
        if cost is None:
            unmeasured.append(address)
        elif cost.ratio >= EXPENSIVE and cost.extra >= NOTICEABLE:
            by_ratio.setdefault(_rounded(cost.ratio), []).append(address)
    lines = [
        f"{where}: head about {ratio} times the linear head's time: {', '.join(names)}"
        for ratio, names in sorted(by_ratio.items())
    ]
    if unmeasured:
        lines.append(f"{where}: cost not measured, so not predicted: {', '.join(unmeasured)}")
    return lines


def _rounded(ratio: float) -> int:
    """To one digit: the model is no better."""
    return int(float(f"{ratio:.0e}"))
