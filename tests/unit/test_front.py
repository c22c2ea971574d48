"""The front of a trade-off, with ties: against the definition of dominance, pair by pair."""

from __future__ import annotations

import itertools

import pytest

from harmbench.report.charts import Mark, TradeoffPanel

Means = tuple[float, float]  # cost, quality

TIES: dict[str, tuple[list[Means], list[Means]]] = {
    "equal in both": ([(1, 90), (1, 90), (2, 80)], [(1, 90), (1, 90)]),
    "equal in both, three times": ([(1, 90)] * 3, [(1, 90)] * 3),
    "equal in both, dominated": ([(1, 90), (2, 80), (2, 80)], [(1, 90)]),
    "equal cost": ([(1, 90), (1, 80)], [(1, 90)]),
    "equal quality": ([(1, 90), (2, 90)], [(1, 90)]),
    "equal quality, not in a row": ([(1, 90), (2, 80), (3, 90), (4, 95)], [(1, 90), (4, 95)]),
    "equal on a later step": ([(1, 80), (2, 90), (2, 90), (3, 90)], [(1, 80), (2, 90), (2, 90)]),
}


def panel(means: list[Means], disqualified: tuple[int, ...] = ()) -> TradeoffPanel:
    marks = (
        Mark(
            head=f"minkowski[p={i}]",
            loss="harmonic",
            cost=cost,
            cost_half=None,
            quality=quality,
            quality_half=None,
            disqualified="1 collapsed" if i in disqualified else "",
        )
        for i, (cost, quality) in enumerate(means)
    )
    return TradeoffPanel(title="", marks=tuple(marks))


def dominates(one: Mark, other: Mark) -> bool:
    """At least as good in both means, and better in one."""
    is_as_good = one.cost <= other.cost and one.quality >= other.quality
    return is_as_good and (one.cost, one.quality) != (other.cost, other.quality)


@pytest.mark.parametrize(("means", "front"), TIES.values(), ids=TIES)
def test_ties_on_the_front(means: list[Means], front: list[Means]) -> None:
    for order in itertools.permutations(means):
        assert [(m.cost, m.quality) for m in panel(list(order)).front] == front


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_the_front_is_every_head_that_none_dominates(count: int) -> None:
    """All ways to lay up to four heads on a grid of three costs and three qualities."""
    grid = list(itertools.product((1.0, 2.0, 3.0), (70.0, 80.0, 90.0)))
    for means in itertools.combinations_with_replacement(grid, count):
        shown = panel(list(means))
        expected = {m.head for m in shown.marks if not any(dominates(other, m) for other in shown.marks)}
        assert {m.head for m in shown.front} == expected
        assert len(shown.front) == len(expected)


def test_a_disqualified_head_neither_lies_on_the_front_nor_dominates() -> None:
    shown = panel([(1, 95), (2, 90), (2, 90)], disqualified=(0,))
    assert [m.head for m in shown.front] == ["minkowski[p=1]", "minkowski[p=2]"]
