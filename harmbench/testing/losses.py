"""The contract of a loss.

    probabilities   sum to 1, and the nearest center (or the largest logit) has the largest, with every distance it fits
    value           the mean negative log-probability, whichever way it is computed
    gradients       those of the values, finite for a feature on its center; training pulls features to their centers
    numbers         float32 at least; NaN passes through

`check_loss` runs all of them; each is also a function of its own.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from harmbench.nn.distances import DISTANCES, Distance
from harmbench.nn.heads import DistanceHead, Objective
from harmbench.nn.losses import Loss
from harmbench.testing._contract import (
    Contract,
    Result,
    Skipped,
    components_of,
    enforce,
    is_written_as_it_is_read,
    judge,
    require,
)

N = 16  # length of the feature vectors
_RNG = torch.Generator().manual_seed(0)
SCORES = torch.rand(32, 10, generator=_RNG, dtype=torch.float64) + 0.5
TARGETS = torch.arange(32) % 10
VECTORS = torch.randn(64, N, generator=_RNG)
FEATURES = torch.cat([VECTORS, 0.1 * VECTORS, VECTORS.relu()])


def nll(loss: Loss, scores: Tensor, targets: Tensor, in_features: int = N) -> Tensor:
    """The loss, a scalar, of scores (B, K) against class indices (B,), with initial parameters."""
    return loss.nll(loss.logits(scores, in_features, loss.initial_parameters(in_features)), targets)


def fitting_distances(loss: Loss) -> Iterator[Distance]:
    """Every variant of every distance that the loss is defined for.

    Raises:
        Skipped: for a loss of logits.
    """
    if loss.reads == "logits":
        raise Skipped("it reads logits, not distances")
    return (d for d in DISTANCES.every_variant() if d.name in (loss.distances or [d.name]))


# Probabilities.


def sums_to_one(loss: Loss) -> None:
    """Probabilities of each row sum to 1, for large, small and half-precision scores too."""
    for scores in (SCORES, SCORES.float(), SCORES.bfloat16(), SCORES.half(), SCORES * 1e6, SCORES * 1e-6):
        total = loss.log_probs(scores, N).exp().sum(-1)
        close = torch.isclose(total, torch.ones_like(total), rtol=2e-5, atol=2e-5)
        if total.dtype == torch.float64:
            close = torch.isclose(total, torch.ones_like(total), rtol=1e-7, atol=1e-7)
        worst = total[(total - 1).abs().argmax()].item()
        require(close.all(), f"probabilities do not sum to 1: {worst:.6g} in {scores.dtype}")


def predicts_the_likeliest(loss: Loss) -> None:
    """The smallest distance, or the largest logit, has the largest probability."""
    likeliest = SCORES.argmin(-1) if loss.reads == "distances" else SCORES.argmax(-1)
    wrong = (loss.log_probs(SCORES, N).argmax(-1) != likeliest).sum()
    what = "nearest center" if loss.reads == "distances" else "largest logit"
    require(wrong == 0, f"the {what} is not predicted in {wrong} of {len(SCORES)} rows")


def predicts_the_nearest_center_with(distance: Distance, loss: Loss, x: Tensor) -> None:
    """The nearest center is predicted, from features (B, N) through one distance.

    Distances one bit apart may have the same probability, so a nearest center counts up to rounding.
    """
    torch.manual_seed(0)
    head, objective = DistanceHead(x.shape[1], 10, distance).eval(), Objective(loss, x.shape[1])
    d = head(torch.cat([x, head.weight]))
    predicted = d.gather(-1, objective.logits(d).argmax(-1, keepdim=True))
    is_nearest = torch.isclose(predicted, d.amin(-1, keepdim=True), rtol=1e-5, atol=0)
    missed = int((~is_nearest).sum())
    require(missed == 0, f"the nearest center is not predicted for {missed} of {len(d)} features, with {distance}")


def predicts_the_nearest_center(loss: Loss) -> None:
    """The nearest center is predicted, from features to probabilities, with every distance that fits."""
    for distance in fitting_distances(loss):
        predicts_the_nearest_center_with(distance, loss, FEATURES)


# Value.


def is_the_mean_log_probability(loss: Loss) -> None:
    """The loss is the mean of minus `log_probs` at the targets."""
    expected = -loss.log_probs(SCORES, N).gather(-1, TARGETS[:, None]).mean()
    value = nll(loss, SCORES, TARGETS)
    require(torch.isclose(value, expected), f"nll is not that of log_probs: {value:.6g} for {expected:.6g}")


def is_the_same_of_pairs(loss: Loss) -> None:
    """`of_pairs`, which may never write the distances, gives what `nll` gives of them."""
    if loss.reads == "logits":
        raise Skipped("it reads logits, not distances")
    rng = torch.Generator().manual_seed(6)
    x, w = torch.randn(32, 40, generator=rng), torch.randn(10, 40, generator=rng)  # enough for the kernels
    parameters = loss.initial_parameters(40)
    name = loss.distances[0] if loss.distances else "manhattan"
    pairs = DISTANCES.parse(name).pairs(x, w)
    expected = loss.nll(loss.logits(pairs.distances(), 40, parameters), TARGETS)
    value = loss.of_pairs(pairs, TARGETS, 40, parameters)
    is_close = torch.isclose(value, expected, rtol=1e-5, atol=1e-6)
    require(is_close, f"of_pairs is not nll: {value:.6g} for {expected:.6g} with {name}")


# Gradients.


def has_the_gradients_of_its_values(loss: Loss) -> None:
    """Gradients are those of the values, by finite differences in float64."""
    parameters = {name: p.double().requires_grad_() for name, p in loss.initial_parameters(N).items()}

    def value(scores: Tensor, *learned: Tensor) -> Tensor:
        return loss.nll(loss.logits(scores, N, dict(zip(parameters, learned, strict=True))), TARGETS[:4])

    leaves = (SCORES[:4].clone().requires_grad_(), *parameters.values())
    is_right = torch.autograd.gradcheck(value, leaves, raise_exception=False)
    require(is_right, "gradient is not that of the values (torch.autograd.gradcheck)")


def is_finite_at_the_centers(loss: Loss) -> None:
    """Features on their own and on other centers give a finite loss and finite gradients, with every distance."""
    for distance in fitting_distances(loss):
        is_finite_at_the_centers_of(distance, loss)


def is_finite_at_the_centers_of(distance: Distance, loss: Loss) -> None:
    """The same with one distance."""
    torch.manual_seed(0)
    head, objective = DistanceHead(N, 4, distance), Objective(loss, N)
    x = head.weight.detach().clone().requires_grad_()
    for targets in (torch.arange(4), torch.arange(4).flip(0)):  # each on its own center, each on another's
        total = objective(head(x), targets)
        total.backward()
        require(total.isfinite(), f"the loss of features on centers is {total.item()}, with {distance}")
        leaves = [x, *head.parameters(), *objective.parameters()]
        finite = all(p.grad is not None and p.grad.isfinite().all() for p in leaves)
        require(finite, f"a gradient of features on centers is not finite, with {distance}")


def pulls_features_to_their_centers(loss: Loss) -> None:
    """Eight steps of training lower the loss, with every distance that fits."""
    for distance in fitting_distances(loss):
        pulls_features_to_their_centers_of(distance, loss)


def pulls_features_to_their_centers_of(distance: Distance, loss: Loss) -> None:
    """The same with one distance."""
    torch.manual_seed(0)
    head, objective = DistanceHead(N, 3, distance), Objective(loss, N)
    x, targets = torch.randn(12, N), torch.arange(12) % 3
    before = objective(head(x), targets).item()
    optimizer = torch.optim.Adam([*head.parameters(), *objective.parameters()], lr=0.05)
    for _ in range(8):
        optimizer.zero_grad()
        objective(head(x), targets).backward()
        optimizer.step()
    after = objective(head.eval()(x), targets).item()
    require(after < before, f"eight steps of training take the loss from {before:.4g} to {after:.4g}, with {distance}")


# Numbers.


def is_at_least_float32(loss: Loss) -> None:
    """Half-precision scores give float32 log-probabilities, computed in float32."""
    for half in (torch.float16, torch.bfloat16):
        log_probs = loss.log_probs(SCORES.to(half), N)
        require(log_probs.dtype == torch.float32, f"computes in {half}: gives {log_probs.dtype}")
        require(torch.equal(log_probs, loss.log_probs(SCORES.to(half).float(), N)), f"computes in {half}")


def lets_nan_through(loss: Loss) -> None:
    """NaN in a row of scores makes that row NaN, and no other, and the loss too."""
    scores = SCORES.clone()
    scores[3, 4] = torch.nan
    rows = loss.log_probs(scores, N).isnan().any(-1).nonzero().flatten().tolist()
    require(rows == [3], f"NaN is hidden, or spreads: NaN in row 3 makes the rows {rows} NaN")
    require(nll(loss, scores, TARGETS).isnan(), "NaN is hidden in the loss")


CONTRACTS: tuple[Contract, ...] = (
    sums_to_one,
    predicts_the_likeliest,
    predicts_the_nearest_center,
    is_the_mean_log_probability,
    is_the_same_of_pairs,
    has_the_gradients_of_its_values,
    is_finite_at_the_centers,
    pulls_features_to_their_centers,
    is_at_least_float32,
    lets_nan_through,
    is_written_as_it_is_read,
)


def judge_loss(loss: Loss | type[Loss]) -> tuple[Result, ...]:
    """The result of each contract on a loss, or on all named variants of a class."""
    return tuple(result for each in components_of(loss) for result in judge(each, CONTRACTS))


def check_loss(loss: Loss | type[Loss]) -> tuple[Result, ...]:
    """Check a loss, or all named variants of a class, against the contract.

    Args:
        loss: an instance, or a class.

    Returns:
        One result for each variant and contract.

    Raises:
        ContractError: naming every broken contract, with numbers.

    >>> from harmbench.nn.losses import LOSSES
    >>> results = check_loss(LOSSES.parse("cross_entropy"))
    >>> results[0].contract, results[0].status
    ('sums_to_one', 'passed')
    """
    return enforce(judge_loss(loss))
