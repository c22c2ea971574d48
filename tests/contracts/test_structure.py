"""Scores of embeddings: on shapes whose score is known, and against loops, SciPy and scikit-learn."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import shortest_path
from scipy.spatial import KDTree
from scipy.spatial.distance import pdist, squareform
from sklearn.decomposition import PCA

from harmbench.datasets import DATASETS
from harmbench.meters import structure as s
from harmbench.results.records import Structure

STRUCTURES = {
    "lattice": Structure(shape="lattice", size=5, tokens=25),
    "circle": Structure(shape="circle", size=31, tokens=31),
    "equivalence": Structure(shape="equivalence", size=5, tokens=40),
    "order": Structure(shape="order", size=30, tokens=30),
    "tree": Structure(shape="tree", size=5, tokens=31),
    "permutation": Structure(shape="permutation", size=4, tokens=24),
}
OWN = {
    "lattice": "lattice_defect",
    "circle": "circle_radius_cv",
    "equivalence": "equivalence_ratio",
    "order": "order_spacing_cv",
    "tree": "tree_line_defect",
    "permutation": "permutation_symmetry",
}


def rng():
    return np.random.default_rng(0)


def placed(points: np.ndarray, width: int = 16) -> torch.Tensor:
    """The points somewhere in more dimensions: turned, moved and scaled."""
    turn = np.linalg.qr(rng().normal(size=(width, width)))[0][: points.shape[1]]
    return torch.from_numpy(0.3 * points @ turn + rng().normal(size=width))


def noise(shape: str, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(STRUCTURES[shape].tokens, 16)))


def score(shape: str, rows: torch.Tensor, name: str = "") -> float:
    return s.scores(rows, STRUCTURES[shape])[name or OWN[shape]]


def grid(side: int = 5) -> np.ndarray:
    return np.array([(i, j) for i in range(side) for j in range(side)], float)


def circle(turns: int = 1, p: int = 31) -> np.ndarray:
    angles = 2 * np.pi * turns * np.arange(p) / p
    return np.stack([np.cos(angles), np.sin(angles)], 1)


def family(generations: int = 5) -> np.ndarray:
    """A tree as one would draw it: generations on lines one under the other, children beneath their parents."""
    return np.array([(2.0 ** (4 - g) * (2 * i + 1), 8.0 * g) for g in range(generations) for i in range(2**g)])


# Shapes whose score is known.


def test_what_a_perfect_shape_scores():
    corners = np.eye(5)[np.arange(40) % 5]
    square = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)] * 6, float) * np.arange(1, 7).repeat(4)[:, None]
    assert score("lattice", placed(grid())) == pytest.approx(0, abs=1e-12)
    assert score("circle", placed(circle(7))) == pytest.approx(0, abs=1e-12)
    assert score("equivalence", placed(corners)) == pytest.approx(0, abs=1e-12)
    assert score("order", placed(np.arange(30.0)[:, None])) == pytest.approx(0, abs=1e-12)
    assert score("tree", placed(family())) == pytest.approx(0, abs=1e-12)
    assert score("permutation", placed(square)) == pytest.approx(1, abs=1e-6)  # distances by matrix product


def test_what_a_perfect_shape_correlates():
    matrices = np.array([np.eye(4)[list(g)].ravel() for g in itertools.permutations(range(4))])
    edges = np.zeros((31, 31))
    for person in range(1, 31):
        edges[person] = edges[(person - 1) // 2]
        edges[person, person] = 1
    perfect = {
        "lattice": grid(),
        "circle": circle(7),
        "equivalence": np.eye(5)[np.arange(40) % 5],
        "order": np.arange(30.0)[:, None],
        "tree": edges,
        "permutation": matrices,
    }
    for shape, points in perfect.items():
        found = score(shape, placed(points, width=48), "structure_correlation")
        assert found == pytest.approx(1, abs=1e-9), shape


@pytest.mark.parametrize(
    ("shape", "own", "tolerance"),
    [
        ("lattice", 1.0, 0.03),
        ("circle", math.sqrt(4 / math.pi - 1), 0.2),  # of radii in a plane: Rayleigh's
        ("equivalence", 1.0, 0.03),
        ("order", 0.17, 0.05),
        ("permutation", 0.77, 0.05),
    ],
)
def test_what_noise_scores(shape, own, tolerance):
    found = [score(shape, noise(shape, seed)) for seed in range(20)]
    correlations = [score(shape, noise(shape, seed), "structure_correlation") for seed in range(20)]
    assert np.mean(found) == pytest.approx(own, abs=tolerance)
    assert abs(np.mean(correlations)) < 0.1


def test_a_circle_in_another_order_is_a_ring_and_no_structure():
    shuffled = placed(circle()[rng().permutation(31)])
    assert score("circle", shuffled) == pytest.approx(0, abs=1e-12)
    assert score("circle", shuffled, "structure_correlation") < 0.4


@pytest.mark.parametrize("shape", STRUCTURES)
def test_scores_do_not_change_when_the_embedding_is_scaled_moved_and_turned(shape):
    rows = noise(shape)
    other = placed(rows.numpy())
    for name, value in s.scores(rows, STRUCTURES[shape]).items():
        if not isinstance(value, str):
            assert s.scores(other, STRUCTURES[shape])[name] == pytest.approx(value, rel=1e-9), name


# Independent references.


def lattice_by_loops(rows: np.ndarray, side: int = 5) -> float:
    at = {(i, j): rows[side * i + j] for i in range(side) for j in range(side)}
    above = below = 0.0
    for a, b, c in itertools.product(at, repeat=3):
        d = (b[0] + c[0] - a[0], b[1] + c[1] - a[1])
        on_a_line = np.linalg.matrix_rank(np.array([np.subtract(b, a), np.subtract(c, a)])) < 2
        if d in at and not on_a_line:
            above += np.sum((at[a] + at[d] - at[b] - at[c]) ** 2)
            corners = [at[a], at[b], at[d], at[c], at[a]]
            below += sum(np.sum((one - other) ** 2) for one, other in itertools.pairwise(corners))
    return math.sqrt(2 * above / below)


def circle_by_sklearn(rows: np.ndarray) -> float:
    radii = np.linalg.norm(PCA(2, svd_solver="full").fit_transform(rows), axis=1)
    return radii.std() / radii.mean()


def equivalence_by_scipy(rows: np.ndarray, classes: int = 5) -> float:
    distances = squareform(pdist(rows))
    i, j = np.indices(distances.shape)
    return distances[(i != j) & (i % classes == j % classes)].mean() / distances[i % classes != j % classes].mean()


def order_by_loops(rows: np.ndarray) -> float:
    steps = [math.dist(one, other) for one, other in itertools.pairwise(rows)]
    return np.std(steps) / np.mean(steps)


def tree_by_sklearn(rows: np.ndarray) -> float:
    generations = [np.array([i for i in range(len(rows)) if int(math.log2(i + 1)) == g]) for g in range(3, 5)]
    return 1 - np.mean([PCA(svd_solver="full").fit(rows[g]).explained_variance_ratio_[0] for g in generations])


def permutation_by_a_tree(rows: np.ndarray) -> float:
    flat = PCA(2, svd_solver="full").fit_transform(rows)
    flat /= math.sqrt((flat**2).sum(1).mean())
    turned = [
        np.stack(
            [(c := math.cos(t)) * flat[:, 0] - (d := math.sin(t)) * flat[:, 1], d * flat[:, 0] + c * flat[:, 1]], 1
        )
        for t in np.pi / 2 * np.arange(1, 4)
    ]
    return 1 / (1 + KDTree(flat).query(np.concatenate(turned))[0].mean())


REFERENCES = {
    "lattice": lattice_by_loops,
    "circle": circle_by_sklearn,
    "equivalence": equivalence_by_scipy,
    "order": order_by_loops,
    "tree": tree_by_sklearn,
    "permutation": permutation_by_a_tree,
}


@pytest.mark.parametrize("shape", STRUCTURES)
def test_scores_are_the_references(shape):
    rows = noise(shape)
    assert score(shape, rows) == pytest.approx(REFERENCES[shape](rows.numpy()), rel=1e-9)


def apart(shape: str, i: int, j: int) -> float:
    """Distance of two tokens by the meaning of the structure."""
    if shape == "lattice":
        return math.dist(divmod(i, 5), divmod(j, 5))
    if shape == "equivalence":
        return float(i % 5 != j % 5)
    if shape == "permutation":
        elements = list(itertools.permutations(range(4)))
        return math.sqrt(sum(a != b for a, b in zip(elements[i], elements[j], strict=True)))
    return float(abs(i - j))


@pytest.mark.parametrize("shape", STRUCTURES)
def test_the_correlation_is_that_of_distances(shape):
    rows, tokens = noise(shape), STRUCTURES[shape].tokens
    if shape == "tree":
        children = np.arange(1, tokens)
        tree = coo_matrix((np.ones(tokens - 1), (children, (children - 1) // 2)), shape=(tokens, tokens))
        wanted = np.sqrt(shortest_path(tree, directed=False)[np.triu_indices(tokens, 1)])
    elif shape == "circle":  # the strongest turn by a plain sum, and chords
        waves = {k: np.exp(2j * np.pi * k * np.arange(31) / 31) @ rows.numpy() for k in range(1, 16)}
        turns = max(waves, key=lambda k: np.sum(np.abs(waves[k]) ** 2))
        wanted = np.array(
            [abs(math.sin(math.pi * turns * (i - j) / 31)) for i, j in itertools.combinations(range(31), 2)]
        )
    else:
        wanted = np.array([apart(shape, i, j) for i, j in itertools.combinations(range(tokens), 2)])
    expected = np.corrcoef(pdist(rows.numpy()), wanted)[0, 1]
    assert score(shape, rows, "structure_correlation") == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("k", [1, 2])
def test_explained_variance_is_sklearns(k):
    rows = rng().normal(size=(31, 16)) * np.exp(rng().normal(size=16))
    expected = PCA(svd_solver="full").fit(rows).explained_variance_ratio_[:k].sum()
    assert s.explained(torch.from_numpy(rows), k) == pytest.approx(expected, rel=1e-10)


# What the released code does, and how it is caught.


def released_circle(rows: torch.Tensor, _: int) -> float:
    flat = s.plane(rows)
    flat = (flat - flat.amin(0)) / (flat.amax(0) - flat.amin(0))
    radii = (flat - flat.mean(0)).norm(dim=1)
    return float(radii.std(correction=0) / radii.mean())


def released_lattice(rows: torch.Tensor, side: int) -> float:
    ratios = []
    for a, b, c in itertools.product(range(side**2), repeat=3):
        (ra, ca), (rb, cb), (rc, cc) = (divmod(point, side) for point in (a, b, c))
        r, k = rb + rc - ra, cb + cc - ca
        if 0 <= r < side and 0 <= k < side and len({ra, rb, rc}) > 1 and len({ca, cb, cc}) > 1:
            ab, bc, cd, ad, ac, bd = (
                float((rows[x] - rows[y]).norm())
                for x, y in ((a, b), (b, c), (c, side * r + k), (a, side * r + k), (a, c), (b, side * r + k))
            )
            scale = math.sqrt((ab**2 + bc**2 + cd**2 + ad**2) / 2)
            ratios.append(math.hypot(ab - cd, ac - bd) / scale if scale else 0.0)
    return float(np.mean(ratios))


def released_permutation(rows: torch.Tensor, _: int) -> float:
    flat = s.plane(rows)
    quarter = torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=flat.dtype)
    turned = [flat @ torch.linalg.matrix_power(quarter, k) for k in (1, 2, 3)]
    return 1 / (1 + float(np.mean([torch.cdist(t, flat).amin(1).mean() for t in turned])))


def released_equivalence(rows: torch.Tensor, classes: int) -> float:
    distances, tokens = torch.cdist(rows, rows), torch.arange(len(rows))
    same = (tokens[:, None] - tokens) % classes == 0
    between = distances[~same].mean()
    within = distances[same]
    return float(within[within <= between].mean() / between)


def tells_an_ellipse_from_a_circle(circle_score) -> None:
    ellipse = placed(circle() * [1.0, 0.4])
    assert circle_score(ellipse, 31) > 0.2


def tells_folded_from_flat(lattice_score) -> None:
    """Two opposite corners of a unit square lifted: opposite sides stay equal, and it is no parallelogram."""
    folded = placed(np.array([(0, 0, 1), (0, 1, 0), (1, 0, 0), (1, 1, 1)], float))
    assert lattice_score(folded, 2) > 0.5


def has_a_unit(permutation_score) -> None:
    rows = noise("permutation")
    assert permutation_score(rows / 100, 4) == pytest.approx(permutation_score(rows, 4))


def gives_noise_one(equivalence_score) -> None:
    assert equivalence_score(noise("equivalence"), 5) == pytest.approx(1, abs=0.05)


CAUGHT = {
    "circle": (tells_an_ellipse_from_a_circle, lambda rows, _: s.circle_radius_cv(rows), released_circle),
    "lattice": (tells_folded_from_flat, s.lattice_defect, released_lattice),
    "permutation": (has_a_unit, lambda rows, _: s.permutation_symmetry(rows), released_permutation),
    "equivalence": (gives_noise_one, s.equivalence_ratio, released_equivalence),
}


@pytest.mark.parametrize("shape", CAUGHT)
def test_the_released_oddities_are_mended_and_would_be_caught(shape):
    check, ours, released = CAUGHT[shape]
    check(ours)
    with pytest.raises(AssertionError):
        check(released)


# What applies where.


@pytest.mark.parametrize(
    "dataset", ["lattice", "modular_addition", "equivalence", "greater_than", "family_tree", "permutation"]
)
def test_each_task_has_its_own_score_and_reasons_for_the_others(dataset):
    task = DATASETS.parse(dataset)
    structure = task.structure()
    table = torch.from_numpy(rng().normal(size=(task.vocabulary, 16)))
    found = s.scores(table, structure)
    missing = {name for name, value in found.items() if isinstance(value, str)}
    assert missing == set(s.SCORES) - {OWN[structure.shape]}
    assert (
        found["lattice_defect"] == pytest.approx(1, abs=0.1)
        if dataset == "lattice"
        else "no lattice" in found["lattice_defect"]
    )
    answers = torch.cat([table[: structure.tokens], 1e6 + table[structure.tokens :]])
    assert s.scores(answers, structure) == found  # answers and relations take no part


def test_the_released_family_is_numbered_from_one():
    ours, released = (
        DATASETS.parse("family_tree").structure(),
        DATASETS.parse("family_tree[sampling=as_released]").structure(),
    )
    table = torch.from_numpy(rng().normal(size=(130, 16)))
    moved = torch.cat([table[:1], table[: ours.tokens - 1], table[-3:]])
    cut = Structure(shape="tree", size=7, tokens=126)
    assert s.scores(moved, released)["tree_line_defect"] == s.scores(table, cut)["tree_line_defect"]


@pytest.mark.parametrize(
    ("table", "structure", "why"),
    [
        (None, STRUCTURES["circle"], "embeds no tokens"),
        (torch.zeros(31, 4), None, "have no structure"),
        (torch.zeros(31, 4), STRUCTURES["circle"], "do not differ"),
        (torch.full((31, 4), math.nan), STRUCTURES["circle"], "not finite"),
    ],
)
def test_what_has_no_score_says_why(table, structure, why):
    assert all(why in value or "tokens are no" in value for value in s.scores(table, structure).values())
