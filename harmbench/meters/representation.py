"""Geometry of the trained features.

    features (M, N), centered ---> singular values ---> PCA shares, ranks
    features by class ----------> class means -------> neural collapse, separation
    class means and weights ----> self-duality, alignment
    predictions ----------------> whether the model has collapsed at all

M is at most a thousand or so: an exact decomposition in float64 on the CPU takes a second at most.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from harmbench._torch import torch
from harmbench.meters._base import HeldOut, Meter, Outcome, Watcher
from harmbench.results.records import Measurement

if TYPE_CHECKING:
    from torch import Tensor

SHARES = range(1, 11)  # numbers of principal components whose share of the variance is given
NEAR_ZERO = 0.01  # times the root mean square of the weights
CHANCE_ERRORS = 3  # standard errors above chance that an accuracy must reach
MIN_RANK = 1.5  # effective rank below which the features lie on a line
MIN_PREDICTED = 0.5  # share of the classes that must be predicted at least once

ScoreOrReason = float | str  # a number, or why there is none


class Representation(Meter):
    """Geometry of the features of held-out samples, in the selected state: PCA, ranks, neural collapse, alignment.

    Looks at `analysis_samples` samples of the test part, after the test, in the phase `analyze`. X (M, N) are the
    features that the head reads, centered, and s_i the singular values of X. mu_k is the mean feature of class k, mu_G
    the mean of the mu_k, and m_k = mu_k - mu_G. w_k are the head's weights (a distance head's class centers).
    - pca_variance_k: sum of the k largest s_i^2 over the sum of all.
    - pca_components_90, _95: least k with a share of 90 or 95 %.
    - effective_rank: exp of the entropy of s_i / sum s (Roy and Vetterli 2007: of the s_i, not of their squares).
    - participation_ratio: (sum s_i^2)^2 / sum s_i^4, over the whole spectrum.
    - nc1: tr(S_W pinv(S_B)) / K, S_W the covariance within classes, S_B that of the class means (Papyan, Han and
      Donoho 2020, arXiv 2008.08186, as nc2 to nc4).
    - nc2_norm_cv: standard deviation of |m_k| over its mean.
    - nc2_angle: mean of |cos(m_j, m_k) + 1 / (K - 1)|, j != k.
    - nc3: |W / |W| - (m_k) / |(m_k)||^2 in the Frobenius norm. For a distance head, W is centered on the mean of its
      centers.
    - nc4: share of samples whose predicted class is that of the nearest mu_k.
    - weight_mean_cosine: mean of cos(w_k, m_k), with W as in nc3.
    - center_mean_distance: mean |w_k - mu_k| over mean |m_k|, of distance heads.
    - class_separation: share of the variance of X that lies between the classes.
    - near_zero_weight_share: share of weights of less than 1 % of their root mean square.
    - anisotropy: mean cosine of the features, as they are, of two different samples (Ethayarajh 2019, arXiv
      1909.00512), 0 without a preferred direction, 1 for a single direction.
    - collapsed: 1 where accuracy is not above chance (the share of the largest class) by 3 standard errors, where
      under half of the classes are ever predicted (not of text, most of whose classes are rare), or where, with more
      than two classes, the effective rank is below 1.5, else 0.

    A collapsed model looks perfect on most of these: read them beside the accuracy and `collapsed` only. Class means
    come from the same held-out samples, of which each class needs two, so text has no neural collapse. The papers on it
    use the training part.
    """

    name: ClassVar[str] = "representation"

    def watcher(self) -> Watcher:
        return _RepresentationWatcher()


class _RepresentationWatcher(Watcher):
    def measurements(self, outcome: Outcome) -> list[Measurement]:
        geometry = Geometry(outcome.held_out())
        measurements = [_measurement(f"pca_variance_{k}", geometry, lambda k=k: geometry.explained(k)) for k in SHARES]  # type: ignore[misc]
        measurements += [
            _measurement("pca_components_90", geometry, lambda: geometry.components(0.90)),
            _measurement("pca_components_95", geometry, lambda: geometry.components(0.95)),
            _measurement("effective_rank", geometry, geometry.effective_rank),
            _measurement("participation_ratio", geometry, geometry.participation_ratio),
            _measurement("anisotropy", geometry, geometry.anisotropy),
            _measurement("nc1", geometry, geometry.nc1),
            _measurement("nc2_norm_cv", geometry, geometry.nc2_norm_cv),
            _measurement("nc2_angle", geometry, geometry.nc2_angle),
            _measurement("nc3", geometry, geometry.nc3),
            _measurement("nc4", geometry, geometry.nc4),
            _measurement("weight_mean_cosine", geometry, geometry.weight_mean_cosine),
            _measurement("center_mean_distance", geometry, geometry.center_mean_distance),
            _measurement("class_separation", geometry, geometry.class_separation),
            _measurement("near_zero_weight_share", geometry, geometry.near_zero_weight_share),
        ]
        signs = geometry.signs_of_collapse()
        return [*measurements, Measurement.of("collapsed", float(bool(signs)), "1", "neither", "; ".join(signs))]


def _measurement(name: str, seen: Geometry, of: Callable[[], ScoreOrReason]) -> Measurement:
    value = seen.problem or of()
    missing = isinstance(value, str)
    if missing:
        return Measurement.of(name, None, "1", "neither", str(value))
    return Measurement.of(name, value, "1", "neither")  # type: ignore[arg-type]


class Geometry:
    """The measures of `Representation`, one method each. A string instead of a number is the reason why it is missing.

    Args:
        held_out: features, targets, predictions and weights.

    >>> from sklearn.datasets import load_iris
    >>> x, y = (torch.from_numpy(part) for part in load_iris(return_X_y=True))
    >>> iris = Geometry(HeldOut(x.double(), y, torch.eye(3)[y], torch.zeros(3, 4), has_centers=True))
    >>> round(iris.explained(1), 4), iris.components(0.95), round(iris.class_separation(), 3)
    (0.9246, 2.0, 0.869)
    """

    def __init__(self, held_out: HeldOut) -> None:
        self._held_out = held_out
        self._classes = len(held_out.weights)

    @property
    def problem(self) -> str:
        """Reason why no measure exists, or ""."""
        if not self._held_out.features.isfinite().all():
            return "the features are not finite"
        return "" if self._held_out.weights.isfinite().all() else "the weights are not finite"

    # Spectrum.

    @cached_property
    def _singular_values(self) -> Tensor:
        """Singular values of the centered features, descending. Empty if the features differ by float32 rounding
        only.
        """
        features = self._held_out.features
        values: Tensor = torch.linalg.svdvals(features - features.mean(0))
        return values if values[0] > _rounding() * features.norm() else values[:0]

    def _shares(self) -> Tensor:
        squares = self._singular_values.square()
        return squares / squares.sum()

    def explained(self, k: int) -> ScoreOrReason:
        """Share of the variance on the first k principal components."""
        if not len(self._singular_values):
            return "the features do not vary"
        return self._shares()[:k].sum().item()

    def components(self, share: float) -> ScoreOrReason:
        """Least number of principal components with this share of the variance."""
        if not len(self._singular_values):
            return "the features do not vary"
        return float((self._shares().cumsum(0) < share).sum().item() + 1)

    def effective_rank(self) -> ScoreOrReason:
        """exp of the entropy of the normalized singular values."""
        if not len(self._singular_values):
            return "the features do not vary"
        p = self._singular_values / self._singular_values.sum()
        return float(torch.special.entr(p).sum().exp())

    def participation_ratio(self) -> ScoreOrReason:
        """Squared sum of the covariance's eigenvalues over the sum of their squares."""
        if not len(self._singular_values):
            return "the features do not vary"
        return 1 / self._shares().square().sum().item()

    def anisotropy(self) -> ScoreOrReason:
        """Mean cosine of two different samples' features, over all pairs."""
        return mean_cosine(self._held_out.features)

    # Classes.

    @cached_property
    def _counts(self) -> Tensor:
        return torch.bincount(self._held_out.targets, minlength=self._classes).double()

    @cached_property
    def _means(self) -> Tensor:
        """Mean feature of each class, (K, N)."""
        sums = self._held_out.features.new_zeros(self._classes, self._held_out.features.shape[1])
        return sums.index_add_(0, self._held_out.targets, self._held_out.features) / self._counts[:, None]

    @cached_property
    def _centered(self) -> Tensor:
        """Class means less their own mean, (K, N)."""
        return self._means - self._means.mean(0)

    @cached_property
    def _within(self) -> Tensor:
        """Features less the mean of their class, (M, N)."""
        return self._held_out.features - self._means[self._held_out.targets]

    @cached_property
    def _class_problem(self) -> str:
        """Reason why the class means cannot be used, or ""."""
        few = (self._counts < 2).nonzero().flatten().tolist()  # a single sample has no spread within its class
        if self._classes < 2:
            return "there is only one class"
        if few:
            more = f" and of {len(few) - 1} more" if len(few) > 1 else ""
            return f"under 2 of {len(self._held_out.targets)} samples are of class {few[0]}{more}"
        if self._lengths.max() <= _rounding() * self._means.norm():
            return "the class means do not differ"
        return ""

    @cached_property
    def _lengths(self) -> Tensor:
        """|m_k|, (K,)."""
        lengths: Tensor = self._centered.norm(dim=1)
        return lengths

    def nc1(self) -> ScoreOrReason:
        """Variance within classes, measured by that between them."""
        if self._class_problem:
            return self._class_problem
        _, scales, directions = torch.linalg.svd(self._centered, full_matrices=False)
        is_real = scales > _rounding() * max(self._centered.shape) * scales[0]
        spread = (self._within @ directions[is_real].T).square().mean(0)
        # S_B = D^T diag(scales^2) D / K, so tr(S_W pinv(S_B)) / K is a sum over the directions D, without any (N, N).
        return float((spread / scales[is_real].square()).sum())

    def nc2_norm_cv(self) -> ScoreOrReason:
        """Coefficient of variation of the lengths of the class means."""
        return self._class_problem or (self._lengths.std() / self._lengths.mean()).item()

    def nc2_angle(self) -> ScoreOrReason:
        """Mean deviation of the angles between class means from those of a simplex."""
        if self._class_problem:
            return self._class_problem
        if self._lengths.min() == 0:
            return "a class mean lies on the mean of all"
        directions = self._centered / self._lengths[:, None]
        gaps = (directions @ directions.T + 1 / (self._classes - 1)).abs()
        return ((gaps.sum() - gaps.diagonal().sum()) / (self._classes * (self._classes - 1))).item()

    def nc4(self) -> ScoreOrReason:
        """Agreement of the prediction with the nearest class mean."""
        if self._class_problem:
            return self._class_problem
        nearest = torch.cdist(self._held_out.features, self._means).argmin(1)
        return (nearest == self._held_out.predicted).double().mean().item()

    def class_separation(self) -> ScoreOrReason:
        """Share of the variance between classes, the R^2 of the class means."""
        if self._class_problem:
            return self._class_problem
        total = (self._held_out.features - self._held_out.features.mean(0)).square().sum()
        return (1 - self._within.square().sum() / total).item()

    # Weights.

    @cached_property
    def _weights(self) -> Tensor:
        """Rows of a linear head, or centers minus their mean, since distances do not depend on the origin."""
        weights = self._held_out.weights
        return weights - weights.mean(0) if self._held_out.has_centers else weights

    def nc3(self) -> ScoreOrReason:
        """Squared distance of weights and class means, both of unit norm."""
        if self._class_problem:
            return self._class_problem
        size = self._weights.norm()
        if size == 0:
            return "all weights are equal"
        return float((self._weights / size - self._centered / self._centered.norm()).square().sum())

    def weight_mean_cosine(self) -> ScoreOrReason:
        """Mean cosine of the weights of a class with its mean."""
        if self._class_problem:
            return self._class_problem
        if self._lengths.min() == 0 or self._weights.norm(dim=1).min() == 0:
            return "a class mean or weight has no direction"
        return torch.cosine_similarity(self._weights, self._centered, eps=0).mean().item()

    def center_mean_distance(self) -> ScoreOrReason:
        """Distance of a center from the mean of its class, relative to that of the means from each other's mean."""
        if not self._held_out.has_centers:
            return "a linear head has no centers"
        if self._class_problem:
            return self._class_problem
        offset = (self._held_out.weights - self._means).norm(dim=1).mean()
        return float(offset / self._lengths.mean())

    def near_zero_weight_share(self) -> ScoreOrReason:
        """Share of the head's weights that are nearly zero."""
        size = self._held_out.weights.square().mean().sqrt()
        if not size:
            return "all weights are 0"
        return (self._held_out.weights.abs() < NEAR_ZERO * size).double().mean().item()

    # Collapse.

    def signs_of_collapse(self) -> list[str]:
        """Signs that the model does not separate the classes. Empty if there are none."""
        targets, predicted = self._held_out.targets, self._held_out.predicted
        accuracy = (predicted == targets).double().mean().item()
        chance = self._counts.max().item() / len(targets)
        margin = CHANCE_ERRORS * (chance * (1 - chance) / len(targets)) ** 0.5
        share = len(torch.unique(predicted)) / len(torch.unique(targets))
        rank = self.problem or self.effective_rank()
        signs = {
            f"accuracy {accuracy:.3f} is not above chance, {chance:.3f} + {margin:.3f}": accuracy <= chance + margin,
            f"{share:.0%} of the classes are ever predicted": share < MIN_PREDICTED and not self._held_out.is_text,
            f"effective rank: {rank if isinstance(rank, str) else format(rank, '.2f')}": isinstance(rank, str)
            or (rank < MIN_RANK and self._classes > 2),  # two classes told apart well lie on a line
        }
        return [sign for sign, shows in signs.items() if shows]


def mean_cosine(rows: Tensor) -> ScoreOrReason:
    """Mean cosine of two different rows of (M, N), over all M (M - 1) ordered pairs, from the sum of the directions.

    >>> mean_cosine(torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]]).double())  # 0, 1 and 0
    0.33...
    """
    lengths = rows.norm(dim=1, keepdim=True)
    if len(rows) < 2 or lengths.min() == 0:
        return "there is only one row" if len(rows) < 2 else "a row has no direction"
    total = float((rows / lengths).sum(0).square().sum())
    return (total - len(rows)) / (len(rows) * (len(rows) - 1))


def _rounding() -> float:
    """Relative rounding of the features, which were float32."""
    return float(torch.finfo(torch.float32).eps)
