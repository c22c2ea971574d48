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
from harmbench.nn.kernels import Operator

EXPENSIVE = 2.0  # times the linear head's time
NOTICEABLE = 1e8  # units beyond it: about 5 ms a step on two cores

_LINEAR_START, _LINEAR_SOFTMAX = 4.5e6, 110.0
_START, _HARMAX = 5e6, 44.0
_CHUNKED = 200.0  # the formula in torch, block by block
_WIDEST, _MOST_CLASSES = 4096, 1000  # assumed if not known: if even these cost little, there is no warning
_BLOCK = 512  # rows of distances at a time
_CHUNK_BYTES = 250e6  # temporaries of a block of the formula

Device = Literal["cpu", "cuda"]
Form = Literal["native", "triton", "matmul", "chunked"]


class HeadCost(NamedTuple):
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
) -> HeadCost | None:
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
    form: Form = "chunked"
    pair: float | None = _CHUNKED
    if operator is not None and (operator.kind == "gemm" or has_kernels):
        form, pair = _form_of(operator, device), operator.kernels.cost
    if pair is None:
        return None
    volume, pairs, vectors = rows * features * classes, rows * classes, (rows + classes) * features
    linear = _LINEAR_START + volume + _LINEAR_SOFTMAX * pairs
    mapped = distance.map_cost * vectors
    if distance.has_matrix:
        mapped += 0.8 * vectors * features + 200 * features**2
    per_step, per_pair = operator.record.extra_cost if operator else (0.0, 0.0)
    time = _START + pair * volume + _HARMAX * pairs + mapped + per_step + per_pair * pairs
    memory: float = 4 * 3 * min(rows, _BLOCK) * classes
    if distance.map_cost:
        memory += 4 * 2 * vectors
    if form == "chunked":
        memory += _CHUNK_BYTES
    return HeadCost(form, time / linear, time - linear, memory / 1e6)


def _form_of(operator: Operator, device: Device) -> Form:
    if operator.kind == "gemm":
        return "matmul"
    return "native" if device == "cpu" else "triton"


class PlannedHead(NamedTuple):
    """A head in its condition. Sizes are None if they are known only when a component is loaded."""

    backbone: str
    dataset: str
    distance: str
    rows: int
    features: int | None
    classes: int | None


def warnings(cells: Iterable[PlannedHead], device: Device = "cpu", has_kernels: bool = True) -> list[str]:
    """One line for each condition with heads that take noticeably longer than a linear one, or were never measured.

    >>> print(*warnings([PlannedHead("timm:resnet50", "mine", "canberra", 64, 2048, 1000)]))
    timm:resnet50 on mine (2048 features, 1000 classes): head about 3 times the linear head's time: canberra
    """
    conditions: dict[tuple[str, str], list[PlannedHead]] = {}
    for cell in cells:
        conditions.setdefault((cell.backbone, cell.dataset), []).append(cell)
    lines = [line for heads in conditions.values() for line in _of_condition(heads, device, has_kernels)]
    if lines and device == "cuda":
        lines.append("costs of heads were measured on a CPU; on a GPU they may differ severalfold")
    return lines


def _of_condition(cells: Sequence[PlannedHead], device: Device, has_kernels: bool) -> list[str]:
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
