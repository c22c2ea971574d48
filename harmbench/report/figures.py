"""The data of a report's pictures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from harmbench.formats import Figure, Panel, Point
from harmbench.report.groups import Group


def figures_of(groups: Sequence[Group]) -> Iterator[Figure]:
    """Test accuracy of every head, a panel for each group, heads in the order of their mean over the panels, those that
    went wrong anywhere last."""
    means: dict[str, list[float]] = defaultdict(list)
    unsound = {cell.head for group in groups for cell in group.cells if cell.unsound}
    for group in groups:
        for cell in group.cells:
            if accuracy := cell.interval("test_accuracy"):
                means[cell.head].append(accuracy.mean)
    rows = sorted(means, key=lambda head: (head in unsound, -sum(means[head]) / len(means[head])))
    if not rows:
        return
    losses = sorted({cell.loss for group in groups for cell in group.cells})
    yield Figure(
        name="accuracy",
        caption="Test accuracy of every head: mean over seeds with its 95 % t interval. The dashed line is the "
        "baseline; numbers at the left edge are means too low for the axis.",
        axis="test accuracy (%)",
        series=tuple(losses),
        panels=tuple(_panel(group, rows) for group in groups),
    )


def _panel(group: Group, rows: Sequence[str]) -> Panel:
    baseline = group.baseline and group.baseline.interval("test_accuracy")
    points = [
        Point(
            row=cell.head,
            series=cell.loss,
            mean=100 * accuracy.mean,
            half_width=100 * accuracy.half_width if accuracy.size > 1 else None,
        )
        for head in rows
        for cell in group.cells
        if cell.head == head and (accuracy := cell.interval("test_accuracy"))
    ]
    return Panel(title=group.title, points=tuple(points), reference=100 * baseline.mean if baseline else None)
