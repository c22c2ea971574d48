"""Shape of the token embedding, compared with the structure of the task.

    embedding (V, N) -------------------> shares of variance on two principal components
    its rows for the structure's tokens -> the score of the task's own shape, and one correlation for every shape

Functions of plain tensors, in float64. The scores are those of the released code of arXiv 2502.01628 with corrections.
Each function's docstring names them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from harmbench._torch import torch
from harmbench.meters._base import Meter, Outcome, Watcher
from harmbench.results.records import Direction, Measurement, Shape, Structure

if TYPE_CHECKING:
    from torch import Tensor

MIN_GENERATION = 5  # people of a generation that must lie on a line; fewer are near one by chance

ScoreOrReason = float | str  # a number, or why there is none


class EmbeddingStructure(Meter):
    """Shape of the token embedding in the selected state: variance on two principal components, and the task's score.

    The scores are those of the released code of arXiv 2502.01628 for its algorithmic tasks, with corrections: see the
    functions of `harmbench.meters.structure`. A task has the score of its own shape. The other scores are missing, with
    the reason.
    - embedding_variance_1, _2: share of the variance of all tokens' embeddings on one or two principal components.
    - structure_variance_2: the same of the tokens that take part in the structure, without answers and relations.
    - structure_correlation: correlation of the distances of all pairs of embeddings with those of an ideal embedding
      of the structure (`harmbench.meters.structure.ideal`), 1 for the ideal one, 0 for noise, in any task.
    - lattice_defect (0 for a lattice, 1 for noise), circle_radius_cv (0 for a circle, about 0.5 for noise),
      equivalence_ratio (0 for classes in one point each, 1 for noise), order_spacing_cv (0 for even steps),
      tree_line_defect (0 for generations on lines): low where the structure is there.
    - permutation_symmetry (1 for a fourfold symmetry): high where it is.
    """

    name: ClassVar[str] = "structure"

    def watcher(self) -> Watcher:
        return _StructureWatcher()


class _StructureWatcher(Watcher):
    def measurements(self, outcome: Outcome) -> list[Measurement]:
        table, structure = outcome.embedding, outcome.structure
        if table is None:
            missing = "the backbone embeds no tokens"
            names = ("embedding_variance_1", "embedding_variance_2")
            variances: dict[str, ScoreOrReason] = dict.fromkeys(names, missing)
        else:
            table = table.detach().double().cpu()
            variances = {f"embedding_variance_{k}": explained(table, k) for k in (1, 2)}
        values = {**variances, **scores(table, structure)}
        return [_measurement(name, value) for name, value in values.items()]


def _measurement(name: str, value: ScoreOrReason) -> Measurement:
    better = BETTER.get(name, "neither")
    if isinstance(value, str):
        return Measurement.of(name, None, "1", better, value)
    return Measurement.of(name, value, "1", better)


def scores(table: Tensor | None, structure: Structure | None) -> dict[str, ScoreOrReason]:
    """Every score of a table of embeddings (V, N), by name: the one of its structure's shape, and why not the others.

    >>> circle = torch.arange(7) * 2 * math.pi / 7
    >>> found = scores(torch.stack([circle.cos(), circle.sin()], 1), Structure(shape="circle", size=7, tokens=7))
    >>> round(found["structure_correlation"], 6), found["lattice_defect"]
    (1.0, 'the tokens are no lattice')
    """
    if table is None or structure is None:
        why = "the backbone embeds no tokens" if table is None else "the tokens of the data set have no structure"
        return dict.fromkeys(("structure_variance_2", "structure_correlation", *SCORES), why)
    rows = table[structure.first : structure.first + structure.tokens]
    problem = _problem(rows)
    values: dict[str, ScoreOrReason] = {
        "structure_variance_2": problem or explained(rows, 2),
        "structure_correlation": problem or structure_correlation(rows, structure),
    }
    for name, (shape, score) in SCORES.items():
        applies = shape == structure.shape
        values[name] = (problem or score(rows, structure.size)) if applies else f"the tokens are no {shape}"
    return values


def _problem(rows: Tensor) -> str:
    """Reason why no score exists, or ""."""
    if not rows.isfinite().all():
        return "the embedding is not finite"
    spread = (rows - rows.mean(0)).norm()
    return "the embeddings do not differ" if spread <= torch.finfo(torch.float32).eps * rows.norm() else ""


# --- variance --------------------------------------------------------------------------------------------------


def explained(rows: Tensor, k: int) -> ScoreOrReason:
    """Share of the variance of rows (V, N) on their first k principal components.

    >>> explained(torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]]), 1)
    0.8...
    """
    if problem := _problem(rows):
        return problem
    squares = torch.linalg.svdvals(rows - rows.mean(0)).square()
    return float(squares[:k].sum() / squares.sum())


def plane(rows: Tensor) -> Tensor:
    """Coordinates (V, 2) of the rows on their first two principal components. The second is 0 if there is only one."""
    left, sizes, _ = torch.linalg.svd(rows - rows.mean(0), full_matrices=False)
    flat = left[:, :2] * sizes[:2]
    return torch.nn.functional.pad(flat, (0, 2 - flat.shape[1]))


# --- one score for each shape ----------------------------------------------------------------------------------


def lattice_defect(rows: Tensor, side: int) -> ScoreOrReason:
    """Deviation from a parallelogram of four grid points that should be one: 0 for a lattice, 1 for noise.

    sqrt(2 sum |a - b - c + d|^2 / sum (|a - b|^2 + |b - d|^2 + |d - c|^2 + |c - a|^2)), over all a, b, c not on a line
    whose d = b + c - a is on the grid. The released code compares the lengths of opposite sides only, which a folded
    quadrilateral passes. It divides by two sides and both diagonals instead of four sides. It averages ratios, so a few
    small parallelograms can dominate the score.

    Args:
        rows: embeddings (side^2, N) of the grid's points, row by row.
        side: of the grid.
    """
    points = torch.arange(side**2)
    row, column = points // side, points % side
    defect, sides = 0.0, 0.0
    for a in range(side**2):
        b, c = torch.cartesian_prod(points, points).T
        r, k = row[b] + row[c] - row[a], column[b] + column[c] - column[a]
        inside = (r >= 0) & (r < side) & (k >= 0) & (k < side)
        area = (row[b] - row[a]) * (column[c] - column[a]) - (row[c] - row[a]) * (column[b] - column[a])
        kept = inside & (area != 0)
        b, c, d = (rows[corner[kept]] for corner in (b, c, r * side + k))
        defect += float((rows[a] - b - c + d).square().sum())
        sides += sum(float((one - other).square().sum()) for one, other in ((rows[a], b), (b, d), (d, c), (c, rows[a])))
    return math.sqrt(2 * defect / sides) if sides else "the embeddings do not differ"


def circle_radius_cv(rows: Tensor) -> ScoreOrReason:
    """Standard deviation over mean of the distances to the centroid, on two principal components: 0 for a circle.

    Noise gives about 0.5. The released code first stretches both components to the same range, which makes a circle of
    any ellipse. Neither looks at the order of the points on the ring: `structure_correlation` does.
    """
    radii = plane(rows).norm(dim=1)
    return float(radii.std(correction=0) / radii.mean())


def equivalence_ratio(rows: Tensor, classes: int) -> ScoreOrReason:
    """Mean distance of two tokens of one class over that of two of different classes: 0 for collapsed classes.

    Noise gives 1. Token i is of class i mod `classes`. The released code counts a token's distance of 0 to itself among
    the former, drops those above the mean of the latter as outliers, and takes in the two answers as numbers.
    """
    distances, pairs = torch.pdist(rows), torch.combinations(torch.arange(len(rows)))
    same = (pairs[:, 0] - pairs[:, 1]) % classes == 0
    if not same.any():
        return "no two tokens are of one class"
    between = distances[~same].mean()
    return float(distances[same].mean() / between) if between else "the classes do not differ"


def order_spacing_cv(rows: Tensor) -> ScoreOrReason:
    """Standard deviation over mean of the distances of successive tokens: 0 for even steps.

    The released code takes in the two answers as if they went on with the order. The score does not tell an order from
    noise, whose steps in many dimensions are even as well (about 0.18 in 16): `structure_correlation` does.
    """
    steps = rows.diff(dim=0).norm(dim=1)
    return float(steps.std(correction=0) / steps.mean()) if steps.any() else "the embeddings do not differ"


def tree_line_defect(rows: Tensor, generations: int) -> ScoreOrReason:
    """Share of a generation's variance off its first principal component: 0 for generations on lines.

    The score is the mean over generations of 5 people or more.

    Noise in 16 dimensions gives about 0.8. The released code looks at two principal components of the whole only, where
    the share is a half at most and noise gives about 0.35.

    Args:
        rows: embeddings of the people, generation by generation. The last may be incomplete.
        generations: number of generations of the tree.
    """
    people = [rows[2**g - 1 : 2 ** (g + 1) - 1] for g in range(generations)]
    shares = [explained(generation, 1) for generation in people if len(generation) >= MIN_GENERATION]
    defined = [share for share in shares if not isinstance(share, str)]
    if not shares or len(defined) < len(shares):
        return "a generation does not vary" if shares else f"no generation has {MIN_GENERATION} people"
    return 1 - sum(defined) / len(defined)


def permutation_symmetry(rows: Tensor) -> ScoreOrReason:
    """1 / (1 + m), with m the mean distance of rotated embeddings to the nearest one: 1 for a fourfold symmetry.

    Embeddings are rotated by 90, 180 and 270 degrees on two principal components. The unit is their root mean square
    distance to the centroid.

    Noise gives about 0.8. The released code has no unit, so that shrinking the embedding raises its score.
    """
    flat = plane(rows)
    flat = flat / flat.square().sum(1).mean().sqrt()
    quarter = torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=flat.dtype)
    turned = [flat @ torch.linalg.matrix_power(quarter, turns) for turns in (1, 2, 3)]
    return 1 / (1 + float(torch.cdist(torch.cat(turned), flat).amin(1).mean()))


SCORES: dict[str, tuple[Shape, Callable[[Tensor, int], ScoreOrReason]]] = {
    "lattice_defect": ("lattice", lattice_defect),
    "circle_radius_cv": ("circle", lambda rows, _: circle_radius_cv(rows)),
    "equivalence_ratio": ("equivalence", equivalence_ratio),
    "order_spacing_cv": ("order", lambda rows, _: order_spacing_cv(rows)),
    "tree_line_defect": ("tree", tree_line_defect),
    "permutation_symmetry": ("permutation", lambda rows, _: permutation_symmetry(rows)),
}
BETTER: dict[str, Direction] = {
    **dict.fromkeys(SCORES, "lower"),
    "permutation_symmetry": "higher",
    "structure_correlation": "higher",
}


# --- one score for all shapes ----------------------------------------------------------------------------------


def structure_correlation(rows: Tensor, structure: Structure) -> ScoreOrReason:
    """Correlation of the distances of all pairs of embeddings with those of an ideal embedding of the structure.

    A score of harmbench, over all dimensions. It is 1 for the ideal embedding up to scale, rotation and shift, and 0
    for noise. It is the statistic of Mantel (1967, Cancer Research 27).

    Args:
        rows: embeddings (V, N) of the tokens that take part.
        structure: of these tokens.
    """
    points = ideal(structure, rows)
    # By matrix product: exact for whole numbers, and a large tree has as many dimensions as people.
    ideal_distances = torch.cdist(points, points, compute_mode="use_mm_for_euclid_dist")
    distances = torch.pdist(rows)
    upper = torch.triu_indices(len(ideal_distances), len(ideal_distances), offset=1)
    expected = ideal_distances[tuple(upper)]
    centered = torch.stack([distances - distances.mean(), expected - expected.mean()])
    if float(centered[0].norm()) <= torch.finfo(torch.float32).eps * float(distances.norm()):
        return "all embeddings are equally far apart"
    return float(torch.nn.functional.cosine_similarity(centered[0], centered[1], dim=0, eps=0))


def ideal(structure: Structure, rows: Tensor) -> Tensor:
    """An embedding (V, M) of the tokens of a structure that shows all of it and nothing else.

    - lattice: the points of the grid.
    - order: the points of a line.
    - equivalence: a corner of a simplex for each class.
    - circle: points around it, token i at place k i, for the k coprime to its length which has the most of the
      embedding's spectrum: a model may go around in any such steps.
    - tree: a dimension for each child, 1 for itself and all who descend from it, so that the squared distance of two is
      the number of steps between them.
    - permutation: its matrices, so that the squared distance of two is twice the number of points they send apart.

    Args:
        structure: of the tokens.
        rows: embeddings (V, N), for a circle's k.
    """
    size, tokens = structure.size, torch.arange(structure.tokens)
    if structure.shape == "lattice":
        points = torch.stack([tokens // size, tokens % size], 1)
    elif structure.shape == "circle":
        angles = tokens.double() * frequency(rows) * (2 * math.pi / size)
        points = torch.stack([angles.cos(), angles.sin()], 1)
    elif structure.shape == "equivalence":
        points = torch.nn.functional.one_hot(tokens % size)
    elif structure.shape == "tree":
        points = descents(structure.tokens)
    elif structure.shape == "permutation":
        images = torch.tensor(list(itertools.permutations(range(size))))
        points = torch.nn.functional.one_hot(images).flatten(1)
    else:
        points = tokens[:, None]
    return points.double()


def frequency(rows: Tensor) -> int:
    """Turns that the embeddings of 0 to p - 1 take on their way: the strongest, of those that part all tokens.

    >>> turned = torch.arange(7) * 3 * 2 * math.pi / 7
    >>> frequency(torch.stack([turned.cos(), turned.sin()], 1))
    3
    """
    p = len(rows)
    power = torch.fft.fft(rows, dim=0).abs().square().sum(1)
    return max((k for k in range(1, p // 2 + 1) if math.gcd(k, p) == 1), key=lambda k: float(power[k]))


def descents(people: int) -> Tensor:
    """Who descends from whom in a binary tree numbered level by level from 0: [i, j] is 1 where i is j or of its line.

    The root, from whom all are, is left at 0.

    >>> descents(5).tolist()[4]  # a child of 1
    [0, 1, 0, 0, 1]
    """
    lines = torch.zeros(people, people, dtype=torch.long)
    for person in range(1, people):
        lines[person] = lines[(person - 1) // 2]
        lines[person, person] = 1
    return lines
