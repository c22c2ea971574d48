"""One look for each head in every chart: a color for its family, a marker for itself, a filling for its loss.

The colors are Okabe and Ito's, distinct for the color-blind; markers and fillings say the same once more, for print
in gray. A look depends on the head's and the loss's name alone, so it is the same in every plot of every run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple
from zlib import crc32

from harmbench.nn.distances import DISTANCES
from harmbench.report.charts._panel import Panel

BLACK, GRAY, GRID = "#000000", "#7F7F7F", "#B0B0B0"
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "8")
FAMILIES = {  # colors; a distance names its family
    "linear": BLACK,
    "Euclidean and powers": "#0072B2",
    "angles": "#D55E00",
    "sums of absolute values": "#009E73",
    "largest coordinate": "#56B4E9",
    "Mahalanobis": "#CC79A7",
    "Hamming": "#E69F00",
    "others": GRAY,
}
_FILLINGS = {"cross_entropy": "full", "harmonic": "full", "distance_softmax": "none", "cosine_softmax": "left"}
_LINES = {"full": "-", "none": "--", "left": "-.", "right": ":", "bottom": (0, (5, 1, 1, 1, 1, 1)), "top": (0, (1, 3))}
SMALL, TINY = 8, 6.5  # font sizes

Pair = tuple[str, str]  # head, loss


class Look(NamedTuple):
    """How a head is drawn; `line` is a matplotlib line style."""

    color: str
    marker: str
    filling: str
    line: Any

    def marker_options(self, size: float = 5) -> dict[str, Any]:
        """For `Axes.plot` and `Line2D`."""
        return {
            "color": self.color,
            "marker": self.marker,
            "fillstyle": self.filling,
            "markersize": size,
            "markerfacecoloralt": "white",
            "markeredgewidth": 0.8,
        }


@cache
def look(head: str, loss: str) -> Look:
    """The look of a head with its loss.

    >>> look("cosine", "harmonic") == look("cosine", "harmonic"), look("cosine", "harmonic").color
    (True, '#D55E00')
    """
    filling = _FILLINGS.get(loss) or _pick(("none", "right", "bottom", "top"), loss)
    color, heads = FAMILIES[family(head)], _heads()[family(head)]
    marker = MARKERS[heads.index(head)] if head in heads else _pick(MARKERS[7:], head)
    return Look(color, marker, filling, _LINES[filling])


def family(head: str) -> str:
    """The family of a head's name.

    >>> family("minkowski[p=3]"), family("hellinger")
    ('Euclidean and powers', 'others')
    """
    if head == "linear":
        return head
    distance = DISTANCES.shipped.get(_bare(head))
    return "others" if distance is None else distance.family


@cache
def _heads() -> dict[str, list[str]]:
    """The heads of each family that come with harmbench, in the order of their markers."""
    heads: dict[str, list[str]] = {name: [] for name in FAMILIES}
    heads["linear"].append("linear")
    for cls in DISTANCES.shipped.values():
        heads[cls.family] += [str(cls.from_options(variant)) for variant in cls.variants]
    return heads


def _bare(head: str) -> str:
    return head.partition("[")[0].partition(":")[0]


def _pick(among: Sequence[str], text: str) -> str:
    """The same one for the same text, in every process."""
    return among[crc32(text.encode()) % len(among)]


def labels(pairs: Iterable[Pair]) -> dict[Pair, str]:
    """What to call heads: without the loss, where it goes without saying; sorted by family.

    >>> labels([("cosine", "harmonic"), ("linear", "cross_entropy")])
    {('linear', 'cross_entropy'): 'linear', ('cosine', 'harmonic'): 'cosine'}
    """
    distinct = sorted(set(pairs), key=lambda pair: (list(FAMILIES).index(family(pair[0])), pair))
    heads = [head for head, _ in distinct]
    return {(head, loss): head if heads.count(head) == 1 else f"{head} + {loss}" for head, loss in distinct}


def entries(pairs: Iterable[Pair]) -> dict[str, Look]:
    """What a legend explains: the heads, and the losses too where a head has several of them."""
    named = labels(pairs)
    of_head = {head: look(head, loss) for head, loss in reversed(named)}
    heads = {head: of_head[head] for head, _ in named}
    if len(heads) == len(named):
        return heads
    losses = entries_of_losses(loss for _, loss in named)
    return {head: drawn._replace(filling="full", line="-") for head, drawn in heads.items()} | losses


def entries_of_losses(losses: Iterable[str]) -> dict[str, Look]:
    """What a legend says of losses; those that look alike, since no head has both, in one entry.

    >>> list(entries_of_losses(["harmonic", "distance_softmax", "cross_entropy"]))
    ['cross_entropy, harmonic', 'distance_softmax']
    """
    found: dict[Look, list[str]] = {}
    for loss in sorted(set(losses)):
        found.setdefault(look("", loss)._replace(color=BLACK, marker="o"), []).append(loss)
    return {", ".join(names): drawn for drawn, names in found.items()}


def dress(panel: Panel, title: str, size: float = SMALL + 1) -> None:
    """Give a panel a title of a font size, on several lines if it is long."""
    panel.title.set(text=broken(title, int(2.05 * panel.width / size)), fontsize=size)


def broken(title: str, letters: int) -> str:
    """A title of more letters on several lines: before the data set or the loss, and between options.

    >>> broken("gpt2 on stdlib[length=64,held_out=96,vocabulary=2048]", 34).splitlines()
    ['gpt2', 'on stdlib[length=64,', 'held_out=96,vocabulary=2048]']
    >>> broken("mahalanobis[variant=full] + distance_softmax", 30).splitlines()
    ['mahalanobis[variant=full]', '+ distance_softmax']
    """
    if len(title) <= letters:
        return title
    lines = title.replace(" on ", "\non ").replace(" + ", "\n+ ").splitlines()
    return "\n".join(line.replace(",", ",\n", 1) if len(line) > letters else line for line in lines)


def number(value: float | None) -> str:
    """A value as a table's cell, to four digits.

    >>> number(0.123456), number(None)
    ('0.1235', 'n/a')
    """
    return "n/a" if value is None else f"{value:.4g}"
