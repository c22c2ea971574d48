"""The operators that the kernels implement, and the values with which a distance names one. Needs no torch.

`OPERATORS` has one record for each operator: its kernels, their codes, its operations and its measured cost. Every
other module reads these facts from here. A new fast distance is a file in `distances/`, its C++ or Triton code, and one
entry in `OPERATORS`.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

from harmbench.errors import OptionError

if TYPE_CHECKING:
    from torch import Tensor

Kind = Literal["gemm", "elementwise"]
OneCall = Literal["any size", "small", "never"]
_PRODUCT_FLOPS = 2  # a multiplication and an addition for each coordinate of a matrix product


class TritonKernel(NamedTuple):
    """A kernel in gpu.py, which compiles its own version for each name.

    Attributes:
        name: the value of `OP`.
        has_aux: whether the forward pass stores a second number per pair.
        has_c2: whether the backward pass reads a second coefficient per pair.
        first: the kernel whose sum of the pair is computed before, or an empty string.
        again: the kernel whose sum is divided out when a result has left the range of float32. None means that no
            result is computed a second time; an empty string means that nothing is divided out.
        is_heavy: whether its arithmetic alone fills the registers, so that tiles are small.
        has_rest: whether `rest_of_NAME` exists, which computes 1 - d with all digits.
    """

    name: str
    has_aux: bool = False
    has_c2: bool = False
    first: str = ""
    again: str | None = None
    is_heavy: bool = False
    has_rest: bool = False

    @property
    def rest(self) -> TritonKernel:
        """The kernel of 1 - d."""
        return TritonKernel(f"rest_of_{self.name}", again=self.again or "", is_heavy=True)


class Kernels(NamedTuple):
    """Kernels of an operator, for all values of its option or for one.

    Attributes:
        native: its code in `with_operator` of cpp/dispatch.h. None means that it has no elementwise C++ kernel.
        triton: its Triton kernel. None means that CUDA runs the formula in blocks.
        cost: measured time for one coordinate of one pair, in the units of `planning.head_cost`. None: not measured.
    """

    native: int | None = None
    triton: TritonKernel | None = None
    cost: float | None = None


@dataclass(frozen=True)
class OperatorRecord:
    """All facts about an operator.

    Attributes:
        kinds: the kinds of operator that this name is valid for.
        general: its kernels for any value of the option.
        special: kernels for single values of the option.
        flops: operations for each coordinate of a pair, forward. Sums, products, quotients, powers, maxima and absolute
            values count one each. Operations on a single vector, and those done once per pair, are left out.
        is_cosine: whether a matrix product gives 1 - x.w / (|x| |w|) rather than |x - w|.
        is_finished: whether the operator needs a `Finish`.
        native_has_aux: whether the C++ forward pass stores a second number per pair.
        gradient_as: the operator whose C++ backward pass gives the gradients of the vectors, if it has none.
        step: code in cpp/step.h of the whole training step, if it differs from `native`.
        step_as: the operator that computes the step for vectors that are already mapped.
        one_call: when one C++ call computes distances, loss and gradients: for problems of any size, for small ones, or
            never. With a `native` kernel chosen, "small" problems are those the kernel was chosen for.
        extra_cost: units of time for a `Finish`, or for a map that torch does: once a step, and once a pair.
    """

    kinds: tuple[Kind, ...]
    general: Kernels
    special: Mapping[float, Kernels] = dataclasses.field(default_factory=dict)
    flops: int | None = None
    is_cosine: bool = False
    is_finished: bool = False
    native_has_aux: bool = False
    gradient_as: str | None = None
    step: int | None = None
    step_as: str | None = None
    one_call: OneCall = "never"
    extra_cost: tuple[float, float] = (0.0, 0.0)

    def kernels(self, option: float) -> Kernels:
        """The kernels for this value of the option."""
        return self.special.get(option, self.general)

    @property
    def triton_kernels(self) -> tuple[TritonKernel, ...]:
        """Its Triton kernels, for all values of the option."""
        return tuple(kernels.triton for kernels in (self.general, *self.special.values()) if kernels.triton)


def _product(
    cost: float | None, one_call: Literal["any size", "small", "never"] = "never", **facts: Any
) -> OperatorRecord:
    """The record of an operator that is computed by a matrix product only."""
    return OperatorRecord(("gemm",), Kernels(cost=cost), flops=_PRODUCT_FLOPS, one_call=one_call, **facts)


def _elementwise(general: Kernels, flops: int, **facts: Any) -> OperatorRecord:
    """The record of an operator that visits every coordinate of every pair."""
    return OperatorRecord(("elementwise",), general, flops=flops, **{"one_call": "any size", **facts})


_MANHATTAN = Kernels(0, TritonKernel("manhattan"), 1.25)
_EUCLIDEAN = Kernels(2, TritonKernel("euclidean", again="chebyshev"), 1.3)
_CANBERRA = TritonKernel("canberra_weighted", True, True, again="largest_size", is_heavy=True, has_rest=True)

OPERATORS: dict[str, OperatorRecord] = {
    "euclidean": OperatorRecord(("gemm", "elementwise"), _EUCLIDEAN, flops=_PRODUCT_FLOPS, one_call="small"),
    "cosine": _product(1.4, "small", is_cosine=True, step=-1),
    "angular": _product(1.4, "any size", is_finished=True, step=-2, extra_cost=(0.0, 140.0)),
    "poincare": _product(1.4, "any size", is_finished=True, step=-3, extra_cost=(1.5e6, 550.0)),
    "squared_euclidean": _product(1.3, is_finished=True),
    "mahalanobis": _product(1.4, "small", step_as="euclidean"),
    "hellinger": _product(1.4, extra_cost=(10e6, 0.0)),  # torch maps the vectors
    "manhattan": _elementwise(_MANHATTAN, flops=3),  # subtract, absolute value, add
    "mean_absolute": _elementwise(Kernels(12, TritonKernel("mean_absolute"), 1.2), flops=3),
    "chebyshev": _elementwise(  # subtract, absolute value, maximum
        Kernels(5, TritonKernel("chebyshev", has_c2=True), 1.2), flops=3, native_has_aux=True
    ),
    "smooth_chebyshev": _elementwise(  # subtract, absolute value, product, exponential, add
        Kernels(6, TritonKernel("smooth_chebyshev", True, True, first="chebyshev", is_heavy=True), 6.0),
        flops=5,
        native_has_aux=True,
    ),
    "minkowski": _elementwise(  # subtract, absolute value, power, add
        Kernels(4, TritonKernel("minkowski", has_c2=True, first="chebyshev", is_heavy=True), 19.0),
        special={
            1.0: _MANHATTAN,
            1.5: Kernels(1, TritonKernel("minkowski_1.5", again="chebyshev"), 2.7),
            2.0: _EUCLIDEAN,
            3.0: Kernels(3, TritonKernel("minkowski_3", has_c2=True, again="chebyshev"), 1.7),
        },
        flops=4,
    ),
    # The order is learned: the vectors' gradients are those of `minkowski`; no single call has the order's gradient.
    "minkowski_learned": _elementwise(
        Kernels(13, cost=9.0), flops=4, native_has_aux=True, gradient_as="minkowski", one_call="never"
    ),
    # subtract, absolute value, sum of sizes, divide, add
    "canberra": _elementwise(Kernels(7, TritonKernel("canberra", is_heavy=True), 3.4), flops=5),
    # as canberra, and a maximum
    "canberra_robust": _elementwise(Kernels(8, TritonKernel("canberra_robust", is_heavy=True), 3.2), flops=6),
    "canberra_weighted": _elementwise(  # as canberra, and a power, a product, a second sum
        Kernels(9, _CANBERRA, 24.0),
        special={0.5: Kernels(9, _CANBERRA._replace(name="canberra_weighted_root"), 5.3)},
        flops=8,
        native_has_aux=True,
    ),
    # The denominator is a sum of one number for each vector.
    "bray_curtis": _elementwise(Kernels(10, TritonKernel("bray_curtis", has_rest=True), 1.35), flops=3),
    "bray_curtis_signed": _elementwise(
        Kernels(11, TritonKernel("bray_curtis_signed", True, True, is_heavy=True, has_rest=True), 3.6),
        flops=6,
        native_has_aux=True,
    ),
}
_FINISHED = _product(None, is_finished=True)  # any other operator with a `Finish`: its base is what is computed


@dataclass(frozen=True)
class Operator:
    """The formula of a distance, as the fast forms know it.

    Attributes:
        kind: `gemm` for pairs from a matrix product, `elementwise` for a formula that visits every coordinate of every
            pair.
        name: a key of `OPERATORS`. An operator with a `finish` may have a new name, which must not be that of an
            operator without one.
        option: the formula's one number (p, alpha, floor, gamma), if it has one that is not learned.
        degree: d(s x, s w) = s^degree d(x, w). None if the degree is neither 0 nor 1, and for an operator with a
            `finish`, whose base has a degree.
        finish: the steps from another operator's distances to these, if there are any.

    Raises:
        OptionError: for a name that no kernel has, or that has no kernel of this kind.

    >>> Operator("elementwise", "minkowski", option=3.0, degree=1)
    Operator(kind='elementwise', name='minkowski', option=3.0, degree=1, finish=None)
    """

    kind: Kind
    name: str
    option: float = 0.0
    degree: int | None = None
    finish: Finish | None = None

    def __post_init__(self) -> None:
        record = self.record
        if record is None or self.kind not in record.kinds or record.is_finished != (self.finish is not None):
            raise OptionError(_refusal(self))

    @property
    def record(self) -> OperatorRecord:
        """All facts about this operator, from `OPERATORS`."""
        return OPERATORS.get(self.name) or (_FINISHED if self.finish else None)  # type: ignore[return-value]

    @property
    def kernels(self) -> Kernels:
        """The kernels for this operator's option."""
        return self.record.kernels(self.option)

    def _replace(self, **changes: Any) -> Self:
        return dataclasses.replace(self, **changes)


def _refusal(operator: Operator) -> str:
    """One line: the operator, the problem, and the next step."""
    record = OPERATORS.get(operator.name)
    subject = f"{operator.kind} operator '{operator.name}'"
    advice = "or leave `operator` None, so that the formula itself runs"
    if record is not None and operator.kind in record.kinds and record.is_finished:
        return f"{subject} needs a finish; give it one, {advice}"
    if record is not None and operator.finish is not None:
        return f"{subject} has a finish, but the kernel of this name has none; choose a new name, {advice}"
    if operator.finish is not None:
        return f"{subject} has a finish, which only gemm operators take; write gemm, {advice}"
    names = sorted(
        name for name, record in OPERATORS.items() if operator.kind in record.kinds and not record.is_finished
    )
    if not names:
        return f"{subject}: the kind must be gemm or elementwise; choose one, {advice}"
    nearest = difflib.get_close_matches(operator.name, names, n=1, cutoff=0.0)[0]
    return f"no kernel computes the {subject}; the nearest is '{nearest}' of {', '.join(names)}; choose one, {advice}"


class Finish(NamedTuple):
    """A function from base distances, which a form computes for all pairs, to distances.

    Attributes:
        base: the operator of the base distances.
        of: base (R, K), and where there is a `size`, those of features (R, 1) and centers (1, K) -> distances (R, K).
            Differentiable, with finite derivatives wherever pairs are not doubtful.
        size: vectors (R, N) -> a number each (R,), differentiable.
        doubtful: what `of` takes -> the pairs (R, K) for which the base has too few digits.
        exact: their distances, pair by pair: (P, N), (P, N) -> (P,), differentiable.
        power: where `of` is that power of the base: to HarMax it is the base, with so many times the exponent.
    """

    base: Operator
    of: Callable[..., Tensor]
    size: Callable[[Tensor], Tensor] | None = None
    doubtful: Callable[..., Tensor] | None = None
    exact: Callable[[Tensor, Tensor], Tensor] | None = None
    power: float | None = None


class Map(NamedTuple):
    """A function of each vector that the compiled kernel applies before it compares pairs.

    Attributes:
        name: `scale`, the product with `values`, which get a gradient; `codes`, tanh((v - values) / (2 option)) / 2;
            `hard_codes`, 1 above `values` and else 0, with the gradient of `codes`; `profile`, |v| / sum |v|;
            `centered`, v less its mean.
        values: one number a coordinate (N,); None for zeros.
        option: the one number of a map that has one.
    """

    name: Literal["scale", "codes", "hard_codes", "profile", "centered"]
    values: Tensor | None = None
    option: float = 1.0


class Mapped(NamedTuple):
    """Vectors as the formula between pairs reads them.

    Attributes:
        x, centers: features (B, N) and centers (K, N), each mapped.
        difference: row and column indices (P,), (P,) -> (P, N), the mapped difference of these pairs, for cosine
            distance that of the unit vectors, where it has more digits than the difference of the mapped vectors; None
            where it has not.
        option: the formula's one number where it is learned: a scalar that gets a gradient.
    """

    x: Tensor
    centers: Tensor
    difference: Callable[[Tensor, Tensor], Tensor] | None = None
    option: Tensor | None = None
