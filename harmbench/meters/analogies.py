"""Whether the token embedding has the same step between the words of every pair of a relation.

From words to a loss:

    pairs of words, by relation --> token numbers --> tuples of two pairs: a is to b as c is to d
    embedding (V, N), centered ----> principal components --> e_a, e_b, e_c, e_d --> losses of each relation --> mean
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, field_validator

from harmbench._torch import torch
from harmbench.errors import UsageError
from harmbench.meters._base import Meter, Outcome, Watcher
from harmbench.results.records import Measurement

if TYPE_CHECKING:
    from torch import Tensor

OWN_PAIRS = Path(__file__).with_name("word_pairs.tsv")
COMPONENTS: tuple[int | None, ...] = (2, 10, None)  # numbers of principal components; None is all
MIN_PAIRS = 4  # of a relation: fewer make no relation of it
SEED = 0  # of the draw of tuples, the same for every head

Encode = Callable[[str], list[int]]
Pair = tuple[int, int]
Relations = dict[str, list[Pair]]


class Analogies(Meter):
    """Parallelograms of word pairs in the token embedding: is the step from a to b that from c to d?

    Pairs come in relations, such as singular to plural. Two pairs (a, b) and (c, d) of one relation with four different
    tokens make a tuple. All of a relation's, or `tuples` of them, drawn once for all heads and seeds. Let e be rows of
    the centered embedding on the first k principal components of the whole table, for k = 2, 10 or all. Each measure is
    the mean over relations.
    - parallelogram_loss_2, _10, _all: mean of |e_a + e_d - e_b - e_c|^2 over 4 times the mean |e|^2 of the vocabulary,
      as arXiv 2502.01628 has it but for the 4: 0 for parallelograms, 1 for words drawn from the vocabulary at random.
    - offset_loss_2, _10, _all: the same sum over that of |e_a - e_b|^2 + |e_c - e_d|^2: 0 where all steps of a relation
      are equal, 1 where they have nothing in common. The first is also low if the words lie close together, or if a few
      odd tokens stretch the whole. This one is not.

    All are the same for an embedding that is scaled, moved or turned. `pairs` is a file of other relations: each line
    has the relation, a and b, separated by tabs. Lines that begin with # are ignored. The built-in list has English and
    Python. A word counts if it is one token, preferably after a space. With `tokens=last` its last token is used, so
    all plurals with the same ending have the same step. A relation needs four pairs.

    >>> Analogies().tuples
    10000
    """

    name: ClassVar[str] = "analogies"

    pairs: str = Field(default="", description="a file of word pairs that replaces the built-in list")
    tokens: Literal["single", "last"] = "single"
    tuples: int = Field(default=10_000, ge=1, description="of a relation, at most")

    @field_validator("pairs")
    @classmethod
    def _can_be_read(cls, pairs: str) -> str:
        """Reject a missing or invalid file before training."""
        try:
            read_pairs(Path(pairs) if pairs else OWN_PAIRS)
        except UsageError as error:
            raise ValueError(str(error)) from None
        return pairs

    def watcher(self) -> Watcher:
        return _AnalogiesWatcher(self, read_pairs(Path(self.pairs) if self.pairs else OWN_PAIRS))


class _AnalogiesWatcher(Watcher):
    def __init__(self, meter: Analogies, words: Mapping[str, Sequence[tuple[str, str]]]) -> None:
        self._meter, self._words = meter, words

    def measurements(self, outcome: Outcome) -> list[Measurement]:
        encode = None if outcome.embedding is None else outcome.encoder()
        if outcome.embedding is None or encode is None:
            no_table = outcome.embedding is None
            why = "the backbone embeds no tokens" if no_table else "the tokenizer of the data set is unknown"
            return _missing(why, None)
        covered_pairs = covered(self._words, encode, self._meter.tokens)
        relations = {name: pairs for name, pairs in covered_pairs.items() if len(pairs) >= MIN_PAIRS}
        count, total = sum(map(len, relations.values())), sum(map(len, self._words.values()))
        coverage = f"{count} of {total} pairs, in {len(relations)} of {len(self._words)} relations"
        if not relations:
            return _missing(f"the vocabulary has {MIN_PAIRS} pairs of no relation", count)
        values = losses(outcome.embedding.detach().cpu().double(), relations, self._meter.tuples)
        if isinstance(values, str):
            return _missing(values, count)
        return [
            *(Measurement.of(name, value, "1", "lower", coverage) for name, value in values.items()),
            Measurement.of("analogy_pairs", count, "pair", "neither", coverage),
        ]


def _missing(why: str, pairs: int | None) -> list[Measurement]:
    return [
        *(Measurement.of(name, None, "1", "lower", why) for name in NAMES),
        Measurement.of("analogy_pairs", pairs, "pair", "neither", why),
    ]


def _names(k: int | None) -> tuple[str, str]:
    end = "all" if k is None else str(k)
    return f"parallelogram_loss_{end}", f"offset_loss_{end}"


NAMES = tuple(name for k in COMPONENTS for name in _names(k))


def read_pairs(path: Path) -> dict[str, list[tuple[str, str]]]:
    """Word pairs of a file, by relation, each once.

    Raises:
        UsageError: where it cannot be read, or a line is not a relation and two words with tabs between.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"word pairs {path} cannot be read: {error}") from None
    relations: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        parts = [part.strip() for part in line.split("\t")]
        if len(parts) != 3 or not all(parts):
            raise UsageError(f"word pairs {path}, line {number}: not RELATION, A and B with tabs between: {line!r}")
        if (pair := (parts[1], parts[2])) not in relations[parts[0]]:
            relations[parts[0]].append(pair)
    if not relations:
        raise UsageError(f"word pairs {path}: there are none in it")
    return dict(relations)


def covered(
    words: Mapping[str, Sequence[tuple[str, str]]], encode: Encode, tokens: Literal["single", "last"] = "single"
) -> Relations:
    """The pairs of each relation as token numbers, those that the vocabulary has and that are two different tokens.

    Args:
        words: pairs by relation.
        encode: turns a text into token numbers.
        tokens: whether a word must be one token, or may be stood for by its last.

    >>> known = {" up": [3], " down": [4], "in": [5], "out": [6]}
    >>> covered({"way": [("up", "down"), ("in", "out"), ("in", "down")]}, lambda text: known.get(text, [0, 1]))
    {'way': [(3, 4), (5, 6)]}
    """
    return {
        relation: list(dict.fromkeys(pair for a, b in pairs if (pair := _pair(a, b, encode, tokens))))
        for relation, pairs in words.items()
    }


def _pair(a: str, b: str, encode: Encode, tokens: Literal["single", "last"]) -> Pair | None:
    """Return the tokens of both words after a space, else without one, or None if neither form fits."""
    for lead in (" ", ""):
        first, second = encode(lead + a), encode(lead + b)
        fits = len(first) == len(second) == 1 if tokens == "single" else bool(first and second)
        if fits and first[-1] != second[-1]:
            return first[-1], second[-1]
    return None


def losses(table: Tensor, relations: Relations, tuples: int = 10_000) -> dict[str, float] | str:
    """Return the measures of an embedding (V, N), float64, by name, or the reason why there are none.

    Args:
        table: one row for each token.
        relations: pairs of tokens. A relation needs two pairs with four different tokens.
        tuples: of a relation, at most.
    """
    if not table.isfinite().all():
        return "the embedding is not finite"
    centered = table - table.mean(0)
    if centered.norm() <= torch.finfo(torch.float32).eps * table.norm():
        return "the embeddings do not differ"
    corners = [drawn for pairs in relations.values() if len(drawn := _tuples(pairs, tuples))]
    if not corners:
        return "no two pairs have four different tokens"
    # The directions of the components, most variance first; eigh gives the least first.
    directions = torch.linalg.eigh(centered.T @ centered).eigenvectors.flip(1)
    values: dict[str, float] = {}
    for k in COMPONENTS:
        e = centered @ directions[:, :k]
        scale = e.square().sum(1).mean()
        relation_losses = [_losses(e, drawn, scale) for drawn in corners]
        values |= dict(zip(_names(k), torch.tensor(relation_losses, dtype=torch.double).mean(0).tolist(), strict=True))
    return values


def _losses(e: Tensor, corners: Tensor, scale: Tensor) -> tuple[float, float]:
    """Both losses of one relation, of corners (T, 4): a, b, c, d."""
    a, b, c, d = (e[corners[:, place]] for place in range(4))
    defect = (a + d - b - c).square().sum(1)
    steps = (a - b).square().sum(1) + (c - d).square().sum(1)
    return (defect.mean() / (4 * scale)).item(), (defect.sum() / steps.sum()).item()


def _tuples(pairs: Sequence[Pair], most: int) -> Tensor:
    """Corners a, b, c, d, (T, 4), of every two pairs with four different tokens, or of `most` of them."""
    quadruples = [(*one, *other) for one, other in itertools.combinations(pairs, 2) if len({*one, *other}) == 4]
    corners = torch.tensor(quadruples, dtype=torch.long).reshape(-1, 4)
    if len(corners) <= most:
        return corners
    return corners[torch.randperm(len(corners), generator=torch.Generator().manual_seed(SEED))[:most]]
