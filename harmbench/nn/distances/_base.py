"""Base class of the distances: options, facts, learnable parameters, and one function of tensors."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from pydantic import ValidationInfo, field_validator

from harmbench._torch import torch
from harmbench.nn.kernels import Map, Mapped, Operator, Pairs, choose
from harmbench.registry import Component

if TYPE_CHECKING:
    from torch import Tensor


class Facts(NamedTuple):
    """Mathematical properties of a distance, tested by the contract in `tests/contracts/`.

    Attributes:
        is_metric: zero only at the center, symmetric, and obeys the triangle inequality on its domain.
        is_symmetric: d(x, w) = d(w, x).
        is_scale_invariant: d(a x, a w) = d(x, w) for a > 0.
        domain: `real`; `nonzero` where the zero vector has no distance of its own (a convention is stated in the
            docstring); `opposite-free` where x = -w is at infinity.
    """

    is_metric: bool
    is_symmetric: bool
    is_scale_invariant: bool
    domain: Literal["real", "nonzero", "opposite-free"] = "real"


class Distance(Component):
    """Base class of all distances.

    A distance is final: subclass `Distance`, not another distance.

    Class attributes:
        in_papers: whether its variants belong to the set `paper`.
        family: distances of one family have one color in plots.
        read_by: the one variant that reads an option. Other variants refuse the option, which would have no effect
            there.
    """

    in_papers: ClassVar[bool] = False
    family: ClassVar[str] = "others"
    read_by: ClassVar[Mapping[str, str]] = {}

    @field_validator("*")
    @classmethod
    def _is_read(cls, value: Any, info: ValidationInfo) -> Any:
        reader = cls.read_by.get(info.field_name or "")
        if reader not in (None, info.data.get("variant", reader)):
            raise ValueError(f"only variant={reader} reads it")
        return value

    @classmethod
    def check_class(cls) -> None:
        """Refuse a distance with an operator that no kernel computes, in any of its variants.

        Raises:
            OptionError: for an unknown operator, with the nearest valid name.
        """
        for variant in cls.variants:
            cls.from_options(variant).operator  # noqa: B018 - constructing the operator checks its name

    @property
    def is_in_papers(self) -> bool:
        """Whether it belongs to the set `paper` with these options."""
        return self.in_papers

    @property
    @abstractmethod
    def facts(self) -> Facts:
        """Mathematical properties of this distance with these options."""

    def initial_parameters(self, in_features: int) -> dict[str, Tensor]:
        """Learnable tensors at their start, by name. Most distances have none."""
        return {}

    @abstractmethod
    def pairwise(self, x: Tensor, centers: Tensor, parameters: Mapping[str, Tensor], training: bool) -> Tensor:
        """Distances of all pairs by the formula itself.

        Args:
            x: features (B, N), float32 or float64.
            centers: class centers (K, N), same dtype.
            parameters: learnable tensors, as `initial_parameters` names them.
            training: whether the model trains; only noisy distances look at it.

        Returns:
            Distances (B, K), at least 0.
        """

    @property
    def map_cost(self) -> float:
        """Time that `mapped` takes for one coordinate of one vector, in the units of planning/head_cost.py."""
        return 0.0

    @property
    def has_matrix(self) -> bool:
        """Whether a learned (N, N) matrix multiplies every vector."""
        return False

    @property
    def operator(self) -> Operator | None:
        """The formula as the kernels know it. With None, `pairwise` itself runs, in blocks."""
        return None

    def mapped(self, x: Tensor, centers: Tensor, parameters: Mapping[str, Tensor], training: bool) -> Mapped:
        """The vectors that `between` compares, for the fast forms. Most distances compare the vectors themselves."""
        return Mapped(x, centers)

    def map(self, centers: Tensor, parameters: Mapping[str, Tensor], training: bool) -> Map | None:
        """The map that the compiled kernel applies to each vector, or None if it has no such map."""
        return None

    def between(self, x: Tensor, centers: Tensor, *option: Tensor) -> Tensor:
        """Distances (B, K) of mapped vectors, and of the learned option if there is one: `pairwise` after `mapped`."""
        return self.pairwise(x, centers, {}, False)

    def __call__(
        self,
        x: Tensor,
        centers: Tensor,
        parameters: Mapping[str, Tensor] | None = None,
        *,
        training: bool = False,
    ) -> Tensor:
        """Distances (B, K) of features (B, N) to centers (K, N), in at least float32 even under autocast.

        Raises:
            ValueError: if the shapes do not fit.

        >>> import torch
        >>> from harmbench.nn.distances import DISTANCES
        >>> DISTANCES.parse("manhattan")(torch.tensor([[0.0, 3.0]]), torch.tensor([[0.0, 0.0], [1.0, 3.0]]))
        tensor([[3., 1.]])
        """
        return self.pairs(x, centers, parameters, training=training).distances()

    def pairs(
        self,
        x: Tensor,
        centers: Tensor,
        parameters: Mapping[str, Tensor] | None = None,
        *,
        training: bool = False,
    ) -> Pairs:
        """The same distances, not yet computed, so that a loss can compute them in blocks.

        Raises:
            ValueError: if the shapes do not fit.

        >>> import torch
        >>> from harmbench.nn.distances import DISTANCES
        >>> DISTANCES.parse("manhattan").pairs(torch.zeros(1, 2), torch.ones(3, 2)).distances()
        tensor([[2., 2., 2.]])
        """
        if x.ndim != 2 or centers.ndim != 2 or x.shape[1] != centers.shape[1]:
            raise ValueError(
                f"{self}: expected features (B, N) and centers (K, N), got {tuple(x.shape)} and {tuple(centers.shape)}"
            )
        given = self.initial_parameters(x.shape[1]) if parameters is None else parameters
        # bfloat16 inputs are fine, bfloat16 distances are not: two digits cannot tell classes apart.
        dtype = torch.promote_types(torch.promote_types(x.dtype, centers.dtype), torch.float32)
        x, centers = x.to(dtype), centers.to(dtype)
        learned = {name: tensor.to(x.device, dtype) for name, tensor in given.items()}
        operator = self.operator
        chosen = choose(operator, x, centers, *learned.values())
        if operator is None and learned:
            chosen = chosen.of_formula("blocks of the formula know no learnable parameters")
        return Pairs(
            x,
            centers,
            chosen,
            operator,
            map=lambda: self.map(centers, learned, training),
            mapped=lambda: self.mapped(x, centers, learned, training),
            between=self.between,
            formula=lambda: self.pairwise(x, centers, learned, training),
        )
