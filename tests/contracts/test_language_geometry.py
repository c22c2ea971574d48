"""Token embeddings of language models: geometry and analogies against independent computations."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist
from sklearn.decomposition import PCA

from harmbench.datasets import DATASETS
from harmbench.errors import OptionError, UsageError
from harmbench.meters import METERS
from harmbench.meters import analogies as module
from harmbench.meters.analogies import NAMES, OWN_PAIRS, covered, losses, read_pairs
from harmbench.meters.embedding import geometry
from tests.support.outcomes import measured, outcome
from tests.support.paths import DATA

STEADY = settings(derandomize=True, deadline=None, max_examples=25)
RNG = np.random.default_rng(0)


def table(rows: int, features: int, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(size=(rows, features)) * np.geomspace(1, 0.1, features) + 0.3)


# Geometry.


@pytest.mark.parametrize("shape", [(60, 12), (9, 30)])
def test_geometry_is_sklearns_and_scipys(shape):
    rows = table(*shape)
    found, pca = geometry(rows), PCA().fit(rows.numpy())
    shares = pca.explained_variance_ratio_.cumsum()
    assert found["embedding_variance_5"] == pytest.approx(shares[4])
    assert found["embedding_components_90"] == (shares < 0.9).sum() + 1
    p = pca.singular_values_[pca.singular_values_ > 1e-9 * pca.singular_values_[0]]
    p = p / p.sum()
    assert found["embedding_effective_rank"] == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-6)
    assert found["embedding_anisotropy"] == pytest.approx(1 - pdist(rows.numpy(), "cosine").mean())


def test_geometry_that_is_not_there_has_a_reason():
    assert geometry(torch.full((4, 3), torch.nan)) == "the embedding is not finite"
    assert geometry(torch.full((9, 3), 0.1, dtype=torch.double)) == "the embeddings do not differ"
    found = measured("embedding", outcome())
    assert {m.reason for m in found.values()} == {"the backbone embeds no tokens"}
    with_zero = torch.cat([torch.zeros(1, 3), torch.eye(3)]).double()
    found = measured("embedding", outcome(embedding=with_zero))
    assert found["embedding_anisotropy"].reason == "a row has no direction"


# Analogies.


def by_definition(rows: np.ndarray, relations: dict[str, list[tuple[int, int]]]) -> dict[str, float]:
    """In plain loops over sklearn's components."""
    found = {}
    for k, end in ((2, "2"), (10, "10"), (None, "all")):
        e = PCA(n_components=k, svd_solver="full").fit_transform(rows)
        scale = np.mean([row @ row for row in e])
        global_, local = [], []
        for pairs in relations.values():
            defects, steps = [], []
            for (a, b), (c, d) in itertools.combinations(pairs, 2):
                if len({a, b, c, d}) < 4:
                    continue
                gap = e[a] + e[d] - e[b] - e[c]
                defects.append(gap @ gap)
                steps.append((e[a] - e[b]) @ (e[a] - e[b]) + (e[c] - e[d]) @ (e[c] - e[d]))
            global_.append(np.mean(defects) / (4 * scale))
            local.append(np.sum(defects) / np.sum(steps))
        found[f"parallelogram_loss_{end}"], found[f"offset_loss_{end}"] = np.mean(global_), np.mean(local)
    return found


RELATIONS = {"one": [(0, 1), (2, 3), (4, 5), (0, 6), (7, 0)], "other": [(10, 11), (12, 13), (14, 15), (16, 10)]}


def is_its_definition() -> None:
    rows = table(40, 12)
    found = losses(rows, RELATIONS)
    assert found == pytest.approx(by_definition(rows.numpy(), RELATIONS))


def test_analogies_are_their_definition():
    is_its_definition()


def identical_tokens_too(pairs, most):
    return torch.tensor([(*one, *other) for one, other in itertools.combinations(pairs, 2)])


def twisted(pairs, most):
    """The parallelogram of a, b, d, c."""
    return right(pairs, most)[:, [0, 1, 3, 2]]


def one_relation_over_another(pairs, most):
    return right(pairs, most)[:3]


right = module._tuples


@pytest.mark.parametrize("wrong", [identical_tokens_too, twisted, one_relation_over_another])
def test_other_tuples_are_caught(wrong, monkeypatch):
    monkeypatch.setattr(module, "_tuples", wrong)
    with pytest.raises(AssertionError):
        is_its_definition()


@STEADY
@given(st.floats(1e-3, 1e3), st.integers(0, 99))
def test_scale_rotation_and_shift_change_nothing(scale, seed):
    rows = table(40, 12)
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(rng.normal(size=(12, 12)))
    changed = scale * rows @ torch.from_numpy(turn) + torch.from_numpy(rng.normal(size=12))
    assert losses(changed, RELATIONS) == pytest.approx(losses(rows, RELATIONS), rel=1e-6)


def test_equal_steps_are_parallelograms_and_noise_is_near_1():
    rows = torch.from_numpy(RNG.normal(size=(2000, 20)))
    pairs = [(2 * i, 2 * i + 1) for i in range(60)]
    noise = losses(rows, {"one": pairs})
    assert [noise[name] for name in NAMES] == pytest.approx([1] * 6, abs=0.35)
    assert noise["offset_loss_all"] == pytest.approx(1, abs=0.02)
    exact = rows.clone()
    exact[1:120:2] = exact[0:120:2] + 3
    assert [losses(exact, {"one": pairs})[name] for name in NAMES] == pytest.approx([0] * 6, abs=1e-9)


def test_words_that_lie_close_together_fool_one_loss_and_not_the_other():
    rows = torch.from_numpy(RNG.normal(size=(2000, 20)))
    rows[:120] *= 0.01
    found = losses(rows, {"one": [(2 * i, 2 * i + 1) for i in range(60)]})
    assert found["parallelogram_loss_all"] < 0.01
    assert found["offset_loss_all"] == pytest.approx(1, abs=0.02)


def test_draws_of_many_tuples_are_the_same_every_time():
    pairs = [(2 * i, 2 * i + 1) for i in range(30)]
    drawn = right(pairs, 50)
    assert drawn.shape == (50, 4)
    assert torch.equal(drawn, right(pairs, 50))
    assert len({tuple(row) for row in drawn.tolist()}) == 50


# Words.


def test_words_come_after_a_space_or_else_without_and_both_alike():
    known = {" up": [1], " down": [2], "up": [3], "down": [4], "a": [5], "b": [6], " a": [5], " same": [7], " as": [7]}
    encode = lambda text: known.get(text, [8, 9])  # noqa: E731
    words = {"x": [("up", "down"), ("a", "b"), ("up", "b"), ("same", "as"), ("long", "longer")]}
    assert covered(words, encode) == {"x": [(1, 2), (5, 6), (3, 6)]}
    assert covered({"x": [("up", "longer")]}, encode, "last") == {"x": [(1, 9)]}


def test_the_own_list_is_right():
    words = read_pairs(OWN_PAIRS)
    pairs = [pair for found in words.values() for pair in found]
    assert len(words) >= 10
    assert len(pairs) >= 400
    assert all(a != b and a.isalnum() and b.isalnum() for a, b in pairs)
    lines = [line for line in OWN_PAIRS.read_text().splitlines() if not line.startswith("#")]
    assert len(lines) == len(set(lines)) == len(pairs)


def test_the_embedded_vocabulary_has_most_relations():
    pytest.importorskip("tokenizers")
    encode = DATASETS.parse("stdlib").encoder(DATA)
    known = covered(read_pairs(OWN_PAIRS), encode)
    assert sum(len(pairs) for pairs in known.values()) >= 250
    assert sum(len(pairs) >= 4 for pairs in known.values()) >= 10


def word_file(folder: Path, text: str) -> Path:
    path = folder / "words.tsv"
    path.write_text(text)
    return path


def test_a_file_of_ones_own(tmp_path):
    path = word_file(tmp_path, "# mine\nway\tup\tdown\nway\tin\tout\n\nway\tup\tdown\n")
    assert read_pairs(path) == {"way": [("up", "down"), ("in", "out")]}
    assert METERS.parse(f"analogies[pairs={path}]").pairs == str(path)


@pytest.mark.parametrize(
    ("text", "said"), [("way up down\n", "line 1: not RELATION"), ("way\tup\t\n", "line 1"), ("# no\n", "none in it")]
)
def test_a_bad_file_is_one_line_before_anything_runs(tmp_path, text, said):
    path = word_file(tmp_path, text)
    with pytest.raises(UsageError, match=said):
        read_pairs(path)
    with pytest.raises(OptionError, match=said):
        METERS.parse(f"analogies[pairs={path}]")
    with pytest.raises(OptionError, match="cannot be read"):
        METERS.parse(f"analogies[pairs={tmp_path / 'nowhere.tsv'}]")


def test_the_meter_says_how_many_pairs_there_are_and_why_there_is_nothing():
    words = ["file", "files", "name", "names", "value", "values", "item", "items"]
    numbers = {f" {word}": i for i, word in enumerate(words)}
    encode = lambda text: [numbers[text]] if text in numbers else [98, 99]  # noqa: E731
    found = measured("analogies", outcome(embedding=table(100, 12), encoder=lambda: encode))
    assert found["analogy_pairs"].value == 4
    assert found["offset_loss_2"].value is not None
    assert found["offset_loss_2"].reason.startswith("4 of ")
    few = measured("analogies", outcome(embedding=table(100, 12), encoder=lambda: lambda text: [98, 99]))
    assert few["analogy_pairs"].value == 0
    assert few["parallelogram_loss_2"].reason == "the vocabulary has 4 pairs of no relation"
    unknown = measured("analogies", outcome(embedding=table(100, 12)))
    assert unknown["offset_loss_all"].reason == "the tokenizer of the data set is unknown"
    assert measured("analogies", outcome())["analogy_pairs"].reason == "the backbone embeds no tokens"
    flat = measured("analogies", outcome(embedding=torch.ones(100, 4), encoder=lambda: encode))
    assert flat["offset_loss_all"].reason == "the embeddings do not differ"
